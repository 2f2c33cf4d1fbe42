"""DDPM-OOD: errors of reconstructions from many noise levels, in units of healthy images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from brainuad import training_published
from brainuad.augment import Augment
from brainuad.critic import CriticOptions
from brainuad.denoiser import EpsDenoiser, VDenoiser, X0Denoiser
from brainuad.difference import Sign, one_sided
from brainuad.diffusion import PUBLISHED, SCHEDULES, SIMPLEX_X0, SMALL, TINY, Diffusion, Noise
from brainuad.healthy_error import Errors, HealthyErrors, check_enough, means_in
from brainuad.latents import Part, split
from brainuad.method import Batch, Batches, Detection, Minimise
from brainuad.perceptual import Perceptual, check_perceptual, perceptual_map
from brainuad.rng import Rng
from brainuad.sample import plms, plms_calls
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.unet import UNet, UNetOptions, ddpm_options
from brainuad.vq import Latents, VqAutoencoder, VqOptions
from brainuad.vq_stage import VqStage, check_codes

__all__ = ["DdpmOod"]

Count = Annotated[int, Field(ge=1)]
DENOISERS = {"x0": X0Denoiser, "eps": EpsDenoiser, "v": VDenoiser}


@dataclass(frozen=True, kw_only=True, slots=True)
class DdpmOodOptions:
    """Options of :class:`DdpmOod`."""

    net: UNetOptions = field(default_factory=ddpm_options)
    """The denoising U-Net; on latents its channels are those of the latent."""
    autoencoder: VqOptions | None = None
    """The VQ-VAE whose codes are diffused (LDM-OOD); None: the image itself is (DDPM-OOD)."""
    critic: CriticOptions | None = None
    """A critic that makes the autoencoder's images sharp; None: none."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Factor on what is noised: images from -1 to 1, or latents. None: 1 for images, 1 / standard
    deviation of the training images' latents."""
    schedule: Literal["scaled_linear", "linear", "cosine"] = "scaled_linear"
    """How noise grows from step to step."""
    steps: Count = 1000
    """Steps of the schedule."""
    predict: Literal["eps", "x0", "v"] = "eps"
    """What the net says: the noise, the clean image, or the velocity between the two."""
    error: Literal["l2", "l1"] = "l2"
    """Loss: squared or absolute error of the prediction, mean over all pixels."""
    noise: Noise = field(default_factory=lambda: Noise(kind="gaussian"))
    """The noise of training and detection."""
    walk: Annotated[int, Field(ge=2)] = 100
    """Noise levels that the whole way down has, evenly spread over the schedule."""
    skip: Count = 4
    """Every ``skip``-th of these levels, from the second lowest up, starts a reconstruction."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the images, of whole scans, that only say how large healthy errors are; 0: all
    train and say it."""
    measured: Annotated[int, Field(ge=2)] = 256
    """At most so many of these images are reconstructed, evenly spread."""
    region: Literal["brain", "image"] = "brain"
    """Where the error of an image is averaged: in its brain, or over all pixels, as published."""
    perceptual: Perceptual = "none"
    """Perceptual half of the published score: none, or LPIPS, which needs its own package."""
    sign: Sign = "absolute"
    """Differences that count in the map: both, only darker, or only brighter than healthy. The
    slice score counts both."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: Count = 1
    """Augmented copies of each image in the latent cache; the first is the image itself."""

    def __post_init__(self) -> None:
        """Refuse levels that the schedule lacks, and autoencoders that cannot be used."""
        SCHEDULES[self.schedule](steps=self.steps).timesteps(self.walk)
        if self.autoencoder is not None:
            check_codes("ddpm_ood", self.autoencoder)
        elif self.critic is not None:
            raise UsageError(
                "ddpm_ood: a critic without an autoencoder to judge; leave it out, or set "
                "autoencoder"
            )


OURS: dict[str, Any] = {
    **SIMPLEX_X0,
    "walk": 20,
    "skip": 6,
    "augment": {},
}
SMALL_OURS: dict[str, Any] = {**OURS, "net": SMALL, "walk": 10, "skip": 4}
GRAHAM: dict[str, Any] = {
    "width": 128,
    "multipliers": [1, 2, 2],
    "blocks": 1,
    "attention": [1, 2],
    "head_channels": 256,
}


class DdpmOod(Diffusion):
    """Reconstructions from many noise levels, each judged by how well it succeeds on healthy ones.

    An image, or its latent, is noised to each of many levels and denoised again. Low levels keep
    nearly everything and high ones hardly anything, so an error says nothing by itself; it is
    compared with the errors at the same level of healthy images that trained nothing.

    Published is one number per image, here :attr:`brainuad.method.Detection.score` and
    :meth:`slice_score`: the mean over the levels of the z-scores of the mean squared error, plus
    that of a perceptual distance where one is asked for. The **map is ours**: the mean over the
    levels of the squared error in units of the standard deviation that healthy images' errors
    have. Its mean over the region is the first half of the score plus a constant of the fit.

    References:
        Graham et al. 2023, "Denoising diffusion models for out-of-distribution detection", CVPR
        Workshops, arXiv 2211.07740; Graham et al. 2023, "Unsupervised 3D out-of-distribution
        detection with latent diffusion models", MICCAI, arXiv 2307.03777 (with an autoencoder;
        there on volumes, here on slices).
    """

    title = "DDPM-OOD, reconstructions from many noise levels"
    paper = "Graham et al. 2023, CVPRW, arXiv 2211.07740; MICCAI, arXiv 2307.03777"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 0.35, "denoiser": 0.65}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.GRAHAM
    Options = DdpmOodOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {**OURS, "net": PUBLISHED},
        "small": SMALL_OURS,
        "small-dark": {**SMALL_OURS, "sign": "dark"},
        "tiny": {"net": TINY, "walk": 4, "skip": 2, "held_out": 0.5},
        "paper": {"net": GRAHAM, "region": "image"},
        "lpips": {"net": GRAHAM, "region": "image", "perceptual": "lpips"},
        "latent": {
            "autoencoder": {"preset": "vq-f4"},
            "net": {**GRAHAM, "head_channels": 64},
            "walk": 20,
            "augment": {},
            "copies": 2,
        },
        "paper-latent": {
            "autoencoder": {
                "widths": [256, 256, 256, 256],
                "units": 1,
                "codes": 2048,
                "latent_channels": 128,
                "decay": 0.9,
                "revive": 0.0,
            },
            "net": GRAHAM,
            "scale": 1.0,
            "skip": 2,
            "region": "image",
        },
    }
    scale: Tensor

    def __init__(self, options: DdpmOodOptions | None = None):
        super().__init__(options)
        o = self.options
        self.autoencoder = None if o.autoencoder is None else VqAutoencoder(o.autoencoder)
        self.register_buffer("scale", torch.tensor(o.scale or 1.0))
        self.healthy = HealthyErrors(len(self.starts), kinds=1 + (o.perceptual != "none"))

    @classmethod
    def stages_with(cls, options: DdpmOodOptions) -> Mapping[str, float]:
        """The autoencoder has a stage where there is one."""
        return cls.stages if options.autoencoder is not None else {"denoiser": 1.0}

    def make_net(self) -> UNet:
        """The net of the options, with the channels of the latent where there is one."""
        o = self.options
        if o.autoencoder is None:
            return UNet(o.net)
        n = o.autoencoder.sizes.latent_channels
        return UNet(replace(o.net, channels_in=n, channels_out=n))

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The autoencoder, where there is one; the denoiser; how large healthy errors are.

        Raises:
            DataError: fewer than two images to say how large healthy errors are.
        """
        check_perceptual(self.options.perceptual, batches.get([0]).x)
        training, rest = split(batches, self.options.held_out)
        check_enough(len(rest))
        if self.autoencoder is not None:
            o = self.options
            stage = VqStage(
                autoencoder=self.autoencoder, critic=o.critic, augment=o.augment, copies=o.copies
            )
            training = stage.fit(training, minimise=minimise)
            if o.scale is None:
                self.scale.fill_(1 / stage.deviation(training))
        minimise("denoiser", self.net, self.loss, training)
        self.net.eval()
        self.measure(rest)
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Error of the net's prediction at a random step of each image or cached latent."""
        if self.autoencoder is None:
            x, brain = self.augmented(batch, rng)
            z = self.scale * (2 * x - 1)
        else:
            z, brain = self.autoencoder.quantiser.lookup(batch.x.long()), batch.brain
            z = self.scale * z
        t = rng.fork("step").integers(0, self.options.steps)
        eps = self.options.noise.of_batch(z, rng=rng.fork("noise"))
        return self.loss_at(z, brain, t.to(z.device), eps)

    @torch.no_grad()
    def measure(self, healthy: Batches) -> None:
        """Mean and standard deviation of the healthy images' errors from each start."""
        stride = -(-len(healthy) // self.options.measured)
        errors = []
        for batch in Part(healthy, range(0, len(healthy), stride)).in_order(16):
            x, brain = batch.x.to(self.scale.device), batch.brain.to(self.scale.device)
            found = self.errors(x, brain, rng=batch.rng(0, "healthy"))
            errors.append(found[:, brain.flatten(1).any(1)])
        self.healthy.learn(torch.cat(errors, 1))

    # Detection

    @property
    def starts(self) -> tuple[int, ...]:
        """Numbers of the levels that reconstructions start from; 0 is the lowest of the walk."""
        return tuple(range(1, self.options.walk, self.options.skip))

    def passes(self, size: tuple[int, ...]) -> int:
        """One walk from each of the starts."""
        return sum(plms_calls(start + 1) for start in self.starts)

    def reconstructions(self, x: Images, *, rng: Rng) -> Iterator[Images]:
        """From each start, the lowest first: images in [0, 1]; fresh noise for each."""
        o, z = self.options, self.into(x)
        denoise = DENOISERS[o.predict](self.net, self.schedule)
        sigmas = self.schedule.sigmas[list(self.schedule.timesteps(o.walk))]
        drawn = o.noise.stream(rng)
        for start in self.starts:
            path = torch.cat([sigmas[: start + 1].flip(0), sigmas.new_zeros(1)])
            eps = o.noise.like(z, rng=drawn.fork("start", start))
            end = plms(denoise, z + path[0].to(z) * eps, path)
            yield self.out_of(end).clamp(0, 1)

    def into(self, x: Images) -> Latents:
        """What is noised: scaled images in [-1, 1], or scaled codes."""
        return self.scale * (2 * x - 1 if self.autoencoder is None else self.autoencoder.encode(x))

    def out_of(self, z: Latents) -> Images:
        """The image of what was denoised; latents become their nearest codes first."""
        z = z / self.scale
        if self.autoencoder is None:
            return (z + 1) / 2
        codebook = self.autoencoder.quantiser
        return self.autoencoder.decode(codebook.lookup(codebook.nearest(z)))

    def error(self, x: Images, healthy: Images, brain: Brain) -> Errors:
        """Each kind of error of each image, mean over the region; 0 where that is empty."""
        sizes = [(x - healthy).square().mean(1, keepdim=True)]
        if self.options.perceptual != "none":
            sizes.append(perceptual_map(x, healthy))
        where = brain if self.options.region == "brain" else torch.ones_like(brain)
        return means_in(sizes, where)

    def errors(self, x: Images, brain: Brain, *, rng: Rng) -> Errors:
        """Errors of each image from each start, all kinds of a start side by side."""
        copies = self.reconstructions(x, rng=rng)
        return torch.cat([self.error(x, healthy, brain) for healthy in copies])

    @torch.no_grad()
    def slice_score(self, x: Images, brain: Brain, *, rng: Rng) -> PerItem:
        """The published score of each image: 0 for a healthy one on average, larger is less so.

        In region ``brain`` the score of a slice with hardly any, or no, brain says nothing.
        """
        self.check_fitted()
        return self.healthy.score(self.errors(x, brain, rng=rng))

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """The map, the slice score, and the mean reconstruction with the weights of the map."""
        self.check_fitted()
        weights = self.healthy.weights()[:: self.healthy.kinds]
        anomaly, healthy, errors = torch.zeros_like(x), torch.zeros_like(x), []
        for weight, copy in zip(weights, self.reconstructions(x, rng=rng), strict=True):
            anomaly = anomaly + weight * one_sided(x - copy, self.options.sign).square()
            healthy = healthy + weight / weights.sum() * copy
            errors.append(self.error(x, copy, brain))
        return Detection(
            anomaly=anomaly.mean(1, keepdim=True) * brain,
            healthy=healthy * brain,
            score=self.healthy.score(torch.cat(errors)),
        )
