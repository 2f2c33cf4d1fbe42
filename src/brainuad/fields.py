"""Smooth random fields, blurs and dilations of volumes whose voxels have a size."""

from typing import TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur

Field: TypeAlias = Float[Tensor, "i j k"]
"""One number for each voxel."""
Inside: TypeAlias = Bool[Tensor, "i j k"]
"""A set of voxels."""
Spacing: TypeAlias = tuple[float, float, float]
"""Edge lengths of a voxel in mm."""


def smooth_field(shape: tuple[int, ...], cell: tuple[float, ...], rng: Rng) -> Field:
    """Smooth noise with nodes ``cell`` voxels apart; mean 0, standard deviation 1."""
    nodes = [max(3, round(n / c) + 2) for n, c in zip(shape, cell, strict=True)]
    noise = blurred(rng.normal(*nodes)[0], (0.8, 0.8, 0.8))
    noise = (noise - noise.mean()) / noise.std().clamp(min=1e-6)
    return F.interpolate(noise[None, None], size=tuple(shape), mode="trilinear")[0, 0]


def blurred(x: Field, sd: tuple[float, ...]) -> Field:
    """Gaussian blur along each axis; standard deviations in voxels, borders mirrored."""
    return gaussian_blur(x[None, None], sd)[0, 0].contiguous()


def hazy(x: Field, sd_mm: float, spacing: Spacing) -> Field:
    """A wide Gaussian blur, made on every other voxel because it is as good there."""
    half = F.avg_pool3d(x[None, None], 2, ceil_mode=True)[0, 0]
    half = blurred(half, tuple(sd_mm / (2 * s) for s in spacing))
    return F.interpolate(half[None, None], size=tuple(x.shape), mode="trilinear")[0, 0]


def grown(mask: Inside, by_mm: float, spacing: Spacing) -> Inside:
    """The mask, wider by about so many mm."""
    x = mask.float()[None, None]
    for axis, edge in enumerate(spacing):
        reach = round(by_mm / edge)
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * reach + 1, reach
        x = F.max_pool3d(x, size, stride=1, padding=pad)
    return x[0, 0] > 0
