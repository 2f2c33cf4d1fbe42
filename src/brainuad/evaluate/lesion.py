"""Lesions as objects: which were found, and which components of the mask touch none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize

from brainuad.evaluate.voxel import ratio
from brainuad.postprocess import label_components
from brainuad.types import Mask

LEAST_IOU = 0.1
"""Overlap (intersection over union) that a component needs to be matched with a lesion."""
PANOPTIC_IOU = 0.5
"""IoU that a pair must exceed to count in the panoptic quality; above it pairs are unique."""
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
