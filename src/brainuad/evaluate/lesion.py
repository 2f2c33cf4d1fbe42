"""Lesions as objects: which were found, and which components of the mask touch none."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize

from brainuad.evaluate.voxel import ratio
from brainuad.postprocess import label_components
from brainuad.types import Mask, Volume

LEAST_IOU = 0.1
"""Overlap (intersection over union) that a component needs to be matched with a lesion."""
PANOPTIC_IOU = 0.5
"""IoU that a pair must exceed to count in the panoptic quality; above it pairs are unique."""
FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the sensitivity is read."""
FROC_BLOCK = 4096
"""False candidates that are counted at once."""
SIZES_ML = {"<0.1ml": (0.0, 0.1), "0.1-1ml": (0.1, 1.0), ">1ml": (1.0, math.inf)}
"""Lesion sizes for tables; a lesion belongs to a size when lower <= volume < upper."""


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """The lesions and the mask's components of one scan, or of several added together."""

    volumes_ml: tuple[float, ...] = ()
    """Volume of each lesion in ml."""
    hit: tuple[bool, ...] = ()
    """Whether the mask shares a voxel with the lesion."""
    components: int = 0
    """Components of the mask."""
    false_components: int = 0
    """Components that touch no lesion."""
    matched: int = 0
    """Pairs of one lesion and one component with an IoU of at least 0.1."""
    close: int = 0
    """Pairs with an IoU above 0.5."""
    close_iou: float = 0.0
    """Sum of the IoU of those pairs."""

    def __add__(self, other: "Lesions") -> "Lesions":
        return Lesions(
            volumes_ml=self.volumes_ml + other.volumes_ml,
            hit=self.hit + other.hit,
            components=self.components + other.components,
            false_components=self.false_components + other.false_components,
            matched=self.matched + other.matched,
            close=self.close + other.close,
            close_iou=self.close_iou + other.close_iou,
        )

    @property
    def sensitivity(self) -> float:
        """Share of lesions that were hit; NaN without lesions."""
        return ratio(sum(self.hit), len(self.hit))

    @property
    def f1(self) -> float:
        """F1 at any overlap: hit lesions, missed lesions, components that touch none."""
        return ratio(2 * sum(self.hit), sum(self.hit) + len(self.hit) + self.false_components)

    @property
    def f1_matched(self) -> float:
        """F1 of one-to-one matches at IoU >= 0.1."""
        return ratio(2 * self.matched, len(self.hit) + self.components)

    @property
    def segmentation_quality(self) -> float:
        """SQ: mean IoU of the pairs above 0.5; NaN without such pairs."""
        return ratio(self.close_iou, self.close)

    @property
    def recognition_quality(self) -> float:
        """RQ: F1 of the pairs above 0.5; NaN without lesions and components."""
        return ratio(2 * self.close, len(self.hit) + self.components)

    @property
    def panoptic_quality(self) -> float:
        """PQ = SQ x RQ (Kirillov et al. 2019, CVPR); 0 where nothing is paired."""
        return ratio(2 * self.close_iou, len(self.hit) + self.components)

    def of_size(self, lower_ml: float, upper_ml: float) -> "Lesions":
        """Only the lesions with lower <= volume < upper, without the components."""
        kept = [n for n, v in enumerate(self.volumes_ml) if lower_ml <= v < upper_ml]
        return Lesions(
            volumes_ml=tuple(self.volumes_ml[n] for n in kept),
            hit=tuple(self.hit[n] for n in kept),
        )


class Pair(NamedTuple):
    """A lesion and the component that is matched with it, by their numbers from 1."""

    lesion: int
    component: int
    iou: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Match:
    """The 26-connected components of a mask and of a lesion mask, and how they belong together.

    Attributes:
        found: number of the mask's component at each voxel, 0 outside.
        true: number of the lesion at each voxel, 0 outside.
        pairs: at IoU >= 0.1, each lesion and each component in one pair at most.
        lesions: what is counted of them.
    """

    found: np.ndarray
    true: np.ndarray
    pairs: tuple[Pair, ...]
    lesions: Lesions


def match_lesions(mask: Mask, lesion: Mask, spacing: Sequence[float]) -> Lesions:
    """Compare the 26-connected components of a mask with those of the lesion mask.

    One component may hit several lesions; a component is false when it touches none. For matching
    at IoU >= 0.1 every lesion and every component is used at most once.
    """
    return match(mask, label_components(lesion), spacing).lesions


def match(mask: Mask, true: tuple[np.ndarray, int], spacing: Sequence[float]) -> Match:
    """As :func:`match_lesions`, with the components themselves.

    Args:
        mask: what was marked.
        true: the labelled lesions and their number, from ``label_components``.
        spacing: edge lengths of a voxel in mm.
    """
    labels, n_true = true
    found, n_found = label_components(mask)
    inside = labels > 0
    cells = labels[inside].astype(np.int64) * (n_found + 1) + found[inside]
    table = np.bincount(cells, minlength=(n_true + 1) * (n_found + 1))
    shared = table.reshape(n_true + 1, n_found + 1)[1:]
    sizes, shared = shared.sum(1), shared[:, 1:]
    pairs = _pairs(shared, sizes, np.bincount(found[mask], minlength=n_found + 1)[1:])
    close = [pair.iou for pair in pairs if pair.iou > PANOPTIC_IOU]
    lesions = Lesions(
        volumes_ml=tuple((sizes * math.prod(spacing) / 1000).tolist()),
        hit=tuple(np.any(shared, axis=1).tolist()),
        components=n_found,
        false_components=int(n_found - np.any(shared, axis=0).sum()),
        matched=len(pairs),
        close=len(close),
        close_iou=float(sum(close)),
    )
    return Match(found=found, true=labels, pairs=pairs, lesions=lesions)


def _pairs(shared: np.ndarray, true: np.ndarray, found: np.ndarray) -> tuple[Pair, ...]:
    """As many pairs with enough IoU as possible, and among those the largest sum of IoU."""
    rows, columns = np.nonzero(shared)
    overlap = shared[rows, columns]
    iou = overlap / (true[rows] + found[columns] - overlap)
    enough = iou >= LEAST_IOU
    if not enough.any():
        return ()
    kept, rows = np.unique(rows[enough], return_inverse=True)
    taken, columns = np.unique(columns[enough], return_inverse=True)
    ious = np.zeros((kept.size, taken.size))
    ious[rows, columns] = iou[enough]
    # one more pair outweighs any gain in IoU, which sums to less than the number of pairs + 1
    worth = np.where(ious > 0, min(ious.shape) + 1 + ious, 0)
    chosen = zip(*optimize.linear_sum_assignment(worth, maximize=True), strict=True)
    return tuple(
        Pair(int(kept[r]) + 1, int(taken[c]) + 1, float(ious[r, c]))
        for r, c in chosen
        if ious[r, c] > 0
    )


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Confidences for FROC, of one scan or of several added together.

    The confidence of a component is the highest value of the map in it.
    """

    lesions: tuple[float, ...] = ()
    """Highest confidence of a component that touches the lesion; -inf when there is none."""
    false: tuple[float, ...] = ()
    """Confidence of each component that touches no lesion."""
    scans: int = 1
    """How many scans."""

    def __add__(self, other: "Candidates") -> "Candidates":
        return Candidates(
            lesions=self.lesions + other.lesions,
            false=self.false + other.false,
            scans=self.scans + other.scans,
        )


def candidates(matched: Match, anomaly: Volume) -> Candidates:
    """Confidences of the components of one scan's mask, made at a generous threshold."""
    found, true, count = matched.found, matched.true, matched.lesions.components
    marked, inside = found > 0, true > 0
    peaks = np.full(count + 1, -math.inf)
    np.maximum.at(peaks, found[marked], anomaly[marked])
    best = np.full(len(matched.lesions.hit) + 1, -math.inf)
    np.maximum.at(best, true[inside], peaks[found[inside]])
    free = np.ones(count + 1, bool)
    free[0] = False
    free[found[inside]] = False
    return Candidates(lesions=tuple(best[1:].tolist()), false=tuple(peaks[free].tolist()))


def froc(found: Candidates, rates: Sequence[float] = FROC_RATES) -> dict[float, float]:
    """Sensitivity at given numbers of false positives per scan.

    Components are kept when their confidence reaches a cut; the lowest cut with at most the given
    number of false positives per scan counts. NaN without lesions.
    """
    false = np.sort(np.asarray(found.false))[::-1]
    confidence = np.asarray(found.lesions)
    result = {}
    for rate in rates:
        allowed = math.floor(rate * found.scans + 1e-9)
        # the first false positive too many, and all components below it, are left out
        cut = false[allowed] if allowed < false.size else -math.inf
        result[rate] = ratio(float(np.sum(confidence > cut)), confidence.size)
    return result


def mean_froc(parts: Sequence[Candidates]) -> Callable[[np.ndarray], np.ndarray]:
    """Mean sensitivity over the seven FROC rates, as a function of how often each scan is drawn.

    Args:
        parts: one per subject.

    Returns:
        A function from draws (samples, subjects) to one value per sample, for the bootstrap.
    """
    owner, confidence = _flat([part.lesions for part in parts])
    false_owner, false = _flat([part.false for part in parts])
    order = np.argsort(-false)
    false, false_owner = np.append(false[order], -math.inf), false_owner[order]
    scans = np.array([part.scans for part in parts])

    def of_draws(draws: np.ndarray) -> np.ndarray:
        lesions = draws[:, owner]
        allowed = np.floor(np.outer(FROC_RATES, draws @ scans) + 1e-9)
        found = np.zeros(len(draws))
        for kept in _kept_alarms(draws, false_owner, allowed):
            found += (lesions * (confidence > false[kept][:, None])).sum(1)
        return found / len(FROC_RATES) / np.maximum(lesions.sum(1), 1)

    return of_draws


def _kept_alarms(draws: np.ndarray, owner: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """How many candidates, from the highest on, hold no more false positives than allowed.

    Args:
        draws: (samples, scans), how often each scan counts.
        owner: scan of each false candidate, the highest confidence first.
        allowed: (rates, samples).

    Returns:
        (rates, samples) numbers. There may be a million candidates, so they are counted in blocks,
        and only until every sample has more than its largest number.
    """
    kept = np.zeros(allowed.shape, np.int64)
    before = np.zeros(len(draws))
    for start in range(0, owner.size, FROC_BLOCK):
        block = owner[start : start + FROC_BLOCK]
        alarms = before[:, None] + np.cumsum(draws[:, block], axis=1)
        for rate, most in enumerate(allowed):
            kept[rate] += (alarms <= most[:, None]).sum(1)
        before = alarms[:, -1]
        if (before > allowed.max(0)).all():
            break
    return kept


def _flat(groups: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """All values one after the other, and which group each belongs to."""
    owner = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    return owner, np.concatenate([np.asarray(g, dtype=float) for g in groups])
