"""Histogram equalisation inside the brain: a scan's grey values become its own ranks."""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from brainuad.types import Brain, Images

BINS = 256
Table: TypeAlias = Float[Tensor, "256"]
"""Share of a brain that is not brighter than each of 256 levels."""


def equalise(x: Images, brain: Brain) -> Images:
    """Share of the brain that is not brighter than each voxel, in (0, 1]; 0 outside the brain.

    Each image and channel has its own histogram of 256 equal bins over [0, 1], as in Meissen,
    Kaissis and Rueckert 2021 (arXiv 2109.06023). Values outside [0, 1] fall into the end bins.
    An image without brain comes back as zeros.
    """
    inside = brain.expand_as(x)
    out = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            here = inside[n, c]
            out[n, c][here] = ranked(x[n, c][here], rank_table(x[n, c], here))
    return out


def rank_table(x: Float[Tensor, "*space"], inside: Bool[Tensor, "*space"]) -> Table:
    """Share of the voxels inside that are not brighter than each of 256 levels of [0, 1]."""
    counts = torch.bincount(_level(x[inside]), minlength=BINS)
    return counts.cumsum(0).to(x.dtype) / counts.sum().clamp(min=1)


def ranked(x: Float[Tensor, "*space"], table: Table) -> Float[Tensor, "*space"]:
    """The share that a table gives for each voxel's level."""
    return table[_level(x)]


def _level(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * (BINS - 1)).round().long()
