"""What goes into an evaluation and what comes out: checked cases, rows of a results table."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from brainuad.postprocess import check_map
from brainuad.types import DataError

KINDS = ("lesion", "clean", "sham")
"""With a lesion; healthy; with the traces of a planted lesion but no lesion."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One map to be judged.

    Attributes:
        subject: who it is of; the unit that is resampled.
        kind: ``lesion``, ``clean`` or ``sham``.
        anomaly: the map as it is thresholded, >= 0, larger is less healthy.
        lesion: its truth, boolean or 0/1 on the same grid; None for ``clean``.
        region: where voxels are scored, boolean or 0/1 on the same grid.
        spacing: edge lengths of a voxel in mm.
        strata: words by which tables are split, such as ``{"size": "S"}``.
        scan: what the map was made from, normalised as the method saw it; None = not known.
        healthy: its healthy counterpart in the same units; given together with ``scan``.
    """

    subject: str
    kind: str
    anomaly: np.ndarray
    lesion: np.ndarray | None
    region: np.ndarray
    spacing: tuple[float, float, float]
    strata: Mapping[str, str] = field(default_factory=dict)
    scan: np.ndarray | None = None
    healthy: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of ``results.csv``."""

    dataset: str = ""
    method: str = ""
    preset: str = ""
    seed: int = 0
    metric: str
    value: float
    low: float
    """Lower end of the 95 % interval over subjects; NaN where there is none."""
    high: float
    n: int
    """Number of subjects behind the value."""
    protocol: str
    threshold_source: str
    """``none``, ``healthy-fpr``, ``fixed``, ``automatic`` (from the map alone),
    ``labelled-validation`` (lesions of other scans) or ``oracle`` (chosen on the test labels)."""
    interval: str = "none"
    """How the interval was made: ``BCa``, ``percentile`` or ``none``; not a column."""

    def named(self, *, dataset: str, method: str, preset: str) -> "Row":
        """The same row for this data set, method and preset."""
        return replace(self, dataset=dataset, method=method, preset=preset)

    def record(self) -> dict[str, Any]:
        """The columns of ``results.csv`` in their order."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(f.name for f in fields(Row) if f.name != "interval")
"""Columns of ``results.csv``."""


def checked_cases(
    cases: Iterable[Case], *, train: Collection[str] = (), whole: bool = False
) -> Iterator[Case]:
    """The cases one by one, with boolean masks inside the region; the first bad one raises.

    Args:
        cases: consumed once.
        train: subjects that the detector was fitted or calibrated on; none may be tested.
        whole: see :func:`checked`.

    Raises:
        DataError: no case at all, a subject twice under one kind, a subject in ``train``, or
            arrays that cannot be scored.
    """
    seen: set[tuple[str, str]] = set()
    known = set(train)
    for case in cases:
        if case.subject in known:
            raise DataError(
                f"{case.subject}: is in both training and test; take it out of one of them"
            )
        if (case.subject, case.kind) in seen:
            raise DataError(f"{case.subject}: occurs twice as {case.kind!r}; list each case once")
        seen.add((case.subject, case.kind))
        yield checked(case, whole=whole)
    if not seen:
        raise DataError("evaluation: no cases; give at least one map")


def checked(case: Case, *, whole: bool = False) -> Case:
    """The case with boolean masks, the lesion cut to the region.

    A ``lesion`` case whose truth is empty becomes ``clean``: it has no say in Dice and AUPRC and
    counts among the healthy scans.

    Args:
        case: as given.
        whole: for published protocols that judge the whole grid: the lesion is not cut, and a
            ``lesion`` case stays one when its truth is empty.
    """
    if case.kind not in KINDS:
        raise DataError(
            f"{case.subject}: unknown kind {case.kind!r}; choose from {', '.join(KINDS)}"
        )
    region = _binary(case.region, case, "region")
    check_map(case.anomaly, region, f"{case.subject}: anomaly map")
    if not region.any():
        raise DataError(f"{case.subject}: region is empty; check the brain mask")
    lesion = _lesion(case, region, whole=whole)
    _check_counterpart(case)
    kind = case.kind if whole or lesion is not None or case.kind != "lesion" else "clean"
    return replace(case, kind=kind, region=region, lesion=lesion)


def _check_counterpart(case: Case) -> None:
    if (case.scan is None) != (case.healthy is None):
        raise DataError(f"{case.subject}: give scan and healthy counterpart, or neither")
    for name, volume in (("scan", case.scan), ("healthy counterpart", case.healthy)):
        if volume is None:
            continue
        _check_shape(volume, case, name)
        if not np.isfinite(volume).all():
            raise DataError(f"{case.subject}: {name} has voxels that are NaN or infinite; mend it")


def _check_shape(volume: np.ndarray, case: Case, name: str) -> None:
    if volume.shape != case.anomaly.shape:
        raise DataError(
            f"{case.subject}: {name} has shape {volume.shape}, the map {case.anomaly.shape}; "
            "resample both onto one grid first"
        )


def _lesion(case: Case, region: np.ndarray, *, whole: bool) -> np.ndarray | None:
    """The truth, inside the region unless the whole is asked for; None where there is no lesion."""
    if case.lesion is None:
        if case.kind != "clean":
            raise DataError(f"{case.subject}: {case.kind} case without a lesion mask; give one")
        return None
    lesion = _binary(case.lesion, case, "lesion mask")
    if case.kind == "clean" and lesion.any():
        raise DataError(
            f"{case.subject}: called clean, but its lesion mask holds {int(lesion.sum())} voxels; "
            "call it 'lesion' or mend the mask"
        )
    inside = lesion & region
    if lesion.any() and not inside.any():
        raise DataError(
            f"{case.subject}: lesion lies wholly outside the scored region; check their grids"
        )
    if case.kind == "sham" and not inside.any():
        raise DataError(f"{case.subject}: sham case with an empty mask; mark where it was planted")
    if not inside.any():
        return None
    return lesion if whole else inside


def _binary(mask: np.ndarray, case: Case, name: str) -> np.ndarray:
    _check_shape(mask, case, name)
    if mask.dtype == bool:
        return mask
    strange = (mask != 0) & (mask != 1)
    if strange.any():
        found = ", ".join(f"{v:g}" for v in np.unique(mask[strange])[:5])
        raise DataError(
            f"{case.subject}: {name} holds the labels {found}; only 0 and 1 are understood, "
            "merge or drop the others first"
        )
    return mask == 1
