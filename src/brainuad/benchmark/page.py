"""The page and the files of a benchmark."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.benchmark.baselines import baselines
from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.entries import Entry
from brainuad.benchmark.found import load_kept, read_case
from brainuad.benchmark.task import BenchmarkData
from brainuad.detector import Detector
from brainuad.evaluate.case import Row
from brainuad.evaluate.protocols import Evaluation
from brainuad.manifest import write_bytes, write_text
from brainuad.report import figures, pages
from brainuad.report.comparison import MAIN, leaderboard, picks, result_charts
from brainuad.report.planes import Volumes

MORE = (
    "dice_at_fpr_0.01_pooled",
    "dice_oracle_subject",
    "healthy_fpr",
    "prevalence",
    "seconds_per_scan",
    "parameters",
)
"""Metrics of the last table; all others are in results.csv."""
STILL = "median.png"
"""Beside the page: the picture of its median case."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One entry on one task."""

    task: BenchmarkData
    entry: Entry
    detector: Detector
    maps: Path
    evaluation: Evaluation
    rows: list[Row]


def write_cases(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One line per case and entry."""
    lines = [
        {"dataset": o.task.name, "method": o.entry.method, "preset": o.entry.preset, **record}
        for o in outcomes
        for record in o.evaluation.cases
    ]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())


def write_page(
    path: Path,
    outcomes: Sequence[Outcome],
    *,
    title: str,
    summary: str,
    benchmarks: Path,
    failures: Mapping[str, str],
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """The page of a benchmark: tables, simple methods beside them, pictures, curves."""
    tasks = list({o.task.name: o.task for o in outcomes}.values())
    cases = [c for o in outcomes for c in _pictures(o)]
    write_still(path.with_name(STILL), cases)
    boards = [b for task in tasks for b in _boards(task, outcomes, benchmarks)]
    page = pages.BenchmarkPage(
        title=title,
        summary=summary,
        boards=boards,
        facts=facts,
        charts=[c for task in tasks for c in _charts(task, outcomes)],
        cases=cases,
        notes=[note for task in tasks for note in task.notes],
        failures=failures,
        manifest=manifest,
    )
    pages.benchmark_report(path, page)


def write_still(path: Path, cases: Sequence[pages.Case]) -> None:
    """The first case with a median result as a picture; nothing where there is none."""
    shown = next((case for case in cases if "(median)" in case.name), next(iter(cases), None))
    if shown is not None:
        figure = figures.montage(shown.volumes, count=1, across="panels")
        write_bytes(path, figures.png(figure))


def _boards(
    task: BenchmarkData, outcomes: Sequence[Outcome], benchmarks: Path
) -> list[pages.Board]:
    rows = [row for o in outcomes for row in o.rows if o.task.name == task.name]
    simple = baselines(task, benchmarks)
    more = pages.Board(title="Rates and costs", rows=_of(MORE, rows), references=_of(MORE, simple))
    boards = [*leaderboard(rows, _of(MAIN, simple)), more]
    return [replace(board, title=f"{task.name}: {board.title}") for board in boards]


def _of(metrics: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    return [row for name in metrics for row in rows if row.metric == name]


def _charts(task: BenchmarkData, outcomes: Sequence[Outcome]) -> list[pages.Chart]:
    own = {o.entry.label: o.evaluation for o in outcomes if o.task.name == task.name}
    return [replace(chart, title=f"{task.name}: {chart.title}") for chart in result_charts(own)]


def _pictures(outcome: Outcome) -> list[pages.Case]:
    """The best, the median and the worst lesion case, and a clean one."""
    cases = {(case.subject, case.kind): case for case in outcome.task.cases}
    shown = [
        _picture(outcome, cases[pick.subject, "lesion"], pick.why, f"AUPRC {pick.auprc:.2f}")
        for pick in picks(outcome.evaluation.cases)
    ]
    clean = [case for case in outcome.task.cases if case.kind == "clean"][:1]
    return shown + [_picture(outcome, case, "clean", "") for case in clean]


def _picture(outcome: Outcome, case: TestCase, word: str, number: str) -> pages.Case:
    scan, truth, region = read_case(case, outcome.task.modality)
    path = outcome.maps / f"{case.name}.npz"
    kept = load_kept(path) if path.exists() else None
    anomaly = np.zeros_like(scan.voxels) if kept is None else kept.anomaly
    calibration = outcome.detector.calibration
    threshold = 0.0 if calibration is None else calibration.threshold(0.01)
    mask = outcome.detector.config.postprocess.mask(anomaly, threshold, scan.spacing)
    return pages.Case(
        method=f"{outcome.task.name}: {outcome.entry.label}",
        name=f"{case.name} ({word})",
        volumes=Volumes(
            scan=scan.voxels,
            affine=scan.affine,
            healthy=None if kept is None else kept.healthy,
            anomaly=anomaly,
            mask=mask,
            lesion=truth if truth.any() else None,
            brain=region,
            threshold=threshold or None,
        ),
        number=number,
    )
