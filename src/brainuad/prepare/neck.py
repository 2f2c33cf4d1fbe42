"""Neck that was taken for brain: found by where it lies below the brain of a template."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

from brainuad.prepare.grid import NewVolume
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import box, resample
from brainuad.prepare.template import MNI152, template, template_brain
from brainuad.scan import Scan
from brainuad.types import Affine, Mask

AROUND_MM = 60.0
GRID_MM = 3.0


def neck(scan: Scan, *, name: str = MNI152, farther_mm: float = 5.0) -> Mask:
    """Voxels of the brain mask that lie below the template's brain and away from it.

    Below is the lowest third of its height; elsewhere a brain of another shape may stick out.

    Args:
        scan: its affine leads to the millimetres of the template.
        name: of the template.
        farther_mm: distance from the template's brain beyond which nothing is brain.
    """
    brain = known_brain(scan)
    away, affine, below = _away(name)
    height = scan.affine[2, :3] @ np.indices(brain.shape).reshape(3, -1) + scan.affine[2, 3]
    low = brain & (height.reshape(brain.shape) < below)
    if not low.any():
        return low
    # Beyond the grid of distances all is far.
    distance = away.max() - resample(away.max() - away, affine, brain.shape, scan.affine, where=low)
    return low & (distance > farther_mm)


@lru_cache(maxsize=2)
def _away(name: str) -> tuple[NewVolume, Affine, float]:
    """Distance to the brain of a template in mm on a coarse grid; top of its lowest third."""
    whole = template(name)
    low, high = (whole.affine[:3, :3] @ at + whole.affine[:3, 3] for at in box(known_brain(whole)))
    low, high = np.minimum(low, high), np.maximum(low, high)
    affine = np.diag([GRID_MM] * 3 + [1.0])
    affine[:3, 3] = low - AROUND_MM
    i, j, k = np.ceil((high - low + 2 * AROUND_MM) / GRID_MM).astype(int).tolist()
    outside = ~template_brain((i, j, k), affine, name=name)
    away = np.asarray(ndimage.distance_transform_edt(outside, sampling=GRID_MM), np.float32)
    return away, affine, float(low[2] + (high[2] - low[2]) / 3)
