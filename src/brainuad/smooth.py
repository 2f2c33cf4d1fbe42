"""Gaussian smoothing of images and maps, the same in 2-D and 3-D."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brainuad.types import Images

TRUNCATE = 4.0


def gaussian_kernel(sigma: float) -> Tensor:
    """Weights at -radius .. radius that sum to 1; cut at 4 sigma as SciPy does."""
    radius = int(TRUNCATE * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weight / weight.sum()


def mirrored(size: int, radius: int) -> Tensor:
    """Indices -radius .. size + radius - 1 folded at the edges, edge included (c b a|a b c)."""
    index = torch.arange(-radius, size + radius) % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


def gaussian_blur(x: Images, sigma: float | int | Sequence[float]) -> Images:
    """Gaussian mean along the space axes, mirrored at the borders.

    Args:
        x: images.
        sigma: standard deviation in pixels, or one for each space axis; 0 leaves an axis alone.
    """
    each = [sigma] * (x.ndim - 2) if isinstance(sigma, int | float) else sigma
    for axis, width in enumerate(each, start=2):
        if width <= 0:
            continue
        kernel = gaussian_kernel(width).to(x)
        radius = len(kernel) // 2
        index = mirrored(x.shape[axis], radius).to(x.device)
        windows = x.index_select(axis, index).unfold(axis, len(kernel), 1)
        x = windows @ kernel
    return x
