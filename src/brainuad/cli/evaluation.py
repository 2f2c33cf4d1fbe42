"""Maps and lesion masks in folders or tables, to cases, to results."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from brainuad.cli.basics import progress_bar, say
from brainuad.cli.inputs import table
from brainuad.detector import Detector
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocols import Evaluation, Protocol, evaluate, protocol_called
from brainuad.manifest import run_manifest, write_text
from brainuad.nifti import read_mask, read_scan
from brainuad.report.comparison import leaderboard, picks, result_charts
from brainuad.report.pages import BenchmarkPage, benchmark_report
from brainuad.report.pages import Case as Shown
from brainuad.report.planes import Volumes
from brainuad.report.tables import write_results
from brainuad.scan import Scan
from brainuad.types import DataError, MissingError, UsageError

MAP = "_anomalymap.nii.gz"
TRUTHS = ("_lesion.nii.gz", "_label-lesion_mask.nii.gz", "_mask.nii.gz", "_gt.nii.gz", ".nii.gz")
COLUMNS = ("map", "lesion", "region", "subject", "kind")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A map and its truth."""

    anomaly: Path
    lesion: Path | None
    region: Path | None
    subject: str
    kind: str

    @property
    def record(self) -> dict[str, Any]:
        """What ``X_uad.json`` beside the map says; empty where there is none."""
        path = self.anomaly.with_name(self.anomaly.name.replace(MAP, "_uad.json"))
        return json.loads(path.read_text()) if path.is_file() and path != self.anomaly else {}

    def case(self) -> Case:
        """Everything that is judged."""
        scan = read_scan(self.anomaly, subject=self.subject)
        lesion = self.lesion and read_mask(self.lesion, like=scan, empty=True)
        return Case(
            subject=self.subject,
            kind=self.kind,
            anomaly=scan.voxels,
            lesion=lesion if self.kind != "clean" else None,
            region=self.scored(scan),
            spacing=scan.spacing,
        )

    def scored(self, scan: Scan) -> Any:
        """The region given, or the brain mask beside the map, or all voxels with a value."""
        beside = self.anomaly.with_name(self.anomaly.name.replace(MAP, "_brain.nii.gz"))
        path = self.region or (beside if beside.is_file() else None)
        return scan.voxels > 0 if path is None else read_mask(path, like=scan)


def pairs(maps: Path, truth: Path) -> list[Pair]:
    """Maps with their truth, from a folder of masks or from a table.

    Raises:
        MissingError: no map, or a map without a truth.
    """
    if truth.suffix in (".tsv", ".csv"):
        rows = table(truth, needed=("map", "lesion"), known=COLUMNS)
        return [from_row(row, maps, truth.parent) for row in rows]
    if not maps.is_dir() or not truth.is_dir():
        lost = truth if maps.is_dir() else maps
        raise MissingError(f"{lost}: no such folder; check the path")
    return [with_truth(path, truth) for path in maps_in(maps)]


def from_row(row: Mapping[str, str], maps: Path, base: Path) -> Pair:
    """A pair from a row of the table; maps are sought in their folder, masks beside the table."""
    lesion = base / row["lesion"] if row["lesion"] else None
    return Pair(
        anomaly=maps / row["map"],
        lesion=lesion,
        region=base / row["region"] if row.get("region") else None,
        subject=row.get("subject") or row["map"].removesuffix(MAP),
        kind=row.get("kind") or ("lesion" if lesion else "clean"),
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


def validation_pairs(chosen: Protocol, maps: Path | None, truth: Path | None) -> list[Pair] | None:
    """Maps from which a protocol takes its threshold; None where it takes none.

    Raises:
        UsageError: they are missing, or given without need.
        MissingError: no map in the folder, or a map without a truth.
    """
    if chosen.validation is None or maps is None:
        if maps is not None or truth is not None:
            raise UsageError(f"protocol {chosen.name}: {_unwanted(chosen, maps)}")
        return None
    if truth is not None:
        return pairs(maps, truth)
    if chosen.validation == "lesion":
        raise UsageError(
            f"protocol {chosen.name}: needs the lesions of its validation scans; give "
            "--validation-truth FOLDER or TSV as well"
        )
    return [
        Pair(anomaly=path, lesion=None, region=None, subject=stem, kind="clean")
        for path in maps_in(maps)
        for stem in [path.name.removesuffix(MAP)]
    ]


def _unwanted(chosen: Protocol, maps: Path | None) -> str:
    if chosen.validation is None:
        return "takes no validation scans; leave --validation and --validation-truth out"
    return "--validation-truth is given without maps; give --validation FOLDER as well"


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


def thresholds_of(found: Sequence[Pair], model: Path | None) -> dict[float, float]:
    """Thresholds from the detector, or the one that all records share; else none.

    Raises:
        DataError: the maps were made with different thresholds.
    """
    if model is not None:
        detector = Detector.load(model)
        if detector.calibration is None:
            raise DataError(f"{model}: has no thresholds; run brainuad calibrate first")
        return dict(detector.calibration.thresholds)
    known = [pair.record.get("threshold") for pair in found]
    if not all(known):
        return {}
    values = {(float(t["rate"]), float(t["value"])) for t in known if t}
    if len(values) > 1:
        raise DataError(
            f"{found[0].anomaly.parent}: maps with {len(values)} different thresholds; evaluate "
            "the maps of one detector at a time"
        )
    return dict(values)


def run_evaluation(
    maps: Path,
    truth: Path,
    out: Path,
    *,
    protocol: str,
    model: Path | None,
    validation: tuple[Path | None, Path | None] = (None, None),
    dataset: str,
    seed: int,
    quiet: bool,
) -> Path:
    """Evaluate and write ``results.csv``, ``cases.csv`` and ``index.html``.

    ``validation`` names maps and truth from which some protocols take their threshold.
    """
    chosen = protocol_called(protocol)
    others = validation_pairs(chosen, *validation)
    found = pairs(maps, truth)
    if chosen.judge is not None and model is not None:
        raise UsageError(f"protocol {protocol}: has thresholds of its own; leave --model out")
    thresholds = thresholds_of(found, model) if chosen.judge is None else {}
    result = evaluate(
        followed(found, quiet=quiet),
        thresholds=thresholds,
        protocol=chosen,
        validation=None if others is None else followed(others, quiet=quiet, doing="validation"),
        seed=seed,
    )
    if chosen.warning:
        say(f"[bold yellow]warning:[/bold yellow] {escape(chosen.warning)}")
    first = found[0].record
    method, preset = first.get("method", maps.resolve().name), first.get("preset", "")
    name = dataset or truth.resolve().stem
    rows = [row.named(dataset=name, method=method, preset=preset) for row in result.rows]
    write_results(out / "results.csv", rows)
    write_text(out / "cases.csv", csv_text(result.cases))
    notes = [*([chosen.warning] if chosen.warning else []), *chosen.remarks]
    page = BenchmarkPage(
        title=f"{method} on {name}",
        summary=f"{len(found)} maps against their truth, protocol {protocol}: {chosen.title}.",
        boards=leaderboard(rows),
        charts=result_charts({method: result}) if chosen.unit == "scan" else (),
        cases=[*gallery(found, result, method, thresholds)],
        notes=notes,
        manifest=run_manifest(
            command="brainuad evaluate", config={"protocol": protocol}, seed=seed
        ),
    )
    benchmark_report(out / "index.html", page)
    return out / "index.html"


def followed(found: Sequence[Pair], *, quiet: bool, doing: str = "evaluate") -> Iterator[Case]:
    """The cases one by one, with a progress bar."""
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task(doing, total=len(found))
        for pair in found:
            yield pair.case()
            bar.advance(task)


def gallery(
    found: Sequence[Pair], result: Evaluation, method: str, thresholds: Mapping[float, float]
) -> Iterator[Shown]:
    """The best, the median and the worst case."""
    by_name = {pair.subject: pair for pair in found}
    threshold = thresholds.get(0.01, next(iter(thresholds.values()), None))
    for pick in picks(result.cases):
        pair = by_name[pick.subject]
        case = pair.case()
        volumes = Volumes(
            scan=scan_of(pair, case),
            affine=read_scan(pair.anomaly).affine,
            anomaly=case.anomaly,
            mask=None if threshold is None else case.anomaly > threshold,
            lesion=case.lesion,
            brain=case.region,
            threshold=threshold,
        )
        yield Shown(
            method=method,
            name=f"{pick.why}: {pick.subject}",
            number=f"AUPRC {pick.auprc:.2f}",
            volumes=volumes,
        )


def scan_of(pair: Pair, case: Case) -> Any:
    """The scan that the map was made from, where it can be found; else the map itself."""
    source = pair.record.get("preparation", {}).get("input", {}).get("path")
    return read_scan(source).voxels if source and Path(source).is_file() else case.anomaly


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with the columns of all of them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
