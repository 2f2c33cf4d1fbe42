"""Latent DDPM, Pinaya-style: what a latent diffusion model finds unlikely is painted anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from brainuad import training_published
from brainuad.augment import Augment, augment
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.inpaint import Repaint
from brainuad.latent_code import Encoding, EncodingOptions
from brainuad.latent_limit import SliceScore, check_places, limit, limits_by_place
from brainuad.latent_map import LatentMap
from brainuad.latents import LatentCache, copied, limit_of, split, use_of, warn_unused
from brainuad.likelihood import KLScorer
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.noise import brain_share
from brainuad.rng import Rng
from brainuad.schedule import LinearBeta, ScaledLinear
from brainuad.types import Brain, Images, PerItem
from brainuad.unet import UNet, UNetOptions
from brainuad.vq import Latents, VqOptions, perplexity

__all__ = ["LatentDdpm"]

Cells = Bool[Tensor, "batch 1 *cells"]
Scores = Float[Tensor, "batch 1 *cells"]
Count = Annotated[int, Field(ge=1)]
SCHEDULES = {"scaled_linear": ScaledLinear, "linear": LinearBeta}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentDdpmOptions:
    """Options of :class:`LatentDdpm`."""

    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    """What is diffused."""
    autoencoder: VqOptions = field(default_factory=VqOptions)
    """The VQ-VAE of the encodings that have one."""
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
    per_location: bool = False
    """A threshold for each latent place instead of one for all: images must lie on one grid."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the images, of whole scans, that only set the threshold; 0: all train and set it."""
    repaint: Repaint = field(default_factory=Repaint)
    """How flagged cells are sampled anew."""
    requantise: bool = True
    """Replace repainted cells by their nearest code before decoding; only the encoding
    ``quantised`` can do without."""
    slice_score: SliceScore = field(default_factory=SliceScore)
    """One number for each slice."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: Count = 1
    """Augmented copies of each image in the latent cache; the first is the image itself."""
    map: LatentMap = field(default_factory=LatentMap)
    """How the anomaly map is made."""

    def __post_init__(self) -> None:
        """Refuse steps that the schedule lacks, and codebooks too large for the cache."""
        self.repaint.check(self.steps)
        self.scorer.check(self.steps)
        codes = self.autoencoder.sizes.codes
        self.encoding.check(requantise=self.requantise, critic=self.critic is not None, codes=codes)


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
        self.autoencoder = o.encoding.autoencoder(o.autoencoder)
        n = self.encoding.channels
        dimensions = (o.encoding.kl if o.encoding.kind == "kl" else o.autoencoder).dimensions
        net = replace(o.net, channels_in=n, channels_out=n, dimensions=dimensions, mask_head=False)
        self.denoiser = UNet(net)
        self.schedule = SCHEDULES[o.schedule](steps=o.steps, first=o.betas[0], last=o.betas[1])
        self.register_buffer("scale", torch.tensor(o.latent_scale or 1.0))
        for name in ("threshold", "perplexity", "reconstruction_error"):
            self.register_buffer(name, torch.zeros(()))

    @property
    def encoding(self) -> Encoding:
        """From images to latents and back."""
        return self.options.encoding.of(self.autoencoder)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over saved weights, with one threshold or with one for each latent place."""
        self.threshold = torch.zeros_like(state["threshold"])
        super().restore(state)

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The autoencoder on images, the denoiser on their codes, the threshold on the rest."""
        training, rest = split(batches, self.options.held_out)
        if self.options.encoding.kind != "downsampling":  # which has nothing to learn
            learnt = (self.autoencoder, self.reconstruct, training, self.options.critic)
            fit_autoencoder(*learnt, minimise)
        codes = LatentCache(training, self.encode, copies=self.options.copies)
        self.measure(codes)
        warn_unused(float(self.perplexity), self.encoding.codes)
        minimise("denoiser", self.denoiser, self.loss, codes)
        self.denoiser.eval()
        self.set_threshold(rest)
        self.mark_fitted()

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images as the autoencoder takes them, their reconstructions, and its loss."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        return self.encoding.reconstruct(x, rng)

    @torch.no_grad()
    def encode(self, batch: Batch, copy: int) -> tuple[Images, Cells]:
        """What is kept of training images, and their brains; copy 0 is not augmented."""
        x, brain = copied(batch, copy, self.options.augment)
        kept = self.encoding.kept(x.to(self.scale.device))
        return kept, brain_share(brain, self.encoding.factor) >= 0.5

    def measure(self, cache: LatentCache) -> None:
        """Use of the codebook, and the scale that gives latents unit standard deviation."""
        counts = self.encoding.counts(cache)
        if counts is not None:
            self.perplexity.fill_(perplexity(counts))
        if self.options.latent_scale is None:
            self.scale.fill_(1 / self.encoding.deviation(cache, counts))

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Mean squared error of the predicted noise on a batch of cached latents, per image."""
        z = self.scale * self.encoding.drawn(batch.x, rng)
        eps = rng.normal_like(z)
        t = rng.integers(0, self.options.steps).to(z.device)
        guess = self.predict_eps(self.schedule.add_noise(z, eps, t), t)
        return (eps - guess).square().flatten(1).mean(1)

    @torch.no_grad()
    def set_threshold(self, batches: Batches) -> None:
        """Score that the wanted share of healthy brain cells does not exceed, here or anywhere."""
        scores, cells, errors = [], [], []
        for batch in batches.in_order(16):
            x, brain = batch.x.to(self.scale.device), batch.brain.to(self.scale.device)
            z = self.encoding.latents(x)
            scores.append(self.score(self.scale * z, rng=batch.rng(0, "threshold")).cpu())
            cells.append((brain_share(brain, self.encoding.factor) >= 0.5).cpu())
            errors.append((self.encoding.images(z) - x).abs()[brain.expand_as(x)].cpu())
        how = limits_by_place if self.options.per_location else limit
        found = how(torch.cat(scores), torch.cat(cells), self.options.percentile)
        self.threshold = torch.as_tensor(found).to(self.scale)
        self.reconstruction_error.fill_(float(torch.cat(errors).mean()))

    def notes(self) -> tuple[str, ...]:
        """Use of the codebook, error of the autoencoder, and the threshold of the scores."""
        used = use_of(float(self.perplexity), self.encoding.codes)
        return used + limit_of(self.threshold, self.options.percentile, self.reconstruction_error)

    # Detection

    def predict_eps(self, z: Latents, t: Int[Tensor, " batch"]) -> Latents:
        """The network's guess of the noise."""
        return self.denoiser(z, t)

    def score(self, z: Latents, *, rng: Rng) -> Scores:
        """How unlikely each cell of a scaled latent is."""
        return self.options.scorer.score(self.predict_eps, z, schedule=self.schedule, rng=rng)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Score the cells, sample the unlikely ones anew, decode, compare."""
        self.check_fitted()
        z = self.scale * self.encoding.latents(x)
        score = self.score(z, rng=rng.fork("score"))
        check_places(self.threshold, score)
        mask = (score > self.threshold) & (brain_share(brain, self.encoding.factor) > 0)
        reference = self.encoding.images(z / self.scale)
        healthy = self.decoded(self.repainted(z, mask, rng=rng.fork("repaint")), mask, reference)
        before = x if self.options.map.reference == "input" else reference
        how, factor = self.options.map, self.encoding.factor
        anomaly = how(before - healthy, mask, score, factor=factor) * brain
        bound = partial(self.bound, z, rng=rng.fork("score"))
        whole = self.options.slice_score(score, anomaly, brain, bound=bound)
        return Detection(anomaly=anomaly, healthy=healthy.clamp(0, 1) * brain, score=whole)

    def bound(self, z: Latents, *, rng: Rng) -> PerItem:
        """Bound on how unlikely each scaled latent is, from all steps of the schedule."""
        o = self.options
        return o.slice_score.bound(o.scorer, self.predict_eps, z, schedule=self.schedule, rng=rng)

    def passes(self, size: tuple[int, ...]) -> int:
        """The scores, and the repainting where anything is flagged."""
        o, asked = self.options, (self.options.scorer, self.schedule)
        return o.scorer.calls(self.schedule) + o.slice_score.calls(*asked) + o.repaint.calls

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
            z = torch.where(mask[rows], self.encoding.snapped(z), z)
        healthy = reference.clone()
        healthy[rows] = self.encoding.images(z)
        return healthy
