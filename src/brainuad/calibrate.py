"""Thresholds and percentiles from scans of healthy people, made in one pass.

A threshold belongs to exactly one map: the detector's weights, its preparation and its
post-processing are named by hashes, and a calibration is refused where one of them differs.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainuad.config import build, to_dict
from brainuad.histogram import FINE_MANTISSA, Histogram
from brainuad.manifest import write_json
from brainuad.postprocess import check_map, scan_score
from brainuad.types import DataError, MissingError

__all__ = ["QUANTILES", "RATES", "Calibration", "Calibrator", "check_same", "scan_score"]

RATES = (0.001, 0.01, 0.05)
"""Shares of healthy brain voxels that may lie above a threshold."""
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.995, 0.999)
"""Quantiles of each healthy scan's brain voxels that are kept."""
STEADY = 20
"""Healthy scans from which on thresholds are steady."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a detector says of healthy scans that it was not fitted on."""

    thresholds: dict[float, float]
    """Healthy false-positive rate -> value of the map; a voxel is marked when strictly above."""
    achieved: dict[float, float]
    """Rate -> share of the healthy brain voxels strictly above the threshold; exact, <= rate."""
    scan_quantiles: dict[float, tuple[float, ...]]
    """Probability -> that quantile of the map in each healthy scan, in the order of subjects."""
    scores: tuple[float, ...]
    """Score of each healthy scan, in the order of subjects."""
    subjects: tuple[str, ...]
    """Who the healthy scans are of, sorted."""
    voxels: int
    """Number of healthy brain voxels behind the thresholds."""
    highest: float
    """Highest value of the map in healthy brains; 0 means that the detector marks nothing."""
    cohort: str
    """Name of the healthy cohort."""
    postprocess_hash: str
    """Post-processing that made the maps."""
    recipe_hash: str
    """Preparation of the scans."""
    weights_hash: str
    """Weights of the detector."""

    @property
    def n(self) -> int:
        """Number of healthy scans."""
        return len(self.subjects)

    @property
    def dead(self) -> bool:
        """Whether the map was 0 in every healthy brain voxel."""
        return self.highest == 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of results made with this calibration must know."""
        few = (
            f"made of {self.n} healthy scan{'s' * (self.n > 1)}: thresholds hang on which, and "
            f"percentiles are coarse; {STEADY} or more are better"
        )
        found = [few] if self.n < STEADY else []
        if self.dead:
            dead = "the map is 0 in every healthy brain; anything above 0 will be marked"
            return dead, *found
        return *found, *(
            f"rate {rate:g} could not be met: {self.achieved[rate]:.2g} of the healthy voxels lie "
            f"above the lowest usable threshold {threshold:.3g}, because many values are equal"
            for rate, threshold in sorted(self.thresholds.items())
            if self.achieved[rate] < rate / 2
        )

    def threshold(self, rate: float) -> float:
        """Value of the map that healthy brain voxels exceed at this rate."""
        if rate not in self.thresholds:
            known = ", ".join(f"{r:g}" for r in sorted(self.thresholds))
            raise DataError(f"calibration: has no threshold for the rate {rate:g}; choose {known}")
        return self.thresholds[rate]

    def p_value(self, score: float) -> float:
        """Share of healthy scans that score at least this high, the new scan counted among them.

        The conformal p-value (1 + #{healthy >= score}) / (n + 1): for a healthy scan of the same
        population it is at most p with probability at most p, whatever the scores' distribution.
        """
        ordered = sorted(self.scores)
        return (1 + self.n - bisect_left(ordered, score)) / (self.n + 1)

    def percentile(self, score: float) -> float:
        """Where the score stands among healthy scans: 100 (1 - p), from 0 to 100 n / (n + 1)."""
        return 100 * (1 - self.p_value(score))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, under its final name only when complete."""
        write_json(path, to_dict(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read what :meth:`save` wrote; a damaged file is a DataError that says where."""
        path = Path(path)
        if not path.is_file():
            raise MissingError(f"{path}: no such file; run `brainuad calibrate` first")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls.from_dict(data)
        except ValueError as error:  # broken JSON or text, and DataError and UsageError
            raise DataError(
                f"{path}: not a calibration ({error}); run `brainuad calibrate` again"
            ) from error

    @classmethod
    def from_dict(cls, data: object) -> "Calibration":
        """The calibration that ``to_dict`` described."""
        if not isinstance(data, Mapping):
            raise DataError(
                f"calibration: must be a mapping, got {type(data).__name__}; make it anew"
            )
        made = build(cls, data, where="calibration")
        made._check()
        return made

    def _check(self) -> None:
        lengths = {len(self.scores), *map(len, self.scan_quantiles.values()), self.n}
        if len(lengths) > 1 or not self.n:
            raise DataError(
                f"calibration: {self.n} subjects, {len(self.scores)} scores and unlike quantiles; "
                "one of each per scan is needed"
            )
        if set(self.thresholds) != set(self.achieved) or not self.thresholds:
            raise DataError("calibration: thresholds and achieved rates do not match; make it anew")


class Calibrator:
    """Takes the maps of healthy scans one at a time; memory does not grow with their size."""

    def __init__(self) -> None:
        self._histogram = Histogram(FINE_MANTISSA)
        self._scans: dict[str, tuple[float, list[float]]] = {}

    def add(self, anomaly: np.ndarray, brain: np.ndarray, score: float, subject: str) -> None:
        """Count one healthy scan.

        Args:
            anomaly: its map after post-processing, exactly as detection thresholds it.
            brain: where the map counts, on the same grid.
            score: its scan score, see :func:`scan_score`.
            subject: who it is of; each only once.
        """
        check_map(anomaly, brain, f"{subject}: anomaly map")
        if subject in self._scans:
            raise DataError(f"{subject}: counted twice; list each calibration scan once")
        if not np.isfinite(score):
            raise DataError(f"{subject}: scan score is {score}; look for what made it")
        values = anomaly[brain]
        if not values.size:
            raise DataError(f"{subject}: brain mask is empty; check the brain extraction")
        self._histogram.add(values)
        self._scans[subject] = (float(score), np.quantile(values, QUANTILES).tolist())

    def finish(
        self,
        *,
        postprocess_hash: str,
        recipe_hash: str,
        weights_hash: str,
        cohort: str = "",
    ) -> Calibration:
        """The calibration from all scans so far; their order does not matter.

        Every threshold is the lowest of about a million fixed values, 0.025 % apart, that at most
        the asked share of the healthy voxels exceeds. The achieved share is counted, not estimated.
        """
        if not self._scans:
            raise DataError("calibration: no healthy scans; give at least one")
        found = {rate: self._histogram.threshold_at(rate) for rate in RATES}
        subjects = tuple(sorted(self._scans))
        quantiles = np.array([self._scans[s][1] for s in subjects])
        return Calibration(
            thresholds={rate: threshold for rate, (threshold, _) in found.items()},
            achieved={rate: share for rate, (_, share) in found.items()},
            scan_quantiles={
                q: tuple(column.tolist()) for q, column in zip(QUANTILES, quantiles.T, strict=True)
            },
            scores=tuple(self._scans[s][0] for s in subjects),
            subjects=subjects,
            voxels=self._histogram.total,
            highest=self._histogram.highest,
            cohort=cohort,
            postprocess_hash=postprocess_hash,
            recipe_hash=recipe_hash,
            weights_hash=weights_hash,
        )


def check_same(
    calibration: Calibration, *, postprocess_hash: str, recipe_hash: str, weights_hash: str
) -> None:
    """Raise unless the calibration was made with exactly this detector."""
    parts = {
        "post-processing": (calibration.postprocess_hash, postprocess_hash),
        "preparation": (calibration.recipe_hash, recipe_hash),
        "weights": (calibration.weights_hash, weights_hash),
    }
    other = [name for name, (made, now) in parts.items() if made != now]
    if other:
        details = ", ".join(f"{name} {parts[name][0]} against {parts[name][1]}" for name in other)
        raise DataError(
            f"calibration: was made with another detector ({details}); "
            "its thresholds do not hold here, run `brainuad calibrate` again"
        )


def check_unfitted(subject: str, fitted: Container[str]) -> None:
    """Refuse a subject that a detector was fitted on: its maps are better than those of others."""
    if subject in fitted:
        raise DataError(
            f"{subject}: was fitted on, so it cannot calibrate; give other healthy scans; "
            "another person of that name: brainuad calibrate --namesakes"
        )
