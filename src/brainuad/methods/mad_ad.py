"""MAD-AD: masked latent diffusion that finds, then replaces, the latent cells that look noisy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from brainuad import training_published
from brainuad.autoencoder import Latents
from brainuad.config import Share
from brainuad.difference import Sign
from brainuad.latent_method import Cells, LatentMethod, LatentOptions
from brainuad.layers import Maps
from brainuad.method import Batch, Batches, Detection, Minimise
from brainuad.noise import PatchLaw, brain_cells, brain_share, draw_patches, patch_noise
from brainuad.rng import Rng
from brainuad.sample import MaskedWalk, masked_ddim
from brainuad.schedule import Cosine
from brainuad.synthetic import AnomalyLaw, slices_with_anomalies
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.unet import mad_ad_unet
from brainuad.walk_map import MapOptions

__all__ = ["MadAd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadAdOptions(LatentOptions):
    """Options of :class:`MadAd`."""

    size: str = "S"
    """Size of the denoising network by name."""
    dropout: Share = 0.1
    """Dropout in every residual block of the denoiser."""
    steps: Annotated[int, Field(ge=1)] = 10
    """Noise levels of the cosine schedule."""
    patches: PatchLaw = field(default_factory=PatchLaw)
    """Law of the random rectangles that get noise."""
    sick: Share = 0.0
    """Share of training images whose noise is the latent of the same image with synthetic
    anomalies, in the cells that these change; 0: none, as published."""
    anomalies: AnomalyLaw = field(default_factory=AnomalyLaw)
    """Law of the synthetic anomalies."""
    sign: Sign = "absolute"
    """Whether they are darker, brighter, or either."""
    mask_loss: Literal["bce", "mse"] = "bce"
    """Loss of the mask head: cross-entropy on logits, or squared error of the probability."""
    mask_weight: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the mask loss (lambda)."""
    noised_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of noised cells in the x0 loss relative to clean cells."""
    walk: tuple[int, ...] | None = None
    """Step indices of detection, decreasing; None: all, from the noisiest."""
    eta: float = 0.5
    """Share of fresh noise in a step: 0 none (DDIM), 1 as in DDPM."""
    map: MapOptions = field(default_factory=MapOptions)
    """How the anomaly map is made."""

    def __post_init__(self) -> None:
        """Refuse a walk that the schedule does not have."""
        walk = self.walk or (0,)
        falls = all(a > b for a, b in pairwise(walk))
        if not falls or walk[-1] < 0 or walk[0] >= self.steps or self.walk == ():
            raise UsageError(
                f"mad_ad: walk {self.walk} of {self.steps} steps; give falling indices between "
                f"{self.steps - 1} and 0"
            )
        if self.sick and self.autoencoder.dimensions == 3:
            raise UsageError(f"mad_ad: sick {self.sick} in 3 dimensions; only slices can, use 0")
        if not 0 <= self.eta <= 1:
            raise UsageError(f"mad_ad: eta {self.eta}; give 0 to 1")


VISIBLE, CHANGED = 0.04, 0.4
"""Change of a pixel that can be seen; share of such pixels in a cell that counts as changed."""
OURS_MAP = {"smooth_px": [1.0, 2.5], "clip": 0.5, "gate": True}
OURS = {
    "autoencoder": {"preset": "kl-f4-small"},
    "patches": {"displaced": 0.7},
    "mask_weight": 0.1,
    "noised_weight": 5.0,
    "augment": {},
    "copies": 2,
    "map": OURS_MAP,
}
SMALL = {**OURS, "size": "micro", "dropout": 0.05}
PAPER = {
    "autoencoder": {"preset": "kl-f8"},
    "latent_scale": 0.18215,
    "size": "L",
    "dropout": 0.4,
    "critic": {"start": 50_001},
}


CODE = {
    **PAPER,
    "patches": {"shared": True, "brain_rule": "block"},
    "mask_loss": "mse",
    "mask_weight": 0.001,
}
RELEASED_CHANGES = {
    **dict.fromkeys(["gamma", "bias", "noise"], 0.0),
    "mirror": False,
    "rotation_deg": 5.0,
    "translation_px": 8.0,
    "brightness": 0.1,
    "contrast": 0.1,
    "constant": True,
}
"""The released code's changes, each with probability 0.5; shifts are for slices of 256 pixels."""
COPIES = 4
"""Of each slice in the cache; the preset's training has as many times fewer epochs."""


class MadAd(LatentMethod):
    """Masked diffusion for unsupervised brain anomaly detection.

    A frozen autoencoder gives latents. A network learns to restore latents of which random
    rectangles were noised, and to say which cells those are. In detection no noise is added: the
    latent is declared to be the noisiest state, and in each step only the cells that the mask head
    calls noisy take the diffusion step. The anomaly is what changed.

    Masks follow the paper: 1 = noised. The published code stores the opposite.

    Preset ``paper`` follows the paper's text, ``code`` the released code, ``code-augmented`` the
    same with its augmentation, which a slip in a call makes constant. No source states for the
    paper: size of the denoiser, patch probabilities and their drawing once per batch, brain share
    of a noisable cell, weight of the mask loss, eta, intensity scale and smoothing of the map.
    These values of the preset are choices of this package.

    References:
        Beizaee, Lodygensky, Desrosiers, Dolz 2025, "MAD-AD: Masked Diffusion for Unsupervised Brain
        Anomaly Detection", IPMI, arXiv 2502.16943.
    """

    title = "MAD-AD, masked latent diffusion"
    paper = "Beizaee et al. 2025, IPMI, arXiv 2502.16943"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 0.35, "denoiser": 0.65}
    train_with: ClassVar[Mapping[str, Any]] = {
        "lr": {"autoencoder": 1e-3, "denoiser": 2e-3},
        "batch_size": 16,
    }
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.MAD_AD
    Options = MadAdOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "small": SMALL,
        "small-dark": {**SMALL, "map": {**OURS_MAP, "sign": "dark"}},
        "tiny": {"autoencoder": {"preset": "tiny"}, "size": "tiny", "map": OURS_MAP},
        # Not stated in any source, chosen here: size, patch probabilities, lambda, eta.
        "paper": {
            **PAPER,
            "patches": {"probabilities": [0.25, 0.25, 0.25, 0.25], "shared": True},
            "map": {"reference": "input", "squared": True, "clip": 0.2},
        },
        "code": CODE,
        "code-augmented": {**CODE, "augment": RELEASED_CHANGES, "copies": COPIES},
    }

    def __init__(self, options: MadAdOptions | None = None):
        super().__init__(options)
        self.denoiser = mad_ad_unet(
            self.options.size,
            channels=self.autoencoder.latent_channels,
            dropout=self.options.dropout,
        )
        self.schedule = Cosine(steps=self.options.steps)

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """Two stages: the autoencoder on images, then the denoiser on cached latents."""
        latents = self.fit_autoencoder(batches, minimise=minimise)
        minimise("denoiser", self.denoiser, self.loss, latents)
        self.mark_fitted()

    def cells(self, brain: Brain) -> Cells:
        """Latent cells that may be noised."""
        return brain_cells(self.options.patches, brain, self.autoencoder.factor)

    def kept(self, x: Images, brain: Brain, rng: Rng) -> Maps:
        """Mean, log-variance, by how much anomalies move the mean, and the cells they change."""
        moments = super().kept(x, brain, rng)
        o = self.options
        if not o.sick:
            return moments
        sick = slices_with_anomalies(o.anomalies, x, brain, o.sign, rng=rng)
        change = (sick - x).abs() > VISIBLE
        cells = brain_share(change, self.autoencoder.factor) >= CHANGED
        n = self.autoencoder.latent_channels
        moved = super().kept(sick, brain, rng)[:, :n] - moments[:, :n]
        return torch.cat([moments, moved, cells.to(moved)], 1)

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Loss of the denoiser on a batch of cached latents (steps 2 to 9 of the training)."""
        n = 2 * self.autoencoder.latent_channels
        z = self.sampled(batch.x[:, :n], rng)
        t = rng.integers(0, self.options.steps)
        noised = draw_patches(self.options.patches, batch.brain, rng=rng)
        noise = patch_noise(self.options.patches, z, rng=rng)
        rest = z
        if self.options.sick:
            use = rng.fork("sick").uniform().to(z.device).reshape(-1, 1, 1, 1) < self.options.sick
            moved = self.scale * batch.x[:, n:-1]
            noise, rest = torch.where(use, z + moved, noise), torch.where(use, z + moved, z)
            noised = torch.where(use, (batch.x[:, -1:] > 0) & batch.brain, noised)
        z_t = torch.where(noised, self.schedule.add_noise(z, noise, t), rest)
        x0, logit = self.denoiser(z_t, t.to(z.device))
        return self.restoration_loss(z, x0, noised) + self.options.mask_weight * self.mask_loss(
            logit, noised
        )

    def restoration_loss(self, z: Latents, x0: Latents, noised: Cells) -> PerItem:
        """Mean squared error over all cells, clean and noised alike unless weighted."""
        weight = 1 + (self.options.noised_weight - 1) * noised.to(z)
        return ((z - x0).square() * weight).flatten(1).mean(1)

    def mask_loss(self, logit: Images, noised: Cells) -> PerItem:
        """How badly the mask head tells noised from clean cells, mean over the cells."""
        target = noised.to(logit)
        if self.options.mask_loss == "mse":
            return (target - logit.sigmoid()).square().flatten(1).mean(1)
        loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        return loss.flatten(1).mean(1)

    # Detection

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Walk the latent to a healthy one, decode both, compare."""
        self.check_fitted()
        z = self.scale * self.autoencoder.encode(2 * x - 1)[0]
        walk = self.heal(z, rng=rng)
        reference, healthy = self.decode_pair(z, walk)
        shown = (2 * x - 1, reference, healthy)
        anomaly = self.options.map(shown, z, walk, pixel_mm=self.pixel_mm) * brain
        return Detection(anomaly=anomaly, healthy=((healthy + 1) / 2).clamp(0, 1) * brain)

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each step of the walk."""
        return len(self.indices)

    @property
    def indices(self) -> tuple[int, ...]:
        """Step indices of the walk, falling."""
        return self.options.walk or tuple(reversed(range(self.options.steps)))

    def heal(self, z: Latents, *, rng: Rng) -> MaskedWalk:
        """The masked DDIM steps from the latent of an image to that of its healthy counterpart."""
        return masked_ddim(
            self.denoiser,
            z,
            schedule=self.schedule,
            indices=self.indices,
            eta=self.options.eta,
            rng=rng,
        )

    def decode_pair(self, z: Latents, walk: MaskedWalk) -> tuple[Images, Images]:
        """Reconstruction of the input and healthy image; decoded again only where cells changed."""
        reference = self.autoencoder.decode(z / self.scale)
        healthy = reference.clone()
        changed = walk.flagged.flatten(1).any(1)
        if changed.any():
            healthy[changed] = self.autoencoder.decode(walk.final[changed] / self.scale)
        return reference, healthy
