"""Benchmarks by methods by seeds, each cell a run of its own: what is missing is run, then ranked.

A cell is one entry with one seed on one benchmark. It has a folder with its detector, maps, page,
``results.csv`` and ``per_case.csv``; cases and prepared scans are shared by all cells of a
benchmark. Cells are independent, so they run side by side, one process each.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainuad.benchmark.data import LOADERS
from brainuad.benchmark.entries import Entry
from brainuad.benchmark.run import RunSettings, prepare_benchmark, run_benchmark
from brainuad.config import build, load_yaml, to_dict
from brainuad.manifest import hash_of, write_json
from brainuad.pool import Pool
from brainuad.train import TrainSettings
from brainuad.types import BrainuadError, UsageError

DONE = "cell.json"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is compared."""

    benchmarks: tuple[str, ...]
    """Names of benchmarks."""
    methods: tuple[str, ...]
    """Each as :meth:`Entry.parse` takes it: ``method[:preset][@steps or @duration]``, a file of
    settings, or a detector."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of training and detection; the spread over them is shown beside the intervals."""
    mini: bool = False
    """The small subset of the cases."""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of the training of methods that do not say so themselves."""

    def __post_init__(self) -> None:
        for name in ("benchmarks", "methods", "seeds"):
            values = getattr(self, name)
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if not values or twice:
                what = f"names {twice[0]} twice" if twice else "is empty"
                raise UsageError(f"grid: {name} {what}; name each once, and at least one")
        unknown = [name for name in self.benchmarks if name not in LOADERS]
        if unknown:
            raise UsageError(
                f"grid: benchmark {unknown[0]!r} unknown; choose from {', '.join(LOADERS)}"
            )
        for text in self.methods:
            Entry.parse(text)
        build(TrainSettings, self.training, where="training")

    @classmethod
    def read(cls, path: Path) -> "Grid":
        """A grid from a YAML file, checked strictly; files of settings lie beside it."""
        data = dict(load_yaml(path))
        if isinstance(data.get("methods"), list):
            data["methods"] = [beside(path, method) for method in data["methods"]]
        return build(cls, data, where=str(path))


def beside(path: Path, method: object) -> object:
    """A method of the grid in ``path``; where it is a file in the same folder, with that folder."""
    file = path.parent / str(method)
    return str(file) if file.suffix in (".yaml", ".yml") and file.is_file() else method


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry with one seed on one benchmark."""

    benchmark: str
    method: str
    """As it stands in the grid."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        label = Entry.parse(self.method).label
        return f"{self.benchmark}/{label}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a cell."""

    cell: Cell
    error: str = ""
    """Why it failed; empty when it worked."""
    known: bool = False
    """Whether an earlier run had done it."""


def cells(grid: Grid) -> list[Cell]:
    """Every cell of a grid."""
    return [
        Cell(benchmark=benchmark, method=method, seed=seed)
        for benchmark in grid.benchmarks
        for method in grid.methods
        for seed in grid.seeds
    ]


def run_grid(
    grid: Grid, *, data: Path, out: Path, workers: int = 1, progress: bool = True
) -> Iterator[Ran]:
    """Run the cells that are missing, side by side; the failure of one stops no other.

    Args:
        grid: what to compare.
        data: folder that holds ``data`` and ``benchmarks``.
        out: where every cell has its folder.
        workers: processes, one cell and one thread each.
        progress: show bars.

    Yields:
        Each cell as soon as it is done.
    """
    wanted = cells(grid)
    known = [cell for cell in wanted if is_done(cell, grid, out)]
    yield from (Ran(cell=cell, known=True) for cell in known)
    missing = [cell for cell in wanted if cell not in known]
    with Pool(workers, progress=progress) as pool:
        for name in dict.fromkeys(cell.benchmark for cell in missing):
            settings = _settings(grid, name, out, seed=0)
            prepare_benchmark(name, data, settings, pool, out=out / name)
        work = _Work(grid=grid, data=data, out=out)
        for _, ran in pool.map(work, missing, "cells"):
            yield ran


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work on one cell; a class, so that it can be sent to another process."""

    grid: Grid
    data: Path
    out: Path

    def __call__(self, cell: Cell) -> Ran:
        folder = self.out / cell.name
        settings = _settings(self.grid, cell.benchmark, self.out, seed=cell.seed)
        try:
            run_benchmark(
                cell.benchmark, data=self.data, out=folder, methods=[cell.method], settings=settings
            )
        except BrainuadError as error:
            return Ran(cell=cell, error=str(error))
        write_json(folder / DONE, {"asked": asked(cell, self.grid)})
        return Ran(cell=cell)


def _settings(grid: Grid, benchmark: str, out: Path, *, seed: int) -> RunSettings:
    training = build(TrainSettings, grid.training, where="training")
    return RunSettings(
        training=replace(training, seed=seed),
        seed=seed,
        workers=1,
        mini=grid.mini,
        progress=False,
        common=out / benchmark / "common",
    )


def asked(cell: Cell, grid: Grid) -> str:
    """Hash of what makes a cell what it is."""
    training = to_dict(build(TrainSettings, grid.training, where="training"))
    fit = Entry.parse(cell.method).fit
    file = [] if fit is None else [dict(fit.data)]
    return hash_of([cell.benchmark, cell.method, cell.seed, grid.mini, training, *file])


def is_done(cell: Cell, grid: Grid, out: Path) -> bool:
    """Whether an earlier run finished a cell.

    Raises:
        UsageError: the folder holds the cell of another grid.
    """
    record = out / cell.name / DONE
    if not record.is_file():
        return False
    if json.loads(record.read_text(encoding="utf-8")) != {"asked": asked(cell, grid)}:
        raise UsageError(
            f"{out / cell.name}: was run with other settings; delete it or choose another folder"
        )
    return True
