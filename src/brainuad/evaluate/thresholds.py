"""Dice over a grid of thresholds: counts of marked voxels, and the best pooled or mean Dice.

The best threshold is chosen anew in every bootstrap sample, so an interval holds the luck of the
choice as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from brainuad.evaluate import statistics, voxel
from brainuad.evaluate.case import Row
from brainuad.evaluate.statistics import Interval
from brainuad.evaluate.summary import Writer
from brainuad.evaluate.voxel import Counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """What is marked at each threshold of a grid, in voxels."""

    subject: str
    hits: np.ndarray
    """Marked lesion voxels at each threshold."""
    marked: np.ndarray
    """Marked voxels at each threshold."""
    true: int
    """Lesion voxels."""

    @property
    def dice(self) -> np.ndarray:
        """Dice at each threshold; NaN where there is neither mask nor lesion."""
        return dice(self.hits, self.marked, self.true)


class Best(NamedTuple):
    """The best threshold of a grid, chosen on the labels it is judged by."""

    interval: Interval
    at: int
    """Its number in the grid; the lowest one among equals."""
    n: int
    """Subjects."""


def above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many scores lie strictly above each threshold.

    Args:
        scores: any shape, compared in double precision.
        thresholds: ascending.
    """
    below = np.searchsorted(thresholds, np.ravel(scores).astype(np.float64), side="left")
    passed = np.bincount(below, minlength=len(thresholds) + 1)
    return np.cumsum(passed[::-1])[::-1][1:]


def marks(subject: str, scores: np.ndarray, lesion: np.ndarray, thresholds: np.ndarray) -> Marks:
    """Count what lies strictly above each of the ascending thresholds."""
    return Marks(
        subject=subject,
        hits=above(scores[lesion], thresholds),
        marked=above(scores, thresholds),
        true=int(np.count_nonzero(lesion)),
    )


def dice(hits: np.ndarray, marked: np.ndarray, true: np.ndarray | float | int) -> np.ndarray:
    """2 |P and G| / (|P| + |G|); NaN where both are empty."""
    whole = np.asarray(marked + true, float)
    part = np.broadcast_to(2.0 * hits, whole.shape)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def by_subject(
    subjects: Sequence[str], *tables: Sequence[Any] | np.ndarray
) -> tuple[np.ndarray, ...]:
    """Tables of one row per case, summed to one row per subject, in the order of their names."""
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    found = []
    for table in tables:
        rows = np.asarray(table, float)
        total = np.zeros((len(names), *rows.shape[1:]))
        np.add.at(total, owner, rows)
        found.append(total)
    return tuple(found)


def best_pooled(parts: Sequence[Marks], metric: str, writer: Writer) -> Best:
    """Highest Dice of the voxels of all parts together."""
    hits, marked, true = by_subject(
        [part.subject for part in parts],
        [part.hits for part in parts],
        [part.marked for part in parts],
        [part.true for part in parts],
    )

    def curve(draws: np.ndarray) -> np.ndarray:
        return dice(draws @ hits, draws @ marked, (draws @ true)[:, None])

    found = statistics.bootstrap(
        lambda draws: np.fmax.reduce(curve(draws), axis=1),
        len(true), words=(metric,), **writer.options,
    )  # fmt: skip
    everybody = np.nan_to_num(curve(np.ones((1, len(true)))))
    return Best(found, int(np.argmax(everybody)), len(true))


def best_mean(
    subjects: Sequence[str], curves: Sequence[np.ndarray], metric: str, writer: Writer
) -> Best:
    """Highest mean of Dice curves, each of one slice or scan with a lesion."""
    totals, numbers = by_subject(subjects, curves, np.ones(len(curves)).tolist())

    def mean(draws: np.ndarray) -> np.ndarray:
        return (draws @ totals) / (draws @ numbers)[:, None]

    found = statistics.bootstrap(
        lambda draws: mean(draws).max(1), len(numbers), words=(metric,), **writer.options
    )
    return Best(found, int(np.argmax(mean(np.ones((1, len(numbers)))))), len(numbers))


def mean_row(
    metric: str, subjects: Sequence[str], values: Sequence[float | int], writer: Writer, source: str
) -> list[Row]:
    """Mean over slices or scans, NaN dropped; subjects are what the interval resamples."""
    kept = [(s, v) for s, v in zip(subjects, values, strict=True) if not np.isnan(v)]
    if not kept:
        return []
    names, numbers = zip(*kept, strict=True)
    parts, wholes = by_subject(names, numbers, [1] * len(names))
    return writer.share(metric, parts, wholes, source)


def ranking_rows(
    subjects: Sequence[str], parts: Sequence[Counts], writer: Writer, suffix: str = ""
) -> list[Row]:
    """Average precision of all voxels pooled, and their prevalence: what a random map scores."""
    _, lesion, other = voxel.stack(parts)
    lesion, other = by_subject(subjects, lesion, other)
    name = f"auprc_pooled{suffix}"
    found = statistics.counts_interval(
        voxel.ap_of_counts, lesion, other, words=(name,), **writer.options
    )
    true, every = lesion.sum(1), (lesion + other).sum(1)
    return [writer.row(name, found, len(true)), *writer.share(f"prevalence{suffix}", true, every)]
