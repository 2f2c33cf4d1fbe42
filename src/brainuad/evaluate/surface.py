"""How far the outline of a mask lies from the outline of a lesion, in mm; distances by MONAI."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from brainuad.evaluate.lesion import Match
from brainuad.types import DataError, Mask

TOLERANCE_MM = 2.0
"""An outline voxel at most this far from the other outline counts as right."""


class Surface(NamedTuple):
    """Outlines of one scan."""

    dice: float
    """Surface Dice of the whole mask against all lesions; 0 where nothing is marked."""
    hd95: tuple[float, ...]
    """95th percentile of the Hausdorff distance in mm, of each matched lesion."""
    unmatched: int
    """Lesions without a matched component: their distance is not defined."""

    @property
    def mean_hd95(self) -> float:
        """Mean over the matched lesions of the scan; NaN where none is matched."""
        return float(np.mean(self.hd95)) if self.hd95 else math.nan


def surface_of(
    matched: Match, spacing: Sequence[float], *, tolerance_mm: float | int = TOLERANCE_MM
) -> Surface:
    """Surface Dice of the scan, and the Hausdorff distances of its matched lesions.

    Args:
        matched: components of a mask and lesions, at least one lesion.
        spacing: edge lengths of a voxel in mm.
        tolerance_mm: of the surface Dice.
    """
    whole = surface_dice(matched.found > 0, matched.true > 0, spacing, tolerance_mm=tolerance_mm)
    return Surface(
        dice=whole,
        hd95=tuple(hausdorff95(*both, spacing) for both in _pairs(matched)),
        unmatched=len(matched.lesions.hit) - len(matched.pairs),
    )


def surface_dice(
    mask: Mask, lesion: Mask, spacing: Sequence[float], *, tolerance_mm: float | int = TOLERANCE_MM
) -> float:
    """Normalised surface Dice (Nikolov et al. 2021, J Med Internet Res 23:e26151).

    Share of the outline voxels of both that lie within the tolerance of the other outline. Outline
    voxels are those with a face neighbour outside.

    Returns:
        0 to 1; 0 where only one of them is empty, NaN where both are.
    """
    if not tolerance_mm >= 0:
        raise DataError(f"surface Dice: tolerance {tolerance_mm} mm; give one of at least 0")
    if not (mask.any() and lesion.any()):
        return 0.0 if mask.any() or lesion.any() else math.nan
    from monai.metrics.surface_dice import compute_surface_dice

    with _quiet():
        found = compute_surface_dice(
            *_cropped(mask, lesion),
            [tolerance_mm],
            include_background=True,
            spacing=[float(s) for s in spacing],
        )
    return float(found)


def hausdorff95(mask: Mask, lesion: Mask, spacing: Sequence[float]) -> float:
    """Larger of the two 95th percentiles of the distances from one outline to the other, in mm.

    Raises:
        DataError: one of them is empty, so that there is no distance.
    """
    if not (mask.any() and lesion.any()):
        raise DataError("hausdorff95: an empty mask has no outline; compare matched lesions only")
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    with _quiet():
        found = compute_hausdorff_distance(
            *_cropped(mask, lesion),
            include_background=True,
            percentile=95,
            spacing=[float(s) for s in spacing],
        )
    return float(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """MONAI 1.6 warns of an argument that it gives to itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="monai.metrics", category=FutureWarning)
        yield


def _pairs(matched: Match) -> Iterator[tuple[Mask, Mask]]:
    """Each matched component with its lesion, in the box that holds both."""
    if not matched.pairs:
        return
    found, true = ndimage.find_objects(matched.found), ndimage.find_objects(matched.true)
    for pair in matched.pairs:
        box = tuple(
            slice(min(one.start, two.start), max(one.stop, two.stop))
            for one, two in zip(found[pair.component - 1], true[pair.lesion - 1], strict=True)
        )
        yield matched.found[box] == pair.component, matched.true[box] == pair.lesion


def _cropped(mask: Mask, lesion: Mask) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as (1, 1, i, j, k) in the box that holds them, with a rim of background."""
    either = mask | lesion
    box = tuple(
        slice(int(places[0]), int(places[-1]) + 1)
        for axis in range(either.ndim)
        for places in [np.flatnonzero(either.any(tuple({0, 1, 2} - {axis})))]
    )
    one, two = (torch.from_numpy(np.pad(m[box], 1)[None, None]) for m in (mask, lesion))
    return one, two
