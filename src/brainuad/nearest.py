"""The healthy images most like an image, and how they vary where it shows brain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from brainuad.types import Brain, Images

LINEAR = {4: "bilinear", 5: "trilinear"}
"""Interpolation by the number of axes of a batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Around:
    """What healthy images show at each place.

    Attributes:
        mean: over the images whose brain covers the place; 0 where none does.
        covariance: of their channels (channels, channels, *space), divisor n - 1.
        count: how many they are.
    """

    mean: Tensor
    covariance: Tensor
    count: Tensor

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each channel."""
        return self.covariance.diagonal(dim1=0, dim2=1).movedim(-1, 0).sqrt()


def box_of(brain: Tensor) -> tuple[slice, ...]:
    """The smallest box around a brain (channel, *space); the whole image where there is none."""
    where = brain[0].nonzero()
    if not len(where):
        return tuple(slice(0, n) for n in brain.shape[1:])
    low, high = where.min(0).values.tolist(), where.max(0).values.tolist()
    return tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))


def stretched(x: Images, brain: Brain) -> tuple[Images, Brain]:
    """Images and brains with the box around each brain stretched to the whole image, linearly.

    Heads of other sizes and places then cover each other. Outside the brain is 0.
    """
    images, brains = [], []
    for n in range(len(x)):
        box = (slice(n, n + 1), slice(None), *box_of(brain[n]))
        share = _resized(brain[box].to(x.dtype), x.shape[2:])
        covered = share > 0.5
        values = _resized((x * brain)[box], x.shape[2:])
        # A mean over brain alone, so that the emptiness outside does not darken the rim.
        images.append(torch.where(covered, values / share.clamp(min=0.5), 0))
        brains.append(covered)
    return torch.cat(images), torch.cat(brains)


def returned(x: Images, brain: Tensor) -> Images:
    """One stretched image back in the box around its brain (channel, *space); 0 outside the box."""
    box = box_of(brain)
    size = [s.stop - s.start for s in box]
    out = torch.zeros_like(x)
    out[(slice(None), slice(None), *box)] = _resized(x, size)
    return out


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if list(x.shape[2:]) == list(size):
        return x
    return F.interpolate(x, size=list(size), mode=LINEAR[x.ndim], align_corners=False)


def principal_axes(images: Images, count: int) -> tuple[Tensor, Tensor]:
    """Mean image and the leading principal axes of a set of images.

    Args:
        images: at least two.
        count: axes wanted; no more are made than the images span.

    Returns:
        centre: (pixels,).
        axes: (count, pixels), orthonormal, by falling variance.
    """
    flat = images.flatten(1).cpu().numpy()
    found = PCA(min(count, len(flat) - 1, flat.shape[1]), random_state=0).fit(flat)
    centre, axes = (np.asarray(a, np.float32) for a in (found.mean_, found.components_))
    return torch.from_numpy(centre), torch.from_numpy(axes)


def coordinates(images: Images, centre: Tensor, axes: Tensor) -> Tensor:
    """Where images lie along the axes, (batch, axes); each is worked out on its own."""
    rows = [axes @ (image.flatten() - centre) for image in images]
    return torch.stack(rows)


def closest(place: Tensor, places: Tensor, count: int) -> Tensor:
    """Numbers of the ``count`` places nearest to ``place``, nearest first; the first of equals."""
    distance = (places - place).square().sum(1)
    return distance.argsort(stable=True)[:count]


def around(images: Images, covered: Brain) -> Around:
    """Mean and covariance at each place over the images whose brain covers it."""
    weight = covered.to(images.dtype)
    count = weight.sum(0)
    mean = (images * weight).sum(0) / count.clamp(min=1)
    apart = (images - mean) * weight
    products = torch.einsum("na...,nb...->ab...", apart, apart)
    return Around(mean=mean, covariance=products / (count - 1).clamp(min=1), count=count)
