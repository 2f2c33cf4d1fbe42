"""Masked Bernoulli latent diffusion: bits of a latent that look wrong are flipped back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainuad import training_published
from brainuad.augment import Augment, augment
from brainuad.autoencoder import AutoencoderOptions
from brainuad.bernoulli import Belief, BitWalk, chance_of_one, draw, masked_walk
from brainuad.binary import BinaryAutoencoder, Bits, straight_through
from brainuad.config import Share
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.denoiser import as_column
from brainuad.difference import Sign, one_sided
from brainuad.diffusion import SCHEDULES
from brainuad.latents import LatentCache, copied
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.noise import brain_share
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.unet import UNet, UNetOptions

__all__ = ["BernoulliLdm"]

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class BernoulliLdmOptions:
    """Options of :class:`BernoulliLdm`."""

    autoencoder: AutoencoderOptions = field(
        default_factory=lambda: AutoencoderOptions(latent_channels=32)
    )
    """The autoencoder whose latent is made of bits, ``latent_channels`` of them per cell."""
    critic: CriticOptions | None = None
    """A critic that makes the autoencoder's images sharp; None: none."""
    net: UNetOptions = field(default_factory=UNetOptions)
    """The U-Net that says which bits were flipped; its channels are the bits of a cell."""
    schedule: Literal["linear", "scaled_linear", "cosine"] = "linear"
    """How noise grows from step to step."""
    steps: Count = 1000
    """Steps of the schedule."""
    level: Annotated[int, Field(ge=0)] = 200
    """Level that the bits are noised to (L), counted from 1; 0: not at all, which leaves the
    autoencoder's reconstruction."""
    stride: Count = 1
    """Levels that one step of the walk goes down; 1 is the whole chain, as published."""
    threshold: Share = 0.5
    """Probability of a flip above which a bit may change (P)."""
    belief: Belief = "exact"
    """How a guess of the clean bits enters a step: weighed, or as published in place of the bits,
    which counts what is seen twice."""
    reference: Literal["input", "reconstruction"] = "input"
    """What the healthy image is compared with: the input, or the autoencoder's view of it."""
    sign: Sign = "absolute"
    """Which differences count: both, only darker, or only brighter than healthy."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: Count = 1
    """Augmented copies of each image in the latent cache; the first is the image itself."""

    def __post_init__(self) -> None:
        """Refuse a level that the schedule does not have, and volumes."""
        if self.level > self.steps:
            raise UsageError(
                f"bernoulli_ldm: level {self.level} of {self.steps} steps; give a level between 0 "
                f"and {self.steps}"
            )
        if self.autoencoder.dimensions != 2:
            raise UsageError(
                f"bernoulli_ldm: autoencoder of {self.autoencoder.dimensions} dimensions; slices "
                "have 2, leave it out"
            )


OURS: dict[str, Any] = {
    "autoencoder": {"preset": "kl-f4-small", "latent_channels": 64},
    "net": {"width": 128, "multipliers": [1, 2, 2], "attention": [1, 2], "head_channels": 64},
    "stride": 4,
    "augment": {},
    "copies": 2,
}
SMALL: dict[str, Any] = {
    **OURS,
    # 32 bits for every 4 x 4 pixels copy lesions; 16 for every 8 x 8 do not.
    "autoencoder": {"preset": "kl-f8-small", "latent_channels": 16},
    "net": {
        "width": 32,
        "multipliers": [1, 2, 2],
        "blocks": 1,
        "attention": [1, 2],
        "heads": 2,
        "groups": 8,
    },
    "stride": 10,
}


class BernoulliLdm(Method):
    """A latent of bits is noised by flips; a net says which bits were flipped, and flips them back.

    Healthy bits stay: only where the net gives a flip more than an even chance at some step of the
    walk does its guess replace the image's own code. The map is the squared difference, summed
    over the channels, as published.

    References:
        Wolleb, Bieder, Friedrich, Zhang, Durrer, Cattin 2024, "Binary Noise for Binary Tasks:
        Masked Bernoulli Diffusion for Unsupervised Anomaly Detection", MICCAI, arXiv 2403.11667.
    """

    title = "Masked Bernoulli latent diffusion"
    paper = "Wolleb et al. 2024, MICCAI, arXiv 2403.11667"
    space = "latent"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 0.35, "denoiser": 0.65}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "batch_size": 16}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.WOLLEB
    Options = BernoulliLdmOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "small": SMALL,
        "small-dark": {**SMALL, "sign": "dark"},
        "tiny": {
            "autoencoder": {"preset": "tiny", "latent_channels": 4},
            "net": {"width": 8, "multipliers": [1, 2], "blocks": 1, "heads": 2, "groups": 4},
            "stride": 50,
        },
        # Not stated in any source we know, chosen here: levels of the net, betas.
        "paper": {
            "autoencoder": {
                "preset": "kl-f8",
                "width": 32,
                "multipliers": [1, 2, 2, 4],
                "latent_channels": 128,
            },
            "critic": {},
            "net": {"width": 128, "multipliers": [1, 2, 2], "attention": [1]},
            "belief": "published",
        },
    }

    def __init__(self, options: BernoulliLdmOptions | None = None):
        super().__init__(options)
        o = self.options
        self.autoencoder = BinaryAutoencoder(o.autoencoder)
        n = self.autoencoder.bits
        self.denoiser = UNet(replace(o.net, channels_in=n, channels_out=n, mask_head=False))
        self.schedule = SCHEDULES[o.schedule](steps=o.steps)

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The autoencoder on images, then the net on flipped bits of their codes."""
        critic = self.options.critic
        fit_autoencoder(self.autoencoder, self.reconstruct, batches, critic, minimise)
        codes = LatentCache(batches, self.encode, copies=self.options.copies)
        minimise("denoiser", self.denoiser, self.loss, codes)
        self.mark_fitted()

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images in [-1, 1], their reconstructions from drawn bits, absolute error."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        x = 2 * x - 1
        probability = self.autoencoder.probability(x)
        bits = straight_through(draw(probability.detach(), rng=rng.fork("bits")), probability)
        decoded = self.autoencoder.decode(bits)
        return x, decoded, (decoded - x).abs().flatten(1).mean(1)

    @torch.no_grad()
    def encode(self, batch: Batch, copy: int) -> tuple[Bits, Brain]:
        """Codes of training images, and their brains; copy 0 is not augmented."""
        x, brain = copied(batch, copy, self.options.augment)
        place = next(self.autoencoder.parameters()).device
        code = self.autoencoder.encode(2 * x.to(place) - 1)
        return code, brain_share(brain, self.autoencoder.factor) >= 0.5

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Cross-entropy of the flips at a random step, mean over the bits of each image."""
        code = batch.x
        t = rng.integers(0, self.options.steps)
        kept = as_column(self.schedule.abar[t], code)
        x_t = draw(chance_of_one(code, kept), rng=rng.fork("flips"))
        logits = self.logits(x_t, t.to(code.device))
        each = F.binary_cross_entropy_with_logits(logits, (x_t - code).abs(), reduction="none")
        return each.flatten(1).mean(1)

    # Detection

    def logits(self, bits: Bits, t: Tensor) -> Bits:
        """Logit that each bit was flipped."""
        found = self.denoiser(2 * bits - 1, t)
        assert isinstance(found, Tensor)
        return found

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the walk, falling to 0."""
        return (*range(self.options.level, 0, -self.options.stride), 0)

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each step of the walk."""
        return len(self.levels) - 1

    def healed(self, code: Bits, *, rng: Rng) -> BitWalk:
        """The masked walk from the bits of an image to those of its healthy counterpart."""
        return masked_walk(
            lambda bits, t: self.logits(bits, t).sigmoid(),
            code,
            schedule=self.schedule,
            levels=self.levels,
            threshold=self.options.threshold,
            belief=self.options.belief,
            rng=rng,
        )

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Squared difference to the image of the healed bits, summed over the channels."""
        self.check_fitted()
        code = self.autoencoder.encode(2 * x - 1)
        healthy = self.image(self.healed(code, rng=rng).final)
        before = x if self.options.reference == "input" else self.image(code)
        anomaly = one_sided(before - healthy, self.options.sign).square().sum(1, keepdim=True)
        return Detection(anomaly=anomaly * brain, healthy=healthy * brain)

    def image(self, bits: Bits) -> Images:
        """The image of bits, in [0, 1]."""
        return ((self.autoencoder.decode(bits) + 1) / 2).clamp(0, 1)
