"""What methods share that work on latents of a KL autoencoder: its stage, its scale, the cache."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from brainuad.augment import Augment, augment
from brainuad.autoencoder import (
    Autoencoder,
    AutoencoderOptions,
    Latents,
    kl_reconstruction,
    posterior_sample,
)
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.latents import LatentCache, copied
from brainuad.layers import Maps
from brainuad.method import Batch, Batches, Method, Minimise
from brainuad.noise import brain_share
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem

Cells = Bool[Tensor, "batch 1 *cells"]
"""Cells of latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentOptions:
    """Options of every method on latents of a KL autoencoder."""

    autoencoder: AutoencoderOptions = field(default_factory=AutoencoderOptions)
    """The autoencoder whose latents the method works on."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-6
    """Weight of the Kullback-Leibler term in the autoencoder's loss."""
    critic: CriticOptions | None = None
    """A critic that makes the autoencoder's images sharp; None: none."""
    latent_scale: Annotated[float, Field(gt=0)] | None = None
    """Factor on latents; None: 1 / standard deviation, measured on the training images."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: Annotated[int, Field(ge=1)] = 1
    """Augmented copies of each image in the latent cache; the first is the image itself."""


class LatentMethod(Method):
    """Base of methods that first train, then freeze, a KL autoencoder."""

    space = "latent"
    scale: Tensor

    def __init__(self, options: Any = None):
        super().__init__(options)
        self.autoencoder = Autoencoder(self.options.autoencoder)
        self.register_buffer("scale", torch.tensor(self.options.latent_scale or 1.0))

    def fit_autoencoder(self, batches: Batches, *, minimise: Minimise) -> LatentCache:
        """Train and freeze the autoencoder; the latents of the training images."""
        fit_autoencoder(self.autoencoder, self.reconstruct, batches, self.options.critic, minimise)
        latents = LatentCache(batches, self.encode, copies=self.options.copies)
        if self.options.latent_scale is None:
            self.scale.fill_(1 / latents.deviation(self.autoencoder.latent_channels))
        return latents

    @torch.no_grad()
    def encode(self, batch: Batch, copy: int) -> tuple[Latents, Cells]:
        """Latents of training images and the cells that count; copy 0 is not augmented."""
        x, brain = copied(batch, copy, self.options.augment)
        return self.kept(x, brain, batch.rng(0, "kept", copy)), self.cells(brain)

    def kept(self, x: Images, brain: Brain, rng: Rng) -> Maps:
        """What the cache keeps of images: mean and log-variance of their latents come first."""
        return torch.cat(self.autoencoder.encode(2 * x.to(self.scale.device) - 1), 1)

    def cells(self, brain: Brain) -> Cells:
        """Latent cells that count: those of at least half brain."""
        return brain_share(brain, self.autoencoder.factor) >= 0.5

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images in [-1, 1], their reconstructions, absolute error plus weighted divergence."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        x = 2 * x - 1
        return x, *kl_reconstruction(self.autoencoder, x, self.options.kl_weight, rng)

    def sampled(self, moments: Maps, rng: Rng) -> Latents:
        """Scaled samples of the posteriors that the cache holds as mean and log-variance."""
        return self.scale * posterior_sample(moments, rng)
