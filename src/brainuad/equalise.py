"""Histogram equalisation inside the brain: a scan's grey values become its own ranks."""

import torch

from brainuad.types import Brain, Images

BINS = 256


def equalise(x: Images, brain: Brain) -> Images:
    """Share of the brain that is not brighter than each voxel, in (0, 1]; 0 outside the brain.

    Each image and channel has its own histogram of 256 equal bins over [0, 1], as in Meissen,
    Kaissis and Rueckert 2021 (arXiv 2109.06023). Values outside [0, 1] fall into the end bins.
    An image without brain comes back as zeros.
    """
    level = (x.clamp(0, 1) * (BINS - 1)).round().long()
    inside = brain.expand_as(x)
    out = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            here = inside[n, c]
            counts = torch.bincount(level[n, c][here], minlength=BINS)
            share = counts.cumsum(0).to(x.dtype) / counts.sum().clamp(min=1)
            out[n, c][here] = share[level[n, c][here]]
    return out
