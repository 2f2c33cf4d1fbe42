"""The brain in a CT: soft tissue that the skull shuts in, by thresholds and morphology."""

import numpy as np
from scipy import ndimage

from brainuad.scan import Scan
from brainuad.types import Mask

BONE_HU = 150.0
SOFT_HU = (-20.0, 110.0)
"""Brain, cerebrospinal fluid and fresh blood."""
GAP_MM = 6.0
"""Holes in the skull narrower than this are closed."""
NECK_MM = 5.0
"""Soft tissue that hangs together over a bridge thinner than this is not one piece."""


def from_ct(scan: Scan) -> Mask:
    """The largest piece of soft tissue inside the skull, holes filled; empty where there is none.

    Wide openings (the foramen magnum, a craniotomy) let neck or scalp in; the neck is cut off
    where the way is thinner than 5 mm.
    """
    inside = _shut_in(_closed(scan.voxels > BONE_HU, scan))
    soft = (scan.voxels > SOFT_HU[0]) & (scan.voxels < SOFT_HU[1]) & inside
    core = _largest(_distance(soft, scan) > NECK_MM / 2)
    grown = (_distance(~core, scan) <= NECK_MM / 2 + max(scan.spacing)) & soft
    filled = ndimage.binary_fill_holes(_largest(grown))
    return np.asarray(filled, dtype=bool)


def _closed(bone: Mask, scan: Scan) -> Mask:
    """The skull with its gaps closed; the border of the grid does not wear it away."""
    steps = max(1, round(GAP_MM / 2 / min(scan.spacing)))
    wide = ndimage.binary_dilation(np.pad(bone, steps), iterations=steps)
    return ndimage.binary_erosion(wide, iterations=steps)[(slice(steps, -steps),) * 3]


def _shut_in(bone: Mask) -> Mask:
    """What is not bone and has bone on both sides in at least two axial directions."""
    sides = []
    for axis in (0, 1):
        before = np.maximum.accumulate(bone, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis)
        sides.append(before & after)
    return sides[0] & sides[1] & ~bone


def _distance(mask: Mask, scan: Scan) -> np.ndarray:
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=scan.spacing))


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)  # type: ignore[misc]
    if not count:
        return mask
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1
