"""Who the subjects are: a table of age, sex, site and scanner, by which results are split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cli.inputs import table
from brainuad.cli.pairs import Pair, listed
from brainuad.evaluate.strata import UNKNOWN, age_band
from brainuad.types import DataError, UsageError

COLUMNS = ("subject", "age", "sex", "site", "scanner")
EMPTY = ("", "n/a")


def keys_of(by: str) -> list[str]:
    """The columns that are named, split at the commas; each once."""
    return list(dict.fromkeys(word.strip() for word in by.split(",") if word.strip()))


def with_groups(found: Sequence[Pair], path: Path | None, by: str) -> tuple[list[Pair], list[str]]:
    """The pairs with the groups that their subjects belong to, and by what they are grouped.

    Args:
        found: the pairs.
        path: table with ``subject`` and any of age (years), sex, site and scanner; None = none.
        by: columns with commas between; empty takes all of these four that the table has.

    Raises:
        UsageError: columns that the table lacks, or no table to take them from.
        DataError: subjects that the table lacks or holds twice, or an age that is none.
    """
    if path is None:
        if by:
            raise UsageError(f"--by {by}: needs a table of subjects; add --subjects FILE")
        return list(found), []
    rows = table(path, needed=("subject",), known=COLUMNS)
    keys = keys_of(by) or [name for name in COLUMNS[1:] if name in rows[0]]
    if lost := [key for key in keys if key not in rows[0]]:
        raise UsageError(
            f"--by: {path} has no column {listed(lost)} among {', '.join(rows[0])}; "
            "choose from these"
        )
    subjects = _by_subject(rows, path)
    unknown = [pair.subject for pair in found if not set(pair.names) & set(subjects)]
    if unknown:
        raise DataError(f"{path}: no row for {listed(unknown)}; add them to the table")
    grouped = []
    for pair in found:
        name = next(name for name in pair.names if name in subjects)
        words = {key: _word(key, subjects[name][key], f"{path}: {name}") for key in keys}
        grouped.append(replace(pair, strata={**pair.strata, **words}))
    return grouped, keys


def _by_subject(rows: Sequence[Mapping[str, str]], path: Path) -> dict[str, Mapping[str, str]]:
    subjects: dict[str, Mapping[str, str]] = {}
    for row in rows:
        if row["subject"] in subjects:
            raise DataError(f"{path}: {row['subject']} occurs twice; keep one row of each subject")
        subjects[row["subject"]] = row
    return subjects


def _word(key: str, cell: str, who: str) -> str:
    """The group that a cell stands for: a band of ages, or the word itself."""
    if cell.strip().lower() in EMPTY:
        return UNKNOWN
    if key != "age":
        return cell.strip()
    try:
        years = float(cell)
    except ValueError:
        years = math.nan
    if not 0 <= years <= 130:
        raise DataError(f"{who}: the age is {cell!r}; give years, or n/a")
    return age_band(years)
