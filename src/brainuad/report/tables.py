"""Results as rows: one number with its interval each; read and written as ``results.csv``."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from brainuad.manifest import write_text
from brainuad.types import DataError, MissingError

ORACLE = "oracle"
"""Threshold source of a number that used the labels of the test scans."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result."""

    dataset: str
    """What was looked at; strata as ``name: stratum``."""
    method: str
    """Name of the method."""
    preset: str
    """Name of its preset."""
    seed: int
    """Seed of the run."""
    metric: str
    """What was measured, with the unit in the name where it has one."""
    value: float
    """The number; NaN where it is not defined."""
    low: float
    """Lower end of the 95 % interval; NaN where there is none."""
    high: float
    """Upper end of the 95 % interval; NaN where there is none."""
    n: int
    """Number of subjects behind it."""
    protocol: str
    """Name of the protocol that says how it is measured."""
    threshold_source: str
    """Where the threshold is from: empty where none is used, ``oracle`` for the test labels."""

    @property
    def oracle(self) -> bool:
        """Whether labels of the test scans were used."""
        return self.threshold_source.startswith(ORACLE)


COLUMNS = tuple(f.name for f in fields(Row))


def write_results(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV with the columns of :class:`Row`, numbers to full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: _written(v) for k, v in asdict(row).items()})
    write_text(path, text.getvalue())


def _written(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def read_results(path: str | Path) -> list[Row]:
    """The rows of a ``results.csv``, in order."""
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: no such file; give a results.csv written by brainuad")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(
                f"{path}: has the columns {','.join(reader.fieldnames or ())}; "
                f"results have {','.join(COLUMNS)}"
            )
        return [_row(path, number, cells) for number, cells in enumerate(reader, start=2)]


def _row(path: Path, line: int, cells: dict[str, str]) -> Row:
    numbers = {}
    for name, kind in (
        ("seed", int),
        ("n", int),
        ("value", float),
        ("low", float),
        ("high", float),
    ):
        text = cells[name] or ("nan" if kind is float else "")
        try:
            numbers[name] = kind(text)
        except ValueError as error:
            raise DataError(
                f"{path}: line {line}, {name}: {text!r} is not a number; write it again"
            ) from error
    return Row(**{**cells, **numbers})


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table of methods and metrics."""

    dataset: str
    method: str
    preset: str
    seed: int
    cells: tuple[Row | None, ...]
    """One result for each metric of the table, in its order; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Results with a line for each method and a column for each metric."""

    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    def source(self, metric: str) -> str:
        """Where the thresholds of a column come from; empty where none is used."""
        at = self.metrics.index(metric)
        rows = (line.cells[at] for line in self.lines)
        return ", ".join(sorted({row.threshold_source for row in rows if row} - {""}))

    def top(self, metric: str) -> float:
        """The largest number of a column, interval included, or 1 where all are within [0, 1]."""
        at = self.metrics.index(metric)
        rows = [line.cells[at] for line in self.lines]
        ends = [abs(v) for row in rows if row for v in (row.value, row.high) if math.isfinite(v)]
        return max([1.0, *ends])


def grid(rows: Sequence[Row]) -> Grid:
    """Turn a list of results into lines and columns, both in order of first appearance."""
    metrics = tuple(dict.fromkeys(row.metric for row in rows))
    lines: dict[tuple[str, str, str, int], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row.dataset, row.method, row.preset, row.seed), {})[row.metric] = row
    return Grid(
        metrics=metrics,
        lines=tuple(
            Line(
                dataset=dataset,
                method=method,
                preset=preset,
                seed=seed,
                cells=tuple(cells.get(metric) for metric in metrics),
            )
            for (dataset, method, preset, seed), cells in lines.items()
        ),
    )
