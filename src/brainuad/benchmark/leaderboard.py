"""The leaderboard of a grid: a page, and the same table as CSV, Markdown and LaTeX."""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brainuad.benchmark import anchors
from brainuad.benchmark.grid import Cell, Grid, cells, is_done
from brainuad.benchmark.page import STILL
from brainuad.evaluate.case import Row
from brainuad.evaluate.statistics import holm, paired_difference
from brainuad.manifest import run_manifest, write_text
from brainuad.report import charts
from brainuad.report.comparison import MAIN, leaderboard
from brainuad.report.formats import latex, markdown
from brainuad.report.pages import BenchmarkPage, Board, Chart, Linked, benchmark_report
from brainuad.report.tables import read_results, write_results
from brainuad.types import DataError

RANKED_BY = MAIN[0]
COSTS = ("seconds_per_scan", "parameters")
Line = tuple[str, str, str]
"""Data set, method and preset."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a cell has written."""

    cell: Cell
    rows: list[Row]
    cases: list[dict[str, str]]


def collect(grid: Grid, out: Path) -> list[Found]:
    """What every finished cell of a grid has written.

    Raises:
        DataError: no cell is finished.
    """
    found = []
    for cell in cells(grid):
        if not is_done(cell, grid, out):
            continue
        folder = out / cell.name
        with (folder / "per_case.csv").open(newline="", encoding="utf-8") as handle:
            cases = list(csv.DictReader(handle))
        rows = [replace(row, seed=cell.seed) for row in read_results(folder / "results.csv")]
        found.append(Found(cell=cell, rows=rows, cases=cases))
    if not found:
        raise DataError(f"{out}: no cell of the grid is finished; see its errors above")
    return found


def write_leaderboard(grid: Grid, out: Path) -> Path:
    """Write ``leaderboard.csv``, ``.md``, ``.tex`` and ``index.html`` from the finished cells."""
    found = collect(grid, out)
    write_results(out / "leaderboard.csv", [row for each in found for row in each.rows])
    ranked = ranking([row for each in found for row in each.rows])
    datasets = list(dict.fromkeys(row.dataset for row in ranked))
    main = [row for row in ranked if row.metric in (*MAIN, *COSTS)]
    tables = [[row for row in main if row.dataset == name] for name in datasets]
    write_text(out / "leaderboard.md", "\n".join(map(markdown, tables)))
    write_text(out / "leaderboard.tex", "\n".join(map(latex, tables)))
    missing = [cell.name for cell in cells(grid) if cell not in [each.cell for each in found]]
    page = BenchmarkPage(
        title="Leaderboard",
        summary=summary(grid, len(found)),
        boards=[b for name in datasets for b in _boards(name, ranked, found)]
        + [board for name in grid.benchmarks for board in anchors.beside(name)],
        charts=[_scatter(name, ranked, found) for name in datasets],
        linked=[_linked(each, out) for each in found],
        notes=[f"not finished: {name}" for name in missing],
        manifest=run_manifest(command="benchmark GRID", config={"methods": list(grid.methods)}),
    )
    benchmark_report(out / "index.html", page)
    return out / "index.html"


def summary(grid: Grid, finished: int) -> str:
    """What is compared, in a sentence or two."""
    seeds = ", ".join(map(str, grid.seeds))
    few = " Small subsets of the cases, not for comparing." if grid.mini else ""
    return (
        f"{finished} of {len(cells(grid))} cells: {', '.join(grid.benchmarks)}; methods: "
        f"{len(grid.methods)}; seeds: {seeds}. Each line is the seed with the median of its first "
        f"column.{few}"
    )


def ranking(rows: Sequence[Row]) -> list[Row]:
    """The rows of the median seed of every line, best line first within a data set."""
    lines: dict[Line, list[Row]] = defaultdict(list)
    for row in rows:
        lines[row.dataset, row.method, row.preset].append(row)
    chosen = {line: _median_seed(own) for line, own in lines.items()}
    places = {name: n for n, name in enumerate(dict.fromkeys(line[0] for line in lines))}
    order = sorted(chosen, key=lambda line: (places[line[0]], -_value(chosen[line])))
    return [row for line in order for row in chosen[line]]


def _median_seed(rows: Sequence[Row]) -> list[Row]:
    of_seed = {row.seed: row.value for row in rows if row.metric == RANKED_BY}
    ranked = sorted(of_seed, key=lambda seed: (of_seed[seed], seed))
    seed = ranked[(len(ranked) - 1) // 2] if ranked else rows[0].seed
    return [row for row in rows if row.seed == seed]


def _value(rows: Sequence[Row]) -> float:
    value = next((row.value for row in rows if row.metric == RANKED_BY), math.nan)
    return -math.inf if math.isnan(value) else value


def _boards(name: str, ranked: Sequence[Row], found: Sequence[Found]) -> list[Board]:
    rows = [row for row in ranked if row.dataset == name]
    more = Board(title="Costs", rows=[row for row in rows if row.metric in COSTS])
    boards = [*leaderboard(rows), differences(name, rows, found), seeds(name, found), more]
    return [replace(b, title=f"{name}: {b.title}") for b in boards if b.rows]


def differences(name: str, ranked: Sequence[Row], found: Sequence[Found]) -> Board:
    """Every line against the first one, on the same subjects."""
    lines = list(dict.fromkeys((r.dataset, r.method, r.preset) for r in ranked))
    seed = {(r.dataset, r.method, r.preset): r.seed for r in ranked}
    scores = {line: subjects(line, seed[line], found) for line in lines}
    best, others = lines[0], [line for line in lines[1:] if scores[line]]
    shared = {line: sorted(scores[best].keys() & scores[line].keys()) for line in others}
    tests = {
        line: paired_difference(
            [scores[line][s] for s in shared[line]], [scores[best][s] for s in shared[line]], seed=0
        )
        for line in others
        if shared[line]
    }
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    rows = [
        Row(
            dataset=name,
            method=line[1],
            preset=line[2],
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=test.n,
            protocol="paired by subject",
            threshold_source="none",
        )
        for line, test in tests.items()
        for metric, value, low, high in (
            ("difference of AUPRC", test.value, test.low, test.high),
            ("p (Holm)", adjusted[line], math.nan, math.nan),
        )
    ]
    return Board(
        title=f"Differences to {best[1]}, {best[2]}",
        rows=rows,
        note="AUPRC of each subject minus that of the first line, mean with a BCa interval; p from "
        "a permutation test of the signs, adjusted for the number of lines.",
    )


def subjects(line: Line, seed: int, found: Sequence[Found]) -> dict[str, float]:
    """AUPRC by subject of a line."""
    return {
        case["subject"]: float(case["auprc"])
        for each in found
        for case in each.cases
        if each.cell.seed == seed
        and (case["dataset"], case["method"], case["preset"]) == line
        and case["kind"] == "lesion"
        and case["auprc"]
    }


def seeds(name: str, found: Sequence[Found]) -> Board:
    """The range of each main metric over the seeds; empty for one seed."""
    values: dict[tuple[Line, str], list[float]] = defaultdict(list)
    for row in (row for each in found for row in each.rows):
        if row.dataset == name and row.metric in MAIN:
            values[(row.dataset, row.method, row.preset), row.metric].append(row.value)
    rows = [
        Row(
            dataset=line[0],
            method=line[1],
            preset=line[2],
            metric=metric,
            value=float(np.mean(own)),
            low=min(own),
            high=max(own),
            n=len(own),
            protocol="range over seeds",
            threshold_source="none",
        )
        for (line, metric), own in values.items()
        if len(own) > 1
    ]
    note = "Mean over seeds; in brackets the least and the largest, not an interval over subjects."
    return Board(title="Spread over seeds", rows=rows, note=note)


def _scatter(name: str, ranked: Sequence[Row], found: Sequence[Found]) -> Chart:
    """The subjects of every line, in the order of the table and of the same seed."""
    seed = {(r.dataset, r.method, r.preset): r.seed for r in ranked if r.dataset == name}
    own = {
        f"{line[1]}-{line[2]}": list(subjects(line, number, found).values())
        for line, number in seed.items()
    }
    figure = charts.strip(own, y="AUPRC", limits=(0.0, 1.02))
    return Chart(title=f"{name}: subjects one by one", figure=figure, caption="Bars: means.")


def _linked(found: Found, out: Path) -> Linked:
    name = found.cell.name
    still = f"{name}/{STILL}"
    return Linked(
        name=name, page=f"{name}/index.html", picture=still if (out / still).is_file() else ""
    )
