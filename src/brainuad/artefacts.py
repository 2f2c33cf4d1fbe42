"""Blur and ghosts of a scanner, made where a scanner makes them: in the spectrum of the image."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from brainuad.rng import Rng
from brainuad.types import Images, PerItem

Spectra = Any
"""Complex spectra of images, low frequencies in the corner; their last axis is halved."""
SPARED = 0.02
"""Share of the lines, those of lowest frequency, that ghosts leave alone."""


def blurred(x: Images, sigma: PerItem) -> Images:
    """Each image under a Gaussian of its own standard deviation in pixels; cyclic borders."""
    spectrum = torch.fft.rfftn(x, dim=axes_of(x))
    squared = sum(f.square() for f in frequencies(x))
    scale = -2 * (math.pi * sigma.to(x)).square()
    return back(spectrum * torch.exp(as_column(scale, x) * squared), x)


def ghosted(x: Images, strength: PerItem, *, ghosts: tuple[int, int], rng: Rng) -> Images:
    """Images with faint copies of themselves along one random axis.

    Every n-th line of the spectrum is weakened, which repeats the image n times; the lines of
    lowest frequency are spared (as in TorchIO, Perez-Garcia et al. 2021, arXiv 2003.04696).

    Args:
        x: images.
        strength: how much of a line is lost, in [0, 1]; 0 leaves an image as it is.
        ghosts: least and largest n.
        rng: one stream per image, for the axis and for n.
    """
    axis = rng.fork("axis").integers(0, x.ndim - 2)
    count = rng.fork("count").integers(ghosts[0], ghosts[1] + 1)
    spectrum = torch.fft.fftn(x, dim=axes_of(x))
    kept = torch.stack(
        [
            line_weights(x.shape[2:], int(a), int(n), float(s))
            for a, n, s in zip(axis, count, strength, strict=True)
        ]
    )
    return torch.fft.ifftn(spectrum * kept[:, None].to(x), dim=axes_of(x)).real


def line_weights(
    space: torch.Size, axis: int, count: int, strength: float
) -> Float[Tensor, "*space"]:
    """What is left of each frequency when every ``count``-th line along an axis is weakened."""
    size = space[axis]
    lines = torch.arange(size)
    distance = torch.minimum(lines, size - lines)
    hit = (lines % count == 0) & (distance > SPARED * size / 2)
    shape = [size if a == axis else 1 for a in range(len(space))]
    return (1 - strength * hit.float()).reshape(shape).expand(space)


def axes_of(x: Images) -> tuple[int, ...]:
    """The space axes of images."""
    return tuple(range(2, x.ndim))


def frequencies(x: Images) -> list[Tensor]:
    """Cycles per pixel along each axis, shaped to multiply half spectra."""
    sizes = x.shape[2:]
    last = len(sizes) - 1
    found = []
    for axis, size in enumerate(sizes):
        f = torch.fft.rfftfreq(size) if axis == last else torch.fft.fftfreq(size)
        found.append(f.to(x).reshape([-1 if a == axis else 1 for a in range(len(sizes))]))
    return found


def back(spectrum: Spectra, x: Images) -> Images:
    """Images of half spectra, in the size of ``x``."""
    return torch.fft.irfftn(spectrum, s=list(x.shape[2:]), dim=axes_of(x))


def as_column(numbers: PerItem, x: Images) -> Tensor:
    """One number per image, shaped to multiply images."""
    return numbers.reshape(-1, *[1] * (x.ndim - 1))
