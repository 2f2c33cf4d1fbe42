"""Results of other methods on the same cases, read from their folders and compared with."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainuad.evaluate.case import Row
from brainuad.evaluate.differences import Compared, compare
from brainuad.report.tables import read_results
from brainuad.types import DataError, MissingError, UsageError


def differences(
    cases: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    folders: Sequence[Path],
    *,
    seed: int,
) -> list[Compared]:
    """The own cases against those of other results, metric by metric; none without folders.

    Args:
        cases: records of the own cases.
        rows: the own results, for their names and protocol.
        folders: what ``brainuad evaluate`` wrote for the other methods.
        seed: of the bootstrap and the permutations.

    Raises:
        MissingError: a folder without results.
        UsageError: results under another protocol, or two of the same name.
        DataError: other cases, or no number in common.
    """
    if not folders:
        return []
    own = name_of(rows)
    others: dict[str, list[dict[str, str]]] = {}
    for folder in folders:
        name, records = read_cases(folder, protocol=rows[0].protocol)
        if name == own or name in others:
            name = f"{name} ({folder.resolve().name})"
        if name in others:
            raise UsageError(f"--against {folder}: given twice; name each folder once")
        others[name] = records
    found = compare(cases, others, method=own, seed=seed)
    if not found:
        raise DataError(
            f"{own} against {', '.join(others)}: no number of single cases in common; "
            "compare under a protocol that scores scans, with the same thresholds"
        )
    return found


def name_of(rows: Sequence[Row]) -> str:
    """Method and preset of results."""
    return ":".join(word for word in (rows[0].method, rows[0].preset) if word)


def read_cases(folder: Path, *, protocol: str) -> tuple[str, list[dict[str, str]]]:
    """Name of the method in a folder of results, and its records."""
    path = folder / "cases.csv"
    if not path.is_file():
        raise MissingError(f"{path}: no such file; give a folder that brainuad evaluate wrote")
    rows = read_results(folder / "results.csv")
    if not rows:
        raise DataError(f"{folder}: its results.csv holds no numbers; run evaluate again")
    if rows[0].protocol != protocol:
        raise UsageError(
            f"--against {folder}: was made under protocol {rows[0].protocol}, this under "
            f"{protocol}; evaluate both under one protocol"
        )
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    if any(not {"subject", "kind"} <= set(record) for record in records):
        raise DataError(f"{path}: lacks the columns subject and kind; run evaluate again")
    return name_of(rows), records


def lines(found: Sequence[Compared]) -> list[dict[str, Any]]:
    """Rows of ``differences.csv``."""
    return [asdict(one) for one in found]


def in_words(found: Sequence[Compared]) -> list[str]:
    """One sentence for each difference, for people."""
    return [
        f"{one.metric} ({one.kind} cases), {one.method} - {one.against}: {one.value:+.4f} "
        f"({one.low:+.4f} to {one.high:+.4f}), p = {one.p:.3g}, Holm {one.p_holm:.3g}, n = {one.n}"
        for one in found
    ]
