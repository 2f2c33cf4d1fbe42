"""How Behrendt and others (pDDPM, cDDPM) make and judge a map: for comparison with their tables.

The threshold is searched on unhealthy validation scans, so every number at it has used labels.
Published names of counts that hold another count (TP and TN exchanged, the false discovery rate
called FPR) are not repeated here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from skimage.metrics import hausdorff_distance

from brainuad.evaluate.voxel import Oracle, ap_of_counts, auroc_of_counts, exact_counts, overlap
from brainuad.postprocess import drop_small, erode_slices, median
from brainuad.types import Mask, UsageError, Volume

EROSION, MEDIAN, LARGEST_DROPPED = 3, 5, 7
LEVELS = 10


def behrendt_map(image: Volume, healthy: Volume, brain: Mask) -> Volume:
    """Absolute residual inside the brain eroded by 3 pixels in each slice, median of 5^3 voxels."""
    return filter_residual(np.abs(image - healthy), brain)


def filter_residual(residual: Volume, brain: Mask) -> Volume:
    """The same from an absolute residual: erosion first, as in the released code."""
    return median((residual * erode_slices(brain, EROSION)).astype(np.float32), MEDIAN)


def filter_residual_paper(residual: Volume, brain: Mask) -> Volume:
    """The order of the paper's text: median of the whole residual first, then the eroded brain."""
    return median(residual.astype(np.float32), MEDIAN) * erode_slices(brain, EROSION)


def bisection(scores: np.ndarray, lesion: np.ndarray, *, levels: int = LEVELS) -> Oracle:
    """A threshold with a high Dice, searched by halving the range of the scores.

    Each level compares the Dice at the quarter points of the range and goes on in the better half,
    the lower one where they tie; the best seen so far is kept. It takes the Dice to have a single
    maximum: an exhaustive search is never worse.

    Args:
        scores: finite, >= 0; marked where strictly above the threshold.
        lesion: True for lesion voxels, same shape.
        levels: halvings.

    Raises:
        UsageError: no scores, or of another shape than the lesion.
    """
    if not scores.size or scores.shape != lesion.shape:
        raise UsageError(
            f"threshold search: scores of shape {scores.shape}, lesion of {lesion.shape}; give "
            "one label per score"
        )
    low, high = 0.0, float(scores.max()) or 1.0
    best = Oracle(dice=0.0, threshold=0.0)
    for _ in range(levels):
        quarter = (high - low) / 4
        points = (low + quarter, high - quarter)
        dice = [_dice(scores > point, lesion) for point in points]
        upper = dice[1] > dice[0]
        if dice[upper] >= best.dice:
            best = Oracle(dice=dice[upper], threshold=points[upper])
        middle = (low + high) / 2
        low, high = (middle, high) if upper else (low, middle)
    return best


@dataclass(frozen=True, kw_only=True)
class BehrendtScan:
    """What is published about one scan."""

    dice: float
    """At the threshold, without components of up to 7 voxels."""
    best: Oracle
    """Searched on this scan's own label: an upper bound, not a result."""
    auprc: float
    """Over all voxels, those outside the brain included."""
    auroc: float
    """Over all voxels."""
    hausdorff_voxels: float
    """Largest distance between mask and lesion; infinite when one of them is empty."""
    score: float
    """Mean of the map in the brain that is not eroded."""
    l1: float
    """Mean absolute residual over all voxels, before erosion and median."""
    l1_lesion: float
    """The same in the lesion; NaN without one."""
    l1_healthy: float
    """The same elsewhere."""
    l2: float
    """Mean squared residual over all voxels."""


def behrendt_threshold(maps: Iterable[tuple[Volume, Mask]]) -> Oracle:
    """The threshold of a validation set: searched on the voxels of all its scans together."""
    pairs = [(anomaly.ravel(), lesion.ravel()) for anomaly, lesion in maps]
    scores, lesion = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return bisection(scores, lesion)


def behrendt_scan(
    image: Volume, healthy: Volume, brain: Mask, lesion: Mask, *, threshold: float
) -> BehrendtScan:
    """Judge one scan at a threshold; all arrays on the 2 mm grid of the published evaluation."""
    anomaly = behrendt_map(image, healthy, brain)
    counts = exact_counts(anomaly, lesion)
    residual = np.abs(image - healthy).astype(np.float64)
    mask = drop_small(anomaly > threshold, LARGEST_DROPPED, fill_holes=True)
    return BehrendtScan(
        dice=_dice(mask, lesion),
        best=bisection(anomaly, lesion),
        auprc=float(ap_of_counts(counts.lesion, counts.other)),
        auroc=float(auroc_of_counts(counts.lesion, counts.other)),
        hausdorff_voxels=float(hausdorff_distance(mask, lesion) or 0),
        score=float(anomaly[brain].mean(dtype=np.float64)),
        l1=float(residual.mean()),
        l1_lesion=float(residual[lesion].mean()) if lesion.any() else float("nan"),
        l1_healthy=float(residual[~lesion].mean()),
        l2=float(np.square(residual).mean()),
    )


def _dice(mask: np.ndarray, lesion: np.ndarray) -> float:
    """Dice of two masks; 0 when both are empty, as published."""
    return float(np.nan_to_num(overlap(mask, lesion).dice))
