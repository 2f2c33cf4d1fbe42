"""One random stream per image, so that batch size, shards and resume change no result.

A stream is named by the run's seed and by words (subject, slice, step, purpose); its bits depend
on these alone. Numbers are drawn on the CPU and then moved, so every device sees the same ones.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from brainuad.types import Images, PerItem


def seed_of(seed: int, *words: object) -> int:
    """63-bit seed that depends on every word; equal words give equal seeds on every machine."""
    text = "\x1f".join([str(seed), *map(str, words)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def scan_of(key: str) -> str:
    """Name of the scan that the image called ``key`` is part of: what stands before the last /."""
    return key.rpartition("/")[0] or key


class Rng:
    """Independent random streams, one per image of a batch.

    Args:
        seeds: one seed per image, as made by :func:`seed_of`.
        scans: one seed per image, the same for all slices of a scan; those of the images if left
            out.
    """

    def __init__(self, seeds: Sequence[int], scans: Sequence[int] | None = None):
        self.seeds = tuple(seeds)
        self.scans = self.seeds if scans is None else tuple(scans)
        self.generators = [torch.Generator().manual_seed(s) for s in self.seeds]

    @classmethod
    def named(cls, seed: int, keys: Sequence[str], *words: object) -> "Rng":
        """Streams for the images called ``keys`` in the run with this ``seed``.

        ``words`` tell apart several uses of one image (a training step, an ensemble member).
        """
        scans = [seed_of(seed, "scan", scan_of(key), *words) for key in keys]
        return cls([seed_of(seed, key, *words) for key in keys], scans)

    def __len__(self) -> int:
        return len(self.seeds)

    def fork(self, *words: object) -> "Rng":
        """Fresh streams that depend on these seeds and ``words``, not on what was drawn so far."""
        seeds, scans = ([seed_of(s, *words) for s in all_] for all_ in (self.seeds, self.scans))
        return Rng(seeds, scans)

    def of_scans(self) -> "Rng":
        """Fresh streams that are alike for all slices of a scan, whatever batch they are in."""
        return Rng(self.scans)

    def normal(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Standard normal numbers, ``shape`` of them for each image."""
        return torch.stack([torch.randn(shape, generator=g) for g in self.generators])

    def normal_like(self, x: Images) -> Images:
        """Standard normal noise in the shape, precision and place of ``x``."""
        return self.normal(*x.shape[1:]).to(x)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> PerItem:
        """One number per image, uniform in [low, high)."""
        return low + (high - low) * self.uniforms(1)[:, 0]

    def uniforms(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Numbers uniform in [0, 1), ``shape`` of them for each image."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.generators])

    def integers(self, low: int, high: int) -> Int[Tensor, " batch"]:
        """One integer per image, uniform in low .. high - 1."""
        return torch.cat([torch.randint(low, high, (1,), generator=g) for g in self.generators])
