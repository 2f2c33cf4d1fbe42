"""Latents of the training images, encoded once: encoding costs more than a training step."""

import logging
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from brainuad.augment import Augment, augment
from brainuad.method import Batch, Batches
from brainuad.rng import scan_of, seed_of
from brainuad.types import Brain, Images

Encode = Callable[[Batch, int], tuple[Images, Brain]]
"""(batch, number of the copy) -> (mean and log-variance as channels, cells inside the brain)."""
LARGEST_CACHED = 2048
"""Codes are cached by number at half precision, which is exact up to here."""
LEAST_USED = 0.5
"""Share of a codebook that its perplexity should reach before a denoiser learns from it."""


class LatentCache(Batches):
    """Posterior means and log-variances of all training images, in memory at half precision.

    Args:
        batches: the images.
        encode: makes the latents of a batch; told which copy, so that copies can be augmented.
        copies: how many latents each image gets.
        size: images encoded at once.
    """

    def __init__(self, batches: Batches, encode: Encode, *, copies: int = 1, size: int = 32):
        self.keys: list[str] = []
        latents, cells = [], []
        for copy in range(copies):
            for batch in batches.in_order(size):
                x, brain = encode(batch, copy)
                latents.append(x.half().cpu())
                cells.append(brain.cpu())
                self.keys += [f"{key}/copy-{copy}" for key in batch.keys]
        self.x, self.cells = torch.cat(latents), torch.cat(cells)

    def deviation(self, channels: int | None = None) -> float:
        """Standard deviation of a posterior sample over all cells and channels.

        Args:
            channels: of a latent, where more than its mean and log-variance was kept.
        """
        moments = self.x if channels is None else self.x[:, : 2 * channels]
        mean, logvar = moments.float().chunk(2, dim=1)
        return float((mean.var() + logvar.exp().mean()).sqrt())

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, indices: Sequence[int]) -> Batch:
        """Latents with these numbers; ``x`` holds mean and log-variance, ``brain`` the cells."""
        rows = torch.as_tensor(list(indices))
        keys = tuple(self.keys[i] for i in indices)
        return Batch(x=self.x[rows].float(), brain=self.cells[rows], keys=keys)


class Part(Batches):
    """Some of the images of others."""

    def __init__(self, batches: Batches, numbers: Sequence[int]):
        self.batches, self.numbers = batches, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def get(self, indices: Sequence[int]) -> Batch:
        """The images with these numbers among the chosen ones."""
        return self.batches.get([self.numbers[i] for i in indices])


def split(batches: Batches, held_out: float) -> tuple[Batches, Batches]:
    """Images to learn from, and those of scans that are held out; twice all where none are.

    Whole scans are held out, since slices of one scan resemble each other; which ones hangs on
    their names alone, so that no site is left out because its names come last.

    Args:
        batches: all images.
        held_out: share of the images, at least; of a single scan nothing is held out.
    """
    scans: dict[str, list[int]] = {}
    for number, key in enumerate(batches.all_keys()):
        scans.setdefault(scan_of(key), []).append(number)
    wanted, chosen = round(held_out * len(batches)), set[int]()
    for scan in sorted(scans, key=lambda name: seed_of(0, "held out", name))[:-1]:
        if len(chosen) < wanted:
            chosen.update(scans[scan])
    if not chosen:
        return batches, batches
    rest = [number for number in range(len(batches)) if number not in chosen]
    return Part(batches, rest), Part(batches, sorted(chosen))


def deviation_of(codes: Float[Tensor, "codes latent"], counts: Int[Tensor, " codes"]) -> float:
    """Standard deviation of the numbers in vectors that occur ``counts`` times, at least 1e-6."""
    share = (counts / counts.sum())[:, None] / codes.shape[1]
    mean = (share * codes).sum()
    return max(1e-6, float((share * (codes - mean).square()).sum().sqrt()))


def copied(batch: Batch, copy: int, how: Augment | None) -> tuple[Images, Brain]:
    """Training images and their brains as a copy of the cache has them; copy 0 is unchanged."""
    own = batch.rng(0, "latents", copy)
    return augment(batch.x, batch.brain, how if copy else None, rng=own)


def use_of(perplexity: float, codes: int) -> tuple[str, ...]:
    """A sentence on how much of a codebook the healthy images use; none without a codebook."""
    used = f"Perplexity of its codebook on healthy images: {perplexity:.0f} of at most {codes}."
    return (used,) if codes else ()


def limit_of(threshold: Tensor, percentile: float, error: Tensor) -> tuple[str, ...]:
    """Sentences on the threshold of a score, and on the autoencoder of the scored latents."""
    means = " (a mean over places)" if threshold.ndim else ""
    return (
        f"Its autoencoder gives healthy images back to {float(error):.4f} (mean absolute error).",
        f"What scores above {float(threshold.mean()):.3g}{means} is sampled anew: percentile "
        f"{percentile:g} of healthy brain.",
    )


def warn_unused(perplexity: float, codes: int) -> None:
    """Say so when a denoiser is about to learn from a codebook that is mostly unused."""
    if perplexity < LEAST_USED * codes:
        logging.getLogger(__name__).warning(
            "codebook of %d codes: perplexity %.0f, less than %g of them; train the autoencoder "
            "longer or use fewer codes",
            codes,
            perplexity,
            LEAST_USED,
        )
