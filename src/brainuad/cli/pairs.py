"""Which map belongs to which truth: from folders or a table, checked before anything is read."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cli.inputs import TABLES, table
from brainuad.evaluate.case import Case
from brainuad.nifti import read_mask, read_scan
from brainuad.scan import Scan
from brainuad.scan_file import subject_of
from brainuad.types import DataError, MissingError

MAP = "_anomalymap.nii.gz"
TRUTHS = ("_lesion.nii.gz", "_label-lesion_mask.nii.gz", "_mask.nii.gz", "_gt.nii.gz", ".nii.gz")
COLUMNS = ("map", "lesion", "region", "subject", "kind", "scan")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A map and its truth."""

    anomaly: Path
    lesion: Path | None
    region: Path | None
    subject: str
    kind: str
    scan: Path | None = None
    """What the map was made from; None = as its record says."""
    strata: Mapping[str, str] = field(default_factory=dict)

    def beside(self, kind: str) -> Path:
        """The file of this kind beside the map, whether it exists or not."""
        return self.anomaly.with_name(self.anomaly.name.removesuffix(MAP) + f"_{kind}")

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``X_uad.json`` beside the map says; empty where there is none."""
        path = self.beside("uad.json")
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise DataError(f"{path}: damaged ({error}); run detect again") from error
        if not isinstance(found, dict):
            raise DataError(f"{path}: not the record of a scan; run detect again")
        return found

    @property
    def names(self) -> list[str]:
        """Names under which the subject may be known elsewhere, the likeliest first."""
        own = [self.subject, self.record.get("subject"), subject_of(self.anomaly)]
        return list(dict.fromkeys(str(name) for name in own if name))

    @property
    def source(self) -> Path | None:
        """The scan that the map was made from; None where it cannot be found."""
        written = self.record.get("preparation", {}).get("input", {}).get("path")
        path = self.scan or (Path(written) if written else None)
        return path if path is not None and path.is_file() else None

    @property
    def has_counterpart(self) -> bool:
        """Whether the method made a healthy counterpart; a copy of the scan is none."""
        return (
            self.record.get("healthy_counterpart", True) and self.beside("healthy.nii.gz").is_file()
        )

    def case(self) -> Case:
        """Everything that is judged."""
        scan = read_scan(self.anomaly, subject=self.subject, constant=True)
        lesion = self.lesion and read_mask(self.lesion, like=scan, empty=True)
        case = Case(
            subject=self.subject,
            kind=self.kind,
            anomaly=scan.voxels,
            lesion=lesion,
            region=self.scored(scan),
            spacing=scan.spacing,
            strata=self.strata,
        )
        healthy = self.kind == "clean" or lesion is None or not lesion.any()
        return self._with_counterpart(case) if healthy else case

    def _with_counterpart(self, case: Case) -> Case:
        """The case with scan and counterpart in the units that the method saw."""
        if self.source is None or not self.has_counterpart:
            return case
        scan = read_scan(self.source, modality=self.record.get("modality")).voxels
        healthy = read_scan(self.beside("healthy.nii.gz")).voxels
        if scan.shape != case.region.shape:
            raise DataError(
                f"{self.source}: has shape {scan.shape}, the map {case.region.shape}; "
                "name the scan that the map was made from"
            )
        inside = scan[case.region.astype(bool)]
        own, normal = normalisation(self.record.get("preparation", {}), inside, self.subject)
        return replace(
            case,
            scan=np.interp(scan, own, normal).astype(np.float32),
            healthy=np.interp(healthy, own, normal).astype(np.float32),
        )

    def scored(self, scan: Scan) -> Any:
        """The region given, or the brain mask beside the map, or all voxels with a value."""
        beside = self.beside("brain.nii.gz")
        path = self.region or (beside if beside.is_file() else None)
        return scan.voxels > 0 if path is None else read_mask(path, like=scan)


def normalisation(
    preparation: Mapping[str, Any], inside: np.ndarray, who: str
) -> tuple[list[float], list[float]]:
    """Own intensities and what they become: as prepared, else percentiles 1 and 99 to 0 and 1.

    Args:
        preparation: what the record of the scan says of it.
        inside: intensities of the scan in the scored region.
        who: the subject, for errors.
    """
    if curve := preparation.get("intensity_curve"):
        return curve[0], curve[1]
    low, high = preparation.get("intensity") or np.percentile(inside, (1, 99)).tolist()
    if not high > low:
        raise DataError(
            f"{who}: the scan has one intensity, {low:g}, in the scored region; check both"
        )
    return [low, high], [0.0, 1.0]


def pairs(maps: Path, truth: Path) -> list[Pair]:
    """Maps with their truth, from a folder of masks or from a table.

    Raises:
        MissingError: no map, a map without a truth, or a truth without a map.
        DataError: a map or a subject that occurs twice.
    """
    if truth.suffix in TABLES:
        rows = table(truth, needed=("map", "lesion"), known=COLUMNS)
        found = [from_row(row, maps, truth) for row in rows]
        _check_files(found)
    else:
        found = _of_folders(maps, truth)
    _check_once([str(pair.anomaly) for pair in found], "the map")
    _check_once([f"{pair.subject} ({pair.kind})" for pair in found], "the subject")
    return found


def maps_in(folder: Path) -> list[Path]:
    """The anomaly maps of a folder; at least one.

    Raises:
        MissingError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; check the path")
    found = sorted(folder.glob(f"*{MAP}"))
    if not found:
        raise MissingError(f"{folder}: no X{MAP} in this folder; run brainuad detect first")
    return found


def _of_folders(maps: Path, truth: Path) -> list[Pair]:
    if not maps.is_dir() or not truth.is_dir():
        lost = truth if maps.is_dir() else maps
        raise MissingError(f"{lost}: no such folder; check the path")
    found = maps_in(maps)
    result = [with_truth(path, truth) for path in found]
    _check_left_over(result, truth)
    return result


def from_row(row: Mapping[str, str], maps: Path, truth: Path) -> Pair:
    """A pair from a row of the table; maps are sought in their folder, masks beside the table."""
    if not row["map"]:
        raise DataError(f"{truth}: a row names no map; fill it in or delete the row")
    lesion, region, scan = (
        truth.parent / row[name] if row.get(name) else None for name in ("lesion", "region", "scan")
    )
    return Pair(
        anomaly=maps / row["map"],
        lesion=lesion,
        region=region,
        subject=row.get("subject") or row["map"].removesuffix(MAP),
        kind=row.get("kind") or ("lesion" if lesion else "clean"),
        scan=scan,
    )


def with_truth(anomaly: Path, folder: Path) -> Pair:
    """A map with the mask of the same name."""
    stem = anomaly.name.removesuffix(MAP)
    for tail in TRUTHS:
        if (folder / (stem + tail)).is_file():
            return Pair(
                anomaly=anomaly, lesion=folder / (stem + tail), region=None, subject=stem,
                kind="lesion",
            )  # fmt: skip
    raise MissingError(
        f"{folder}: no {stem}{TRUTHS[0]} for {anomaly.name}; add it, or name healthy scans in a "
        "table (columns map, lesion)"
    )


def _check_left_over(found: Sequence[Pair], folder: Path) -> None:
    """A truth without a map is a scan that would silently drop out of the numbers."""
    used = {pair.lesion for pair in found}
    named = {pair.lesion.name.removeprefix(pair.subject) for pair in found if pair.lesion}
    tails = tuple(tail for tail in TRUTHS[:-1] if tail in named)
    lost = sorted(p.name for p in folder.iterdir() if p.name.endswith(tails) and p not in used)
    if tails and lost:
        raise MissingError(
            f"{folder}: {listed(lost)} without a map; run detect on these scans too, or name the "
            "pairs that count in a table (columns map, lesion)"
        )


def _check_files(found: Iterable[Pair]) -> None:
    wanted = [p for pair in found for p in (pair.anomaly, pair.lesion, pair.region, pair.scan) if p]
    lost = [str(path) for path in wanted if not path.is_file()]
    if lost:
        raise MissingError(f"{listed(lost)}: no such file; check the table of pairs")


def _check_once(names: Sequence[str], what: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{listed(twice)}: {what} occurs twice; list each case once")


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
