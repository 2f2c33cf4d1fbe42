"""The first stage of a method on the codes of a VQ-VAE: train it, freeze it, encode the images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.augment import Augment
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.latents import LARGEST_CACHED, LatentCache, copied, deviation_of, warn_unused
from brainuad.method import Batch, Batches, Minimise
from brainuad.noise import brain_share
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.vq import VqAutoencoder, VqOptions, perplexity
from brainuad.vq_training import reconstruct


def check_codes(who: str, options: VqOptions) -> None:
    """Refuse an autoencoder for volumes, and a codebook too large for the cache."""
    if options.dimensions != 2:
        raise UsageError(
            f"{who}: autoencoder of {options.dimensions} dimensions; slices have 2, leave it out"
        )
    if options.sizes.codes > LARGEST_CACHED:
        raise UsageError(f"{who}: {options.sizes.codes} codes; use at most {LARGEST_CACHED}")


@dataclass(frozen=True, kw_only=True, eq=False)
class VqStage:
    """How a VQ-VAE is trained and used by the stage after it."""

    autoencoder: VqAutoencoder
    """The VQ-VAE."""
    critic: CriticOptions | None = None
    """A critic that makes its images sharp; None: none."""
    augment: Augment | None = None
    """Random changes of the training images."""
    copies: int = 1
    """Augmented copies of each image in the cache; the first is the image itself."""

    def fit(self, batches: Batches, *, minimise: Minimise) -> LatentCache:
        """Train and freeze the autoencoder; the numbers of the codes of the training images."""
        fit_autoencoder(self.autoencoder, self.reconstruct, batches, self.critic, minimise)
        cache = LatentCache(batches, self.encode, copies=self.copies)
        counts = self.counts(cache)
        warn_unused(perplexity(counts), len(counts))
        return cache

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images, their reconstructions, absolute error plus commitment loss."""
        return reconstruct(self.autoencoder, batch, self.augment, rng)

    @torch.no_grad()
    def encode(self, batch: Batch, copy: int) -> tuple[Images, Brain]:
        """Numbers of the codes of training images, and their brains; copy 0 is not augmented."""
        x, brain = copied(batch, copy, self.augment)
        indices = self.autoencoder.indices(x.to(self.codes.device))
        return indices.float(), brain_share(brain, self.autoencoder.factor) >= 0.5

    @property
    def codes(self) -> Tensor:
        """The codebook."""
        return self.autoencoder.quantiser.codes

    def counts(self, cache: LatentCache) -> Tensor:
        """How often each code occurs in the cached images."""
        counts = torch.bincount(cache.x.flatten().long(), minlength=len(self.codes))
        return counts.to(self.codes.device)

    def deviation(self, cache: LatentCache) -> float:
        """Standard deviation of the numbers in the cached latents."""
        return deviation_of(self.codes, self.counts(cache))
