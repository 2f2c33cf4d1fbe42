"""Pages made again from the files that ``detect`` and ``evaluate`` wrote."""

import csv
import json
from pathlib import Path
from typing import Any

from brainuad.nifti import read_mask, read_scan
from brainuad.report.comparison import leaderboard
from brainuad.report.found import page_of
from brainuad.report.pages import BenchmarkPage, benchmark_report, scan_report
from brainuad.report.planes import Volumes
from brainuad.report.tables import read_results
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, MissingError

TAIL = "_uad.json"


def records(folder: Path) -> list[Path]:
    """The records of finished scans in a folder, sorted.

    Raises:
        MissingError: no such folder, or neither a record nor a results.csv in it.
    """
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; give one that detect or evaluate wrote to")
    found = sorted(folder.glob(f"*{TAIL}"))
    if not found and not (folder / "results.csv").is_file():
        raise MissingError(
            f"{folder}: holds neither X{TAIL} nor results.csv; run detect or evaluate first"
        )
    return found


def rebuild_scan(path: Path) -> Path:
    """Write the page of the scan with this record."""
    record = read_record(path)
    files, preparation = record.get("files", {}), record.get("preparation", {})
    if "anomalymap" not in files:
        raise DataError(f"{path}: was written with --level minimal, so there is no map to show")
    scan = read_scan(found(preparation.get("input", {}).get("path"), path))
    volumes = Volumes(
        scan=scan.voxels,
        affine=scan.affine,
        anomaly=read_scan(path.parent / files["anomalymap"]).voxels,
        healthy=healthy(record, path.parent),
        mask=read_mask(path.parent / files["mask"], like=scan, empty=True),
        brain=brain(path.parent / files["anomalymap"], scan),
        threshold=(record.get("threshold") or {}).get("value"),
    )
    page = page_of(
        record,
        volumes=volumes,
        preparation=preparation,
        components=component_rows(path.parent / files["components"]),
        healthy_scores=tuple(record.get("healthy_scores", ())),
    )
    place = path.with_name(path.name.removesuffix(TAIL) + ".html")
    scan_report(place, page)
    return place


def read_record(path: Path) -> dict[str, Any]:
    """What an ``X_uad.json`` holds."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); run detect again") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: not the record of a scan; run detect again")
    return record


def found(source: str | None, path: Path) -> Path:
    """The scan that a record was made from."""
    if source is None or not Path(source).is_file():
        raise MissingError(
            f"{path}: was made from {source}, which is not there; run from the same folder"
        )
    return Path(source)


def healthy(record: dict[str, Any], folder: Path) -> Any:
    """The healthy counterpart, where the method has one."""
    if not record.get("healthy_counterpart"):
        return None
    return read_scan(folder / record["files"]["healthy"]).voxels


def brain(anomaly: Path, scan: Scan) -> Mask | None:
    """The brain mask, where it was written; else the pictures take the scan's background."""
    path = anomaly.with_name(anomaly.name.replace("_anomalymap", "_brain"))
    return read_mask(path, like=scan) if path.is_file() else None


def component_rows(path: Path) -> list[dict[str, Any]]:
    """The table of components with its numbers as numbers."""
    if not path.is_file():
        raise MissingError(f"{path}: no such file; run detect again")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    kinds = {"index": int}
    return [{k: kinds.get(k, float)(v) for k, v in row.items()} for row in rows]


def rebuild_table(folder: Path) -> Path:
    """Write ``index.html`` from ``results.csv``: the tables, without pictures."""
    rows = read_results(folder / "results.csv")
    place = folder / "index.html"
    page = BenchmarkPage(
        title=f"Results in {folder.resolve().name}",
        summary=f"{len(rows)} numbers read from results.csv.",
        boards=leaderboard(rows),
    )
    benchmark_report(place, page)
    return place
