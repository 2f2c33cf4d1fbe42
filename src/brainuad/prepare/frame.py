"""The grid of Behrendt et al.: a fixed frame around the middle of a scan, then every second voxel.

Kept apart from :mod:`brainuad.prepare.resample`, which smooths before it leaves voxels out and
measures around the brain; results of the published experiments need the grid as it was.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from brainuad.prepare.grid import NewMask, NewVolume
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import box
from brainuad.prepare.work import Work
from brainuad.types import Affine, Mask, UsageError, Volume

FIRST = 0.5
"""Voxel index of the first sample of :class:`Halve`: the middle between two voxels."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Cut and pad the grid about its middle to a fixed number of voxels; values do not change."""

    shape: tuple[int, int, int] = (192, 192, 100)
    """Voxels along i, j, k."""
    around: Literal["grid", "brain"] = "grid"
    """What has its middle in the middle of the frame: the grid, or the box around the brain, as
    when black borders were cut off before."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise UsageError(f"frame: shape {self.shape} must be above 0; correct it")

    def __call__(self, work: Work) -> Work:
        """The work with its scan in the frame."""
        scan = work.scan
        low, have = np.zeros(3, int), np.array(scan.voxels.shape)
        if self.around == "brain":
            low, end = box(known_brain(scan))
            have = end - low
        sizes = zip(low.tolist(), have.tolist(), self.shape, strict=True)
        first = [start + _first(size, want) for start, size, want in sizes]
        brain = None if scan.brain is None else _framed(scan.brain, first, self.shape)
        return work.with_scan(
            voxels=_framed(scan.voxels, first, self.shape),
            brain=brain,
            affine=_moved(scan.affine, 1.0, first),
            source=None,
        )


@dataclass(frozen=True, kw_only=True)
class Halve:
    """Half as many voxels along each axis: a cubic spline between them, with nothing smoothed.

    A spline overshoots, so values may leave [0, 1] a little, as they did in the published
    experiments. The brain mask takes the voxel behind each sample.
    """

    def __call__(self, work: Work) -> Work:
        """The work with its scan on every second voxel, 0 outside the brain."""
        scan = work.scan
        brain = halved_labels(known_brain(scan))
        return work.with_scan(
            voxels=np.where(brain, halved(scan.voxels), 0).astype(np.float32),
            brain=brain,
            affine=_moved(scan.affine, 2.0, [FIRST] * 3),
            source=None,
        )


def halved(volume: Volume) -> NewVolume:
    """Cubic spline at index 0.5, 2.5, 4.5 and so on along each axis; mirrored at the border."""
    points = np.meshgrid(*(FIRST + 2 * np.arange(n // 2) for n in volume.shape), indexing="ij")
    return ndimage.map_coordinates(volume, points, order=3, mode="mirror")


def halved_labels(mask: Mask) -> NewMask:
    """Every second voxel, from index 1: of the two beside each sample the one that is taken."""
    return mask[1::2, 1::2, 1::2]


def _first(have: int, want: int) -> int:
    """Index of the first voxel that is kept; of an odd difference the larger half lies before."""
    missing = want - have
    return -((missing + 1) // 2) if missing > 0 else (-missing + 1) // 2


def _framed(volume: np.ndarray, first: list[int], shape: tuple[int, ...]) -> np.ndarray:
    pads = [
        (max(0, -a), max(0, a + n - have))
        for a, n, have in zip(first, shape, volume.shape, strict=True)
    ]
    whole = np.pad(volume, pads)
    starts = [max(0, a) for a in first]
    return whole[tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))]


def _moved(affine: Affine, zoom: float, first: list[int] | list[float]) -> Affine:
    step = np.diag([zoom, zoom, zoom, 1.0])
    step[:3, 3] = first
    return affine @ step
