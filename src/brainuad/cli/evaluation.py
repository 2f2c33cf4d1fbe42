"""Maps and lesion masks in folders or tables, to cases, to results."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainuad.cli.against import differences, in_words, lines
from brainuad.cli.basics import progress_bar
from brainuad.cli.groups import with_groups
from brainuad.cli.pairs import Pair, listed, pairs
from brainuad.cli.validation import validation_pairs
from brainuad.detector import Detector
from brainuad.evaluate.case import Case
from brainuad.evaluate.measure import PLAIN
from brainuad.evaluate.protocols import Evaluation, evaluate, protocol_called
from brainuad.evaluate.strata import small_groups
from brainuad.manifest import run_manifest, write_text
from brainuad.nifti import read_scan
from brainuad.postprocess import Postprocess
from brainuad.report.comparison import headline, leaderboard, picks, result_charts
from brainuad.report.pages import BenchmarkPage, benchmark_report
from brainuad.report.pages import Case as Shown
from brainuad.report.planes import Volumes
from brainuad.report.tables import write_results
from brainuad.types import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an evaluation was asked for."""

    maps: Path
    truth: Path
    out: Path
    protocol: str = "brainuad"
    model: Path | None = None
    validation: tuple[Path | None, Path | None] = (None, None)
    """Maps and truth from which some protocols take their threshold."""
    subjects: Path | None = None
    """Table of subjects, by which results are split."""
    by: str = ""
    """Its columns, with commas between."""
    against: Sequence[Path] = ()
    """Results of other methods on the same cases."""
    dataset: str = ""
    namesakes: bool = False
    """Whether subjects with the names of those that the detector has seen are other people."""
    seed: int = 0
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Marking:
    """How maps become masks, and whose scans may not be tested."""

    thresholds: Mapping[float, float] = field(default_factory=dict)
    postprocess: Postprocess = PLAIN
    seen: Collection[str] = ()
    """Subjects that the detector was fitted or calibrated on."""


def marking_of(found: Sequence[Pair], model: Path | None) -> Marking:
    """Thresholds and component filter of the detector, or the one threshold of all records.

    Raises:
        DataError: the maps were made with different thresholds, or the detector has none.
        MissingError: no such detector.
    """
    if model is None:
        return Marking(thresholds=thresholds_of(found))
    detector = Detector.load(model)
    if detector.calibration is None:
        raise DataError(f"{model}: has no thresholds; run brainuad calibrate first")
    fitted = detector.config.provenance.get("inputs", {})
    return Marking(
        thresholds=dict(detector.calibration.thresholds),
        postprocess=detector.config.postprocess,
        seen={*fitted, *detector.calibration.subjects},
    )


def thresholds_of(found: Sequence[Pair]) -> dict[float, float]:
    """The threshold that all records share; none where a record is missing."""
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


def check_unseen(found: Sequence[Pair], seen: Collection[str], model: Path | None) -> None:
    """Refuse scans of subjects that the detector has seen, with all their names."""
    both = [pair.subject for pair in found if set(pair.names) & set(seen)]
    if both:
        raise DataError(
            f"{listed(both)}: in both training and test ({model} was fitted or calibrated on "
            "subjects of these names); take them out of one of them, or give --namesakes if they "
            "are other people"
        )


def run_evaluation(asked: Asked) -> tuple[Path, list[str]]:
    """Evaluate and write ``results.csv``, ``cases.csv`` and ``index.html``.

    With other results to compare with also ``differences.csv``. Nothing is written before every
    number is there.

    Returns:
        The page, and what to tell the person: the main numbers, then remarks.
    """
    chosen = protocol_called(asked.protocol)
    found, keys = with_groups(pairs(asked.maps, asked.truth), asked.subjects, asked.by)
    others = validation_pairs(chosen, *asked.validation)
    if chosen.judge is not None and asked.model is not None:
        raise UsageError(f"protocol {chosen.name}: has thresholds of its own; leave --model out")
    marking = Marking() if chosen.judge is not None else marking_of(found, asked.model)
    check_unseen(found, () if asked.namesakes else marking.seen, asked.model)
    result = evaluate(
        followed(found, quiet=asked.quiet),
        thresholds=marking.thresholds,
        protocol=chosen,
        validation=None
        if others is None
        else followed(others, quiet=asked.quiet, doing="validation"),
        seed=asked.seed,
        postprocess=marking.postprocess,
    )
    first = found[0].record
    method, preset = first.get("method", asked.maps.resolve().name), first.get("preset", "")
    name = asked.dataset or asked.truth.resolve().stem
    rows = [row.named(dataset=name, method=method, preset=preset) for row in result.rows]
    compared = differences(result.cases, rows, asked.against, seed=asked.seed)
    remarks = [
        *([chosen.warning] if chosen.warning else []),
        *chosen.remarks,
        *without_scan(found),
        *small_groups(result.cases, keys if chosen.unit == "scan" else ()),
        *in_words(compared),
    ]
    page = BenchmarkPage(
        title=f"{method} on {name}",
        summary=f"{len(found)} maps against their truth, protocol {chosen.name}: {chosen.title}.",
        boards=leaderboard(rows),
        charts=result_charts({method: result}) if chosen.unit == "scan" else (),
        cases=[*gallery(found, result, method, marking)],
        notes=remarks,
        manifest=run_manifest(
            command="brainuad evaluate",
            config={"protocol": chosen.name, "by": keys},
            seed=asked.seed,
        ),
    )
    write_results(asked.out / "results.csv", rows)
    write_text(asked.out / "cases.csv", csv_text(result.cases))
    if compared:
        write_text(asked.out / "differences.csv", csv_text(lines(compared)))
    benchmark_report(asked.out / "index.html", page)
    said = [f"warning: {text}" if text == chosen.warning else text for text in remarks]
    return asked.out / "index.html", [*headline(rows), *said]


def without_scan(found: Sequence[Pair]) -> list[str]:
    """A remark on healthy scans whose counterpart is there but not the scan itself."""
    lost = [p.subject for p in found if p.kind == "clean" and p.has_counterpart and not p.source]
    if not lost:
        return []
    return [
        f"restoration error: left out for {listed(lost)}, whose scans were not found; "
        "name them in the table (column scan)"
    ]


def followed(found: Sequence[Pair], *, quiet: bool, doing: str = "evaluate") -> Iterator[Case]:
    """The cases one by one, with a progress bar."""
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task(doing, total=len(found))
        for pair in found:
            yield pair.case()
            bar.advance(task)


def gallery(
    found: Sequence[Pair], result: Evaluation, method: str, marking: Marking
) -> Iterator[Shown]:
    """The best, the median and the worst case."""
    by_name = {pair.subject: pair for pair in found if pair.kind == "lesion"}
    thresholds, post = marking.thresholds, marking.postprocess
    threshold = thresholds.get(0.01, next(iter(thresholds.values()), None))
    for pick in picks(result.cases):
        pair = by_name[pick.subject]
        case = pair.case()
        volumes = Volumes(
            scan=scan_of(pair, case),
            affine=read_scan(pair.anomaly, constant=True).affine,
            anomaly=case.anomaly,
            mask=None if threshold is None else post.mask(case.anomaly, threshold, case.spacing),
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
    return case.anomaly if pair.source is None else read_scan(pair.source).voxels


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with the columns of all of them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
