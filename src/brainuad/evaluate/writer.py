"""Rows of a results table with their intervals over subjects."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.evaluate import statistics, voxel
from brainuad.evaluate.case import Row
from brainuad.evaluate.measure import Measured
from brainuad.evaluate.statistics import Interval, Numbers
from brainuad.evaluate.voxel import Counts


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Makes rows of one protocol and seed."""

    protocol: str
    seed: int
    resamples: int

    @property
    def options(self) -> dict[str, Any]:
        """Options of every interval but its name."""
        return {"seed": self.seed, "resamples": self.resamples}

    def row(self, metric: str, interval: Interval, n: int, source: str = "none") -> Row:
        """One row; ``source`` is where the threshold came from."""
        value, low, high, kind = interval
        return Row(
            metric=metric, value=value, low=low, high=high, interval=kind, n=n,
            seed=self.seed, protocol=self.protocol, threshold_source=source,
        )  # fmt: skip

    def mean(self, metric: str, values: Numbers, source: str = "none") -> list[Row]:
        """Mean over subjects; nothing where there are none."""
        if not len(values):
            return []
        found = statistics.mean_interval(values, words=(metric,), **self.options)
        return [self.row(metric, found, len(values), source)]

    def total(self, metric: str, counts: Sequence[int], source: str = "none") -> list[Row]:
        """A plain number of scans or lesions, without an interval."""
        if not len(counts):
            return []
        value = Interval(float(sum(counts)), math.nan, math.nan, "none")
        return [self.row(metric, value, len(counts), source)]

    def share(
        self, metric: str, parts: Numbers, wholes: Numbers, source: str = "none"
    ) -> list[Row]:
        """Sum of parts over sum of wholes; nothing where the wholes are all 0."""
        if not sum(wholes):
            return []
        found = statistics.ratio_interval(parts, wholes, words=(metric,), **self.options)
        return [self.row(metric, found, len(parts), source)]

    def pooled(
        self, metric: str, of_counts: Callable[..., np.ndarray], cases: Sequence[Measured],
        total: Counts, source: str = "none",
    ) -> list[Row]:  # fmt: skip
        """A metric of the voxels of all cases together.

        Its value is that of ``total``, whose bins are finer than those of the cases; the interval,
        made from these, is moved by the difference.
        """
        _, lesion, other = voxel.stack([case.counts for case in cases])
        found = statistics.counts_interval(
            of_counts, lesion, other, words=(metric,), **self.options
        )
        value = float(of_counts(total.lesion, total.other))
        low, high = np.clip(np.array(found[1:3]) + value - found.value, 0, 1).tolist()
        moved = Interval(value, low, high, found.kind)
        return [self.row(metric, moved, len(cases), source)]
