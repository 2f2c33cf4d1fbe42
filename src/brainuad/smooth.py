"""Gaussian smoothing of images and maps, the same in 2-D and 3-D."""

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


def gaussian_blur(x: Images, sigma: float) -> Images:
    """Gaussian mean along every spatial axis, mirrored at the borders; ``sigma`` in pixels."""
    if sigma <= 0:
        return x
    kernel = gaussian_kernel(sigma).to(x)
    radius = len(kernel) // 2
    for axis in range(2, x.ndim):
        index = mirrored(x.shape[axis], radius).to(x.device)
        windows = x.index_select(axis, index).unfold(axis, len(kernel), 1)
        x = windows @ kernel
    return x
