"""A grid of phantoms: every cell once, what is done is kept, one failure stops no other."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmark.test_run import as_they_are, plain_page  # noqa: F401 - a fixture

from brainuad.benchmark import LOADERS, grid, leaderboard
from brainuad.benchmark.grid import Cell, Grid, Ran, cells, run_grid
from brainuad.benchmark.leaderboard import summary
from brainuad.benchmark.run import RunSettings
from brainuad.evaluate.case import Row
from brainuad.report.tables import read_results
from brainuad.types import DataError, UsageError

GRID = Grid(
    benchmarks=("ixi-stroke",),
    methods=("intensity:dark", "intensity:bright", "dae:tiny@2"),
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def out(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ran]]:
    folder = tmp_path_factory.mktemp("grid") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "ixi-stroke", as_they_are)
        patch.setattr(grid, "RunSettings", partial(RunSettings, resamples=50))
        ran = list(run_grid(GRID, data=shared, out=folder, progress=False))
    return folder, ran


def test_every_cell_has_its_folder_and_its_seed(out):
    folder, ran = out
    assert {r.cell for r in ran} == set(cells(GRID))
    assert not any(r.error or r.known for r in ran)
    for cell in cells(GRID):
        rows = read_results(folder / cell.name / "results.csv")
        assert {row.seed for row in rows} == {cell.seed}
        assert (folder / cell.name / "median.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_kept_and_what_is_lost_is_run_again(out, shared, monkeypatch):
    folder, _ = out
    monkeypatch.setitem(LOADERS, "ixi-stroke", as_they_are)
    lost = cells(GRID)[1]
    shutil.rmtree(folder / lost.name)
    ran = {r.cell: r.known for r in run_grid(GRID, data=shared, out=folder, progress=False)}
    assert ran == {cell: cell != lost for cell in cells(GRID)}


@pytest.mark.parametrize("mini", [False, True])
def test_the_page_says_what_is_compared_and_whether_on_few_cases(mini):
    said = summary(dataclasses.replace(GRID, mini=mini), 5)
    assert said.startswith("5 of 6 cells: ixi-stroke; methods: 3; seeds: 0, 1.")
    assert ("not for comparing" in said) == mini


def test_a_failure_stops_no_other_cell(shared, tmp_path, monkeypatch):
    def failing(name: str, *, methods: list[str], out: Path, **_: Any) -> None:
        if methods == ["intensity:bright"]:
            raise DataError("no light")
        out.mkdir(parents=True)

    monkeypatch.setattr(grid, "run_benchmark", failing)
    monkeypatch.setattr(grid, "prepare_benchmark", lambda *_, **__: None)
    one = Grid(benchmarks=("mslub",), methods=("intensity:dark", "intensity:bright"))
    ran = list(run_grid(one, data=shared, out=tmp_path, progress=False))
    assert {r.cell.method: r.error for r in ran} == {
        "intensity:dark": "",
        "intensity:bright": "no light",
    }
    with pytest.raises(DataError, match="no cell of the grid is finished"):
        leaderboard.collect(Grid(benchmarks=("mslub",), methods=("dae",)), tmp_path)


def test_cells_of_other_settings_are_not_mixed_in(out, shared):
    folder, _ = out
    other = Grid(benchmarks=GRID.benchmarks, methods=GRID.methods, seeds=GRID.seeds, mini=True)
    with pytest.raises(UsageError, match="was run with other settings; delete it or choose"):
        list(run_grid(other, data=shared, out=folder, progress=False))


def test_the_leaderboard_holds_every_cell_and_ranks_by_the_median_seed(out):
    folder, _ = out
    page = leaderboard.write_leaderboard(GRID, folder)
    text = page.read_text()
    rows = read_results(folder / "leaderboard.csv")
    assert {(r.method, r.preset, r.seed) for r in rows} == {
        (m, p, s)
        for m, p in (("intensity", "dark"), ("intensity", "bright"), ("dae", "tiny"))
        for s in (0, 1)
    }
    for word in ("Spread over seeds", "Differences to", "Published: UAD-IMAG", "median.png"):
        assert word in text
    for cell in cells(GRID):
        assert f"{cell.name}/index.html" in text
    lines = (folder / "leaderboard.md").read_text().splitlines()[2:]
    values = [float(line.split(" | ")[2].split()[0]) for line in lines]
    assert values == sorted(values, reverse=True)
    assert (folder / "leaderboard.tex").read_text().count(r"\\") == 4


def row(method: str, seed: int, value: float, metric: str = "auprc_subject") -> Row:
    return Row(
        dataset="d", method=method, preset="p", seed=seed, metric=metric, value=value, low=0.0,
        high=1.0, n=3, protocol="local", threshold_source="none",
    )  # fmt: skip


def test_the_seed_in_the_middle_stands_for_the_line():
    rows = [row("a", s, v) for s, v in enumerate((0.3, 0.9, 0.4))] + [row("b", 0, 0.5)]
    rows += [row("a", 2, 7.0, "other"), row("a", 1, 8.0, "other"), row("c", 0, float("nan"))]
    assert [(r.method, r.seed, r.value) for r in leaderboard.ranking(rows)[:-1]] == [
        ("b", 0, 0.5),
        ("a", 2, 0.4),
        ("a", 2, 7.0),
    ]


def found(method: str, scores: list[float]) -> leaderboard.Found:
    cases = [
        {"dataset": "d", "method": method, "preset": "p", "subject": f"s{n}", "kind": "lesion",
         "auprc": str(v)} for n, v in enumerate(scores)
    ]  # fmt: skip
    cell = Cell(benchmark="mslub", method="dae", seed=0)
    mean = float(np.mean(scores))
    return leaderboard.Found(cell=cell, rows=[row(method, 0, mean)], cases=cases)


def test_differences_are_paired_by_subject():
    draw = np.random.default_rng(0)
    best = draw.uniform(0.2, 0.9, 20)
    worse = best - 0.1 + 0.01 * draw.standard_normal(20)
    parts = [found("a", best.tolist()), found("b", worse.tolist()), found("c", best.tolist())]
    rows = leaderboard.ranking([r for each in parts for r in each.rows])
    board = leaderboard.differences("d", rows, parts)
    cells_of = {(r.method, r.metric): r for r in board.rows}
    change = cells_of["b", "difference of AUPRC"]
    assert change.value == pytest.approx(float(np.mean(worse - best)))
    assert change.low < change.value < change.high < 0
    assert cells_of["b", "p (Holm)"].value < 0.001
    assert cells_of["c", "difference of AUPRC"].value == 0
    assert cells_of["c", "p (Holm)"].value == 1


def test_the_range_over_seeds_is_no_interval():
    parts = [
        leaderboard.Found(cell=Cell(benchmark="mslub", method="dae", seed=s),
                          rows=[row("a", s, v)], cases=[])
        for s, v in enumerate((0.2, 0.5, 0.8))
    ]  # fmt: skip
    (only,) = leaderboard.seeds("d", parts).rows
    assert (only.value, only.low, only.high, only.n) == (pytest.approx(0.5), 0.2, 0.8, 3)
    assert not leaderboard.seeds("d", parts[:1]).rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmarks": ()}, "grid: benchmarks is empty"),
        ({"seeds": (1, 1)}, "grid: seeds names 1 twice"),
        ({"benchmarks": ("moon",)}, "grid: benchmark 'moon' unknown; choose from ixi-stroke"),
        ({"methods": ("nothing",)}, "nothing"),
        ({"training": {"stepss": 2}}, "training.*stepss"),
    ],
)
def test_grids_that_cannot_be_run(change, message):
    settings: dict[str, Any] = {"benchmarks": ("mslub",), "methods": ("dae",), **change}
    with pytest.raises(UsageError, match=message):
        Grid(**settings)


def test_a_grid_is_a_file(tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text("benchmarks: [mslub]\nmethods: ['dae:small@9m']\nseeds: [3]\n")
    assert Grid.read(path) == Grid(benchmarks=("mslub",), methods=("dae:small@9m",), seeds=(3,))
    path.write_text("benchmarks: [mslub]\nmethod: [dae]\n")
    with pytest.raises(UsageError, match="method"):
        Grid.read(path)


def test_files_of_settings_lie_beside_the_grid(tmp_path):
    (tmp_path / "mine.yaml").write_text("{method: dae, preset: tiny}", encoding="utf-8")
    path = tmp_path / "grid.yaml"
    path.write_text("{benchmarks: [ixi-stroke], methods: [mine.yaml, dae]}", encoding="utf-8")
    made = Grid.read(path)
    assert made.methods == (str(tmp_path / "mine.yaml"), "dae")
    assert [cell.name for cell in cells(made)] == [
        "ixi-stroke/mine-seed0",
        "ixi-stroke/dae-default-seed0",
    ]
    before = [grid.asked(cell, made) for cell in cells(made)]
    (tmp_path / "mine.yaml").write_text("{method: dae, preset: dark}", encoding="utf-8")
    after = [grid.asked(cell, made) for cell in cells(made)]
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize("methods", ["dae", "[5]", "{dae: 1}"])
def test_methods_that_are_no_list_of_words_are_refused(tmp_path, methods):
    path = tmp_path / "grid.yaml"
    path.write_text(f"{{benchmarks: [ixi-stroke], methods: {methods}}}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"grid.yaml.*methods"):
        Grid.read(path)
