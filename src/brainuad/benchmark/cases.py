"""The cases of a local benchmark: made by the benchmark's own program, never by a copy of it."""

import csv
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from brainuad.manifest import atomic_folder, write_json
from brainuad.types import DataError, MissingError, UsageError

PROGRAM = "make_cases.py"
LIST = "cases.csv"
RECORD = "made.json"


@dataclass(frozen=True, kw_only=True)
class TestCase:
    """Files of one case.

    Attributes:
        name: of the case; names its files.
        subject: who it is of.
        kind: ``lesion``, ``clean`` or ``sham``.
        image: the scan that a detector sees.
        truth: its lesion mask on the same grid.
        region: where voxels are scored, on the same grid.
        strata: words by which tables are split.
    """

    __test__ = False  # not a class of tests

    name: str
    subject: str
    kind: str
    image: Path
    truth: Path
    region: Path
    strata: dict[str, str] = field(default_factory=dict)


def make_cases(bench: Path, data: Path, out: Path, *, mini: bool) -> list[dict[str, str]]:
    """Rows of the list of cases in ``out``; runs the benchmark's program when they are not there.

    Args:
        bench: folder of the benchmark; its program lies beside it.
        data: root of the images.
        out: folder for the cases; appears whole or not at all.
        mini: the small subset.

    Raises:
        MissingError: no such benchmark, program or data.
        UsageError: ``out`` holds the cases of another run.
        DataError: the program failed.
    """
    asked = {"benchmark": bench.name, "mini": mini}
    if not out.exists():
        _run(bench, data, out, asked)
    return _rows(out, asked)


def _run(bench: Path, data: Path, out: Path, asked: dict[str, Any]) -> None:
    for path in (bench, bench.parent / PROGRAM, data):
        if not path.exists():
            raise MissingError(f"{path}: not there; give the folder that holds data and benchmarks")
    with atomic_folder(out) as folder:
        words = ["--data", data, "--bench", bench, "--out", folder]
        command = [sys.executable, bench.parent / PROGRAM, *words]
        command += ["--mini"] if asked["mini"] else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise DataError(
                f"{bench.parent / PROGRAM}: stopped with status {done.returncode} ({last}); "
                "check that data and benchmarks belong together"
            )
        write_json(folder / RECORD, asked)


def _rows(out: Path, asked: dict[str, Any]) -> list[dict[str, str]]:
    record, listing = out / RECORD, out / LIST
    if not (record.is_file() and listing.is_file()):
        raise UsageError(f"{out}: holds no cases of a benchmark; choose another output folder")
    found = json.loads(record.read_text(encoding="utf-8"))
    if found != asked:
        raise UsageError(f"{out}: was made for {found}, not {asked}; choose another output folder")
    with listing.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@cache
def program(path: Path) -> ModuleType:
    """The benchmark's program as a module, for the functions that its README tells to use."""
    spec = importlib.util.spec_from_file_location("brainuad_benchmark_program", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise MissingError(f"{path}: no such program; give the folder that holds benchmarks")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
