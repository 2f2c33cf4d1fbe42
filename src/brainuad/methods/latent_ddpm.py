"""Latent DDPM, Pinaya-style: what a latent diffusion model finds unlikely is painted anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from brainuad import training_published
from brainuad.augment import Augment, augment
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.inpaint import Repaint
from brainuad.latent_map import LatentMap
from brainuad.latents import LatentCache, deviation_of, split, warn_unused
from brainuad.likelihood import KLScorer, percentile
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.noise import brain_share
from brainuad.rng import Rng
from brainuad.schedule import LinearBeta, ScaledLinear
from brainuad.types import AnomalyMap, Brain, Images, PerItem, UsageError
from brainuad.unet import UNet, UNetOptions
from brainuad.vq import Latents, VqAutoencoder, VqOptions, perplexity
from brainuad.vq_training import reconstruct

__all__ = ["LatentDdpm"]

Cells = Bool[Tensor, "batch 1 *cells"]
Scores = Float[Tensor, "batch 1 *cells"]
Count = Annotated[int, Field(ge=1)]
SCHEDULES = {"scaled_linear": ScaledLinear, "linear": LinearBeta}
LARGEST_CACHED = 2048  # codes are cached by number at half precision, exact up to here


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentDdpmOptions:
    """Options of :class:`LatentDdpm`."""

    autoencoder: VqOptions = field(default_factory=VqOptions)
    """The VQ-VAE whose codes are diffused."""
    critic: CriticOptions | None = None
    """A critic that makes the autoencoder's images sharp; None: none."""
    net: UNetOptions = field(default_factory=UNetOptions)
    """The denoising U-Net; its channels and dimensions are those of the latent."""
    schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    """How beta grows from step to step: its root, or beta itself, in equal steps."""
    betas: tuple[float, float] = (0.0015, 0.0195)
    """Beta of the first and of the last step."""
    steps: Count = 1000
    """Steps of the schedule."""
    latent_scale: Annotated[float, Field(gt=0)] | None = None
    """Factor on latents; None: 1 / standard deviation, measured on the training images."""
    scorer: KLScorer = field(default_factory=KLScorer)
    """How unlikely each cell is: window, stride, draws, mean over steps, weight."""
    percentile: Annotated[float, Field(gt=0, lt=100)] = 97.5
    """Share of healthy brain cells, in percent, whose score lies below the threshold."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the images, the last ones, that only set the threshold; 0: all train and set it."""
    repaint: Repaint = field(default_factory=Repaint)
    """How flagged cells are sampled anew."""
    requantise: bool = True
    """Replace repainted cells by their nearest code before decoding."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: Count = 1
    """Augmented copies of each image in the latent cache; the first is the image itself."""
    map: LatentMap = field(default_factory=LatentMap)
    """How the anomaly map is made."""

    def __post_init__(self) -> None:
        """Refuse steps that the schedule lacks, and codebooks too large for the cache."""
        if self.repaint.start >= self.steps or self.repaint.steps > self.repaint.start + 1:
            raise UsageError(
                f"latent_ddpm: repaint in {self.repaint.steps} steps from step "
                f"{self.repaint.start} of {self.steps}; start below {self.steps} and take at most "
                "start + 1 steps"
            )
        self.scorer.check(self.steps)
        if self.autoencoder.sizes.codes > LARGEST_CACHED:
            raise UsageError(
                f"latent_ddpm: {self.autoencoder.sizes.codes} codes; use at most {LARGEST_CACHED}"
            )


OURS: dict[str, Any] = {
    "autoencoder": {"preset": "vq-f4"},
    "net": {"width": 128, "multipliers": [1, 2, 2], "attention": [1, 2], "head_channels": 64},
    "augment": {},
    "copies": 2,
}
SMALL: dict[str, Any] = {
    **OURS,
    "autoencoder": {"preset": "vq-f4-small"},
    "net": {
        "width": 32,
        "multipliers": [1, 2, 2],
        "blocks": 1,
        "attention": [1, 2],
        "heads": 2,
        "groups": 8,
    },
    "repaint": {"steps": 25},
}
TINY: dict[str, Any] = {
    "autoencoder": {"preset": "tiny"},
    "net": {"width": 8, "multipliers": [1, 2], "blocks": 1, "heads": 2, "groups": 4},
    "scorer": {"stride": 50},
    "repaint": {"steps": 4},
}
LINEAGE: dict[str, Any] = {
    "autoencoder": {"preset": "vq-f8-lineage", "revive": 0.0},
    "net": {"width": 256, "multipliers": [1, 2, 3], "attention": [1, 2], "heads": 1},
    "latent_scale": 1.0,
    "scorer": {"window": [400, 600]},
    "repaint": {"steps": 501, "init": "qsample", "eta": 1.0},
    "requantise": False,
}


class LatentDdpm(Method):
    """Diffusion on the codes of a VQ-VAE, Pinaya-style: score, threshold, repaint, compare.

    Only the abstract of the paper is verified; no code was released under its title. The method
    follows the authors' later code where that exists (preset ``lineage``) and choices of ours
    elsewhere, so no preset is called ``paper``.

    Masks: 1 = anomalous, to be sampled anew.

    References:
        Pinaya et al. 2022, "Fast Unsupervised Brain Anomaly Detection and Segmentation with
        Diffusion Models", MICCAI, doi 10.1007/978-3-031-16452-1_67, arXiv 2206.03461.
    """

    title = "Latent DDPM with a likelihood mask (Pinaya-style)"
    paper = "Pinaya et al. 2022, MICCAI, arXiv 2206.03461"
    space = "latent"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 0.35, "denoiser": 0.65}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "batch_size": 16}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.LINEAGE
    Options = LatentDdpmOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "small": SMALL,
        "small-dark": {**SMALL, "map": {"sign": "dark"}},
        "tiny": TINY,
        "lineage": LINEAGE,
    }
    scale: Tensor
    threshold: Tensor
    perplexity: Tensor
    reconstruction_error: Tensor

    def __init__(self, options: LatentDdpmOptions | None = None):
        super().__init__(options)
        o = self.options
        self.autoencoder = VqAutoencoder(o.autoencoder)
        n = self.autoencoder.latent_channels
        dimensions = o.autoencoder.dimensions
        net = replace(o.net, channels_in=n, channels_out=n, dimensions=dimensions, mask_head=False)
        self.denoiser = UNet(net)
        self.schedule = SCHEDULES[o.schedule](steps=o.steps, first=o.betas[0], last=o.betas[1])
        self.register_buffer("scale", torch.tensor(o.latent_scale or 1.0))
        for name in ("threshold", "perplexity", "reconstruction_error"):
            self.register_buffer(name, torch.zeros(()))

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The autoencoder on images, the denoiser on their codes, the threshold on the rest."""
        training, rest = split(batches, self.options.held_out)
        fit_autoencoder(self.autoencoder, self.reconstruct, training, self.options.critic, minimise)
        codes = LatentCache(training, self.encode, copies=self.options.copies)
        self.measure(codes)
        warn_unused(float(self.perplexity), self.options.autoencoder.sizes.codes)
        minimise("denoiser", self.denoiser, self.loss, codes)
        self.denoiser.eval()
        self.set_threshold(rest)
        self.mark_fitted()

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images, their reconstructions, absolute error plus commitment loss."""
        return reconstruct(self.autoencoder, batch, self.options.augment, rng)

    @torch.no_grad()
    def encode(self, batch: Batch, copy: int) -> tuple[Images, Cells]:
        """Numbers of the codes of training images, and their brains; copy 0 is not augmented."""
        how = self.options.augment if copy else None
        x, brain = augment(batch.x, batch.brain, how, rng=batch.rng(0, "latents", copy))
        indices = self.autoencoder.indices(x.to(self.scale.device))
        return indices.float(), brain_share(brain, self.autoencoder.factor) >= 0.5

    def measure(self, cache: LatentCache) -> None:
        """Use of the codebook, and the scale that gives latents unit standard deviation."""
        codes = self.autoencoder.quantiser.codes
        counts = torch.bincount(cache.x.flatten().long(), minlength=len(codes)).to(codes.device)
        self.perplexity.fill_(perplexity(counts))
        if self.options.latent_scale is None:
            self.scale.fill_(1 / deviation_of(codes, counts))

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Mean squared error of the predicted noise on a batch of cached codes, per image."""
        z = self.scale * self.autoencoder.quantiser.lookup(batch.x.long())
        eps = rng.normal_like(z)
        t = rng.integers(0, self.options.steps).to(z.device)
        guess = self.predict_eps(self.schedule.add_noise(z, eps, t), t)
        return (eps - guess).square().flatten(1).mean(1)

    @torch.no_grad()
    def set_threshold(self, batches: Batches) -> None:
        """Score that the wanted share of healthy brain cells does not exceed."""
        scores, errors = [], []
        for batch in batches.in_order(16):
            x, brain = batch.x.to(self.scale.device), batch.brain.to(self.scale.device)
            z = self.autoencoder.encode(x)
            score = self.score(self.scale * z, rng=batch.rng(0, "threshold"))
            inside = brain_share(brain, self.autoencoder.factor) >= 0.5
            scores.append(score[inside].cpu())
            errors.append((self.autoencoder.decode(z) - x).abs()[brain.expand_as(x)].cpu())
        self.threshold.fill_(percentile(torch.cat(scores), self.options.percentile))
        self.reconstruction_error.fill_(float(torch.cat(errors).mean()))

    # Detection

    def predict_eps(self, z: Latents, t: Int[Tensor, " batch"]) -> Latents:
        """The network's guess of the noise."""
        eps = self.denoiser(z, t)
        assert isinstance(eps, Tensor)
        return eps

    def score(self, z: Latents, *, rng: Rng) -> Scores:
        """How unlikely each cell of a scaled latent is."""
        return self.options.scorer.score(self.predict_eps, z, schedule=self.schedule, rng=rng)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Score the cells, sample the unlikely ones anew, decode, compare."""
        self.check_fitted()
        z = self.scale * self.autoencoder.encode(x)
        score = self.score(z, rng=rng.fork("score"))
        mask = (score > self.threshold) & (brain_share(brain, self.autoencoder.factor) > 0)
        reference = self.autoencoder.decode(z / self.scale)
        healthy = self.decoded(self.repainted(z, mask, rng=rng.fork("repaint")), mask, reference)
        before = x if self.options.map.reference == "input" else reference
        anomaly = self.anomaly_map(before - healthy, mask, score) * brain
        return Detection(anomaly=anomaly, healthy=healthy.clamp(0, 1) * brain)

    def passes(self, size: tuple[int, ...]) -> int:
        """The score, and the repainting where anything is flagged."""
        return self.options.scorer.calls(self.schedule) + self.options.repaint.calls

    def repainted(self, z: Latents, mask: Cells, *, rng: Rng) -> Latents:
        """Latents with their flagged cells sampled anew; the others are the same to the bit."""
        how, rows = self.options.repaint, mask.flatten(1).any(1)
        if not rows.any():
            return z
        own = Rng([seed for seed, row in zip(rng.seeds, rows.tolist(), strict=True) if row])
        z = z.clone()
        z[rows] = how(self.predict_eps, z[rows], mask[rows], schedule=self.schedule, rng=own)
        return z

    def decoded(self, z: Latents, mask: Cells, reference: Images) -> Images:
        """Images of latents; decoded again only where cells were flagged."""
        rows = mask.flatten(1).any(1)
        if not rows.any():
            return reference
        z = z[rows] / self.scale
        if self.options.requantise:
            codebook = self.autoencoder.quantiser
            z = torch.where(mask[rows], codebook.lookup(codebook.nearest(z)), z)
        healthy = reference.clone()
        healthy[rows] = self.autoencoder.decode(z)
        return healthy

    def anomaly_map(self, difference: Images, mask: Cells, score: Scores) -> AnomalyMap:
        """The map that the options ask for, at the pixels of ``difference``."""
        return self.options.map(difference, mask, score, factor=self.autoencoder.factor)
