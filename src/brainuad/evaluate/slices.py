"""MAD-AD's slice metrics: Dice per slice, averaged over slices, best of 201 thresholds.

The threshold is chosen on the test labels, and an empty slice with an empty prediction counts as
Dice 1, so predicting nothing already earns the share of empty slices. For comparison only.
"""

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0.0, 1.0, 201)
"""Fixed thresholds for maps in [0, 1]."""


class SliceDice(NamedTuple):
    """Dice per threshold, summed over slices, and how many slices; sums of scans add up."""

    total: np.ndarray
    slices: int


def slice_dice(maps: np.ndarray, lesion: np.ndarray) -> SliceDice:
    """Dice of every slice at each of :data:`THRESHOLDS`, summed over the slices.

    Args:
        maps: (slice, row, column), >= 0; a voxel is marked when strictly above the threshold,
            and always when it is >= 1 (the published code does that at threshold 1).
        lesion: boolean, same shape.

    Returns:
        Sums of 2 |P and G| / (|P| + |G| + 1e-6); a lesion-free slice counts 1 when nothing is
        marked, else 0.
    """
    marked = _voxels_above(maps, np.ones_like(lesion))
    hits = _voxels_above(maps, lesion)
    true = lesion.reshape(len(lesion), -1).sum(1)[:, None]
    dice = np.where(true > 0, 2 * hits / (marked + true + 1e-6), marked == 0)
    return SliceDice(dice.sum(0), len(maps))


def mean_dice_per_threshold(maps: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Mean Dice over slices at each of the 201 thresholds; arguments as in slice_dice."""
    total, slices = slice_dice(maps, lesion)
    return total / slices


def max_dice(maps: np.ndarray, lesion: np.ndarray) -> tuple[float, float]:
    """Oracle: the largest mean Dice over slices, and the lowest threshold that reaches it."""
    means = mean_dice_per_threshold(maps, lesion)
    best = int(np.argmax(means))
    return float(means[best]), float(THRESHOLDS[best])


def _voxels_above(maps: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Chosen voxels per slice that are marked at each threshold: (slice, threshold)."""
    count = len(THRESHOLDS)
    where = np.nonzero(chosen)
    values = maps[where].astype(np.float64)
    passed = np.searchsorted(THRESHOLDS, values, side="left")  # thresholds strictly below
    passed = np.where(values >= 1, count, passed)
    cells = where[0] * (count + 1) + passed
    table = np.bincount(cells, minlength=len(maps) * (count + 1)).reshape(len(maps), count + 1)
    return np.cumsum(table[:, ::-1], axis=1)[:, ::-1][:, 1:]
