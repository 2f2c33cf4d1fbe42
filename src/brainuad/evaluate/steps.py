"""Steps that published evaluations take before the threshold: slices, foreground, scaling."""

import numpy as np
from scipy import ndimage

from brainuad.evaluate.case import Case
from brainuad.types import DataError, Mask

FOREGROUND, FOREGROUND_SHARE = 5, 0.95


def min_max(scores: np.ndarray) -> np.ndarray:
    """Scores scaled to [0, 1] by their own minimum and maximum; 0 where all are equal."""
    low, high = float(scores.min()), float(scores.max())
    if high == low:
        return np.zeros(scores.shape)
    return (scores.astype(np.float64) - low) / (high - low)


def inner_foreground(region: Mask) -> Mask:
    """Voxels whose 5 x 5 axial neighbourhood lies to more than 95 % in the region.

    Beyond the edge of the slice is outside.
    """
    shape = (FOREGROUND, FOREGROUND, 1)
    size = FOREGROUND * FOREGROUND
    count = ndimage.convolve(
        region.astype(np.int64), np.ones(shape, np.int64), mode="constant", cval=0
    )
    return count > FOREGROUND_SHARE * size


def content(region: Mask) -> slice:
    """Axial slices from the first to the last one that holds a voxel of the region."""
    used = np.flatnonzero(region.any((0, 1)))
    return slice(int(used[0]), int(used[-1]) + 1)


def axial_range(case: Case, first: int, stop: int, *, protocol: str, grid: str) -> slice:
    """Axial slices ``first`` to ``stop - 1``; a case of a single slice is taken as it is.

    Raises:
        DataError: the case has fewer slices.
    """
    depth = case.anomaly.shape[2]
    if depth == 1:
        return slice(0, 1)
    if depth < stop:
        wanted = f"{first} to {stop - 1}" if stop - first > 1 else f"{first}"
        raise DataError(
            f"{case.subject}: has {depth} axial slices, but protocol {protocol} takes number "
            f"{wanted} of {grid}; put map and mask on that grid, or give one slice a scan"
        )
    return slice(first, stop)


def largest_lesion_slice(lesion: Mask) -> int:
    """Number of the axial slice with most lesion voxels, the lowest one among equals."""
    return int(np.argmax(lesion.sum((0, 1))))
