"""How well a map ranks lesion voxels above the rest, and how well a mask covers them.

All ranking metrics work on counts: for each score (or bin of scores), how many lesion voxels and
how many others have it. Exact counts come from sorting, binned counts from a histogram; the
metrics are the same functions, and counts of several scans add up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from brainuad.histogram import MANTISSA, bin_count, bin_of, upper_edge
from brainuad.types import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Voxels by score: groups in ascending order of score, none of them empty.

    Attributes:
        scores: highest score of each group.
        lesion: lesion voxels in each group.
        other: other voxels in each group.
    """

    scores: np.ndarray
    lesion: np.ndarray
    other: np.ndarray


class Oracle(NamedTuple):
    """The best that test labels can buy: a maximum over all thresholds, chosen on those labels."""

    dice: float
    threshold: float


class Overlap(NamedTuple):
    """A mask against a lesion mask, in voxels."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN when there is neither mask nor lesion."""
        return ratio(2 * self.true_positive, sum(self[:3]) + self.true_positive)

    @property
    def precision(self) -> float:
        """Share of the mask that is lesion; NaN for an empty mask."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the lesion that the mask covers; NaN without a lesion."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def false_positive_rate(self) -> float:
        """Share of the other voxels that the mask holds."""
        return ratio(self.false_positive, self.false_positive + self.true_negative)


def ratio(part: float | int, whole: float | int) -> float:
    """``part / whole``, NaN for an empty whole."""
    return part / whole if whole else math.nan


def overlap(mask: np.ndarray, lesion: np.ndarray) -> Overlap:
    """Compare a mask with the lesion, both boolean on the same voxels."""
    both = int(np.count_nonzero(mask & lesion))
    marked, true = int(np.count_nonzero(mask)), int(np.count_nonzero(lesion))
    return Overlap(both, marked - both, true - both, mask.size - marked - true + both)


def exact_counts(scores: np.ndarray, lesion: np.ndarray) -> Counts:
    """One group per distinct score, by sorting.

    Args:
        scores: any finite numbers.
        lesion: True for lesion voxels, same shape.
    """
    scores, lesion = np.ravel(scores), np.ravel(lesion)
    # Sorting the numbers themselves is several times as fast as sorting their places.
    ordered = np.sort(scores)
    new = np.ones(ordered.size, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    values = ordered[starts]
    found = np.searchsorted(values, np.sort(scores[lesion]))
    positive = np.bincount(found, minlength=values.size)
    sizes = np.diff(starts, append=ordered.size)
    return Counts(scores=values, lesion=positive, other=sizes - positive)


def binned_counts(scores: np.ndarray, lesion: np.ndarray, *, mantissa: int = MANTISSA) -> Counts:
    """One group per occupied bin of relative width 2^-mantissa, see :mod:`brainuad.histogram`.

    Args:
        scores: finite, >= 0.
        lesion: True for lesion voxels, same shape.
        mantissa: 10 for 261,121 possible bins, 8 for 65,281, 4 for 4,081.
    """
    bins, size = bin_of(scores, mantissa).ravel(), bin_count(mantissa)
    everything = np.bincount(bins, minlength=size)
    positive = np.bincount(bins[np.ravel(lesion)], minlength=size)
    used = np.flatnonzero(everything)
    return Counts(
        scores=upper_edge(used, mantissa),
        lesion=positive[used],
        other=everything[used] - positive[used],
    )


def coarser(counts: Counts, *, mantissa: int) -> Counts:
    """The same voxels in wider bins, and in three fifths of the memory per group.

    Args:
        counts: from :func:`binned_counts` with at least as many bits.
        mantissa: bits that tell the new bins apart.
    """
    bins, first = np.unique(bin_of(counts.scores, mantissa), return_index=True)
    return Counts(
        scores=upper_edge(bins, mantissa),
        lesion=np.add.reduceat(counts.lesion, first).astype(np.uint32),
        other=np.add.reduceat(counts.other, first).astype(np.uint32),
    )


def stack(parts: Sequence[Counts]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All groups of several scans: scores (groups), lesion and other voxels (scans, groups)."""
    scores = np.unique(np.concatenate([part.scores for part in parts]))
    lesion = np.zeros((len(parts), scores.size))
    other = np.zeros((len(parts), scores.size))
    for row, part in enumerate(parts):
        columns = np.searchsorted(scores, part.scores)
        lesion[row, columns], other[row, columns] = part.lesion, part.other
    return scores, lesion, other


def pool(parts: Sequence[Counts]) -> Counts:
    """Counts of the voxels of all scans together; the order of the scans does not matter."""
    scores = np.unique(np.concatenate([part.scores for part in parts]))
    lesion = np.zeros(scores.size, np.int64)
    other = np.zeros(scores.size, np.int64)
    for part in parts:
        columns = np.searchsorted(scores, part.scores)
        lesion[columns] += part.lesion
        other[columns] += part.other
    return Counts(scores=scores, lesion=lesion, other=other)


def ap_of_counts(lesion: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Average precision: sum of precision x gain in recall, ties in one step.

    Args:
        lesion: lesion voxels per group, groups ascending in the last axis.
        other: other voxels, likewise; leading axes are independent problems.

    Returns:
        One value per leading index; NaN without lesion voxels.
    """
    hits = _from_above(lesion)
    marked = hits + _from_above(other)
    precision = np.divide(hits, marked, out=np.zeros_like(hits), where=marked > 0)
    return _divide((precision * lesion).sum(-1), hits[..., 0])


def auroc_of_counts(lesion: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Chance that a lesion voxel scores above another one, ties count half; see ap_of_counts."""
    hits = _from_above(lesion)
    above = (other * (hits - 0.5 * lesion)).sum(-1)
    return _divide(above, hits[..., 0] * np.sum(other, axis=-1, dtype=float))


def dice_of_counts(lesion: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Dice of the mask "this group and all above it", per group; see ap_of_counts."""
    hits = _from_above(lesion)
    marked = hits + _from_above(other)
    return _divide(2 * hits, hits[..., :1] + marked)


def max_dice_of_counts(lesion: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Oracle Dice, the maximum over all thresholds; see ap_of_counts."""
    best = dice_of_counts(lesion, other).max(-1)
    return np.where(np.sum(lesion, axis=-1) > 0, best, np.nan)


def average_precision(scores: np.ndarray, lesion: np.ndarray) -> float:
    """Area under the precision-recall curve in steps, exact, ties grouped."""
    counts = exact_counts(scores, _with_lesion(lesion, "AUPRC"))
    return float(ap_of_counts(counts.lesion, counts.other))


def auroc(scores: np.ndarray, lesion: np.ndarray) -> float:
    """Area under the receiver operating characteristic, exact; needs both kinds of voxels."""
    counts = exact_counts(scores, _with_lesion(lesion, "AUROC"))
    if not counts.other.any():
        raise DataError("AUROC: every voxel is lesion; it needs other voxels to compare with")
    return float(auroc_of_counts(counts.lesion, counts.other))


def oracle_dice(scores: np.ndarray, lesion: np.ndarray) -> Oracle:
    """Highest Dice over all thresholds: a bound chosen on the test labels, not a result.

    Returns:
        Dice, and the threshold: voxels strictly above it make the best mask. The lowest one is
        taken among equals.
    """
    counts = exact_counts(scores, _with_lesion(lesion, "oracle Dice"))
    dice = dice_of_counts(counts.lesion, counts.other)
    best = int(np.argmax(dice))
    below = counts.scores[best - 1] if best else np.nextafter(counts.scores[0], -np.inf)
    return Oracle(float(dice[best]), float(below))


def ap_bounds(counts: Counts) -> tuple[float, float]:
    """Between which values the exact average precision lies, whatever the order inside bins.

    With T lesion and F other voxels above a bin that holds p and n: a lesion voxel in it has a
    precision of at least (T + 1) / (T + 1 + F + n) and at most (T + p) / (T + p + F).
    """
    hits = _from_above(counts.lesion)
    misses = _from_above(counts.other)
    before = hits - counts.lesion
    worst = (before + 1) / (before + 1 + misses)
    best = _divide(hits, hits + misses - counts.other)
    share = counts.lesion / hits[0]
    used = counts.lesion > 0
    return float((share * worst)[used].sum()), float((share * best)[used].sum())


def auroc_bounds(counts: Counts) -> tuple[float, float]:
    """Between which values the exact AUROC lies: each mixed bin counts 0 to 1 instead of 1/2."""
    middle = float(auroc_of_counts(counts.lesion, counts.other))
    mixed = float(np.sum(counts.lesion.astype(float) * counts.other))
    reach = mixed / 2 / (float(counts.lesion.sum()) * float(counts.other.sum()))
    return middle - reach, middle + reach


def max_dice_bounds(counts: Counts) -> tuple[float, float]:
    """Between which values the exact oracle Dice lies: the best cut may split one bin."""
    hits = _from_above(counts.lesion)
    before = _from_above(counts.other) - counts.other
    low = float(max_dice_of_counts(counts.lesion, counts.other))
    return low, float((2 * hits / (hits[0] + hits + before)).max())


def _from_above(counts: np.ndarray) -> np.ndarray:
    """Sum over this group and all groups with higher scores, in float64."""
    return np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]


def _divide(part: Any, whole: Any) -> np.ndarray:
    """``part / whole`` as an array of any shape, also none; NaN where the whole is 0."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _with_lesion(lesion: np.ndarray, metric: str) -> np.ndarray:
    lesion = np.asarray(lesion)
    if not lesion.any():
        raise DataError(f"{metric}: no lesion voxel; leave lesion-free scans out of it")
    return lesion.astype(bool, copy=False)
