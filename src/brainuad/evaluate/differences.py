"""Two methods on the same subjects: paired differences, with the number of comparisons in mind."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainuad.evaluate import statistics
from brainuad.evaluate.statistics import RESAMPLES
from brainuad.types import DataError

Record = Mapping[str, Any]
"""One case of an evaluation: ``subject``, ``kind`` and numbers by metric."""
LESION = ("auprc", "dice_oracle", "dice_at_fpr_", "surface_dice")
"""Numbers of lesion cases that are compared; a name with ``_`` at its end begins several."""
CLEAN = ("fpr_at_fpr_", "marked_ml_at_fpr_", "false_components_at_fpr_", "restoration_")
"""Numbers of healthy scans that are compared."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One line of ``differences.csv``: mean paired difference of a metric, method - against."""

    metric: str
    kind: str
    """``lesion`` or ``clean``: which cases."""
    method: str
    against: str
    n: int
    """Number of subjects."""
    value: float
    low: float
    """Lower end of the 95 % interval over subjects (BCa; percentiles below 10 subjects)."""
    high: float
    p: float
    """Of a paired permutation test, two-sided."""
    p_holm: float
    """Corrected for the number of methods that are compared with on this metric."""


def compare(
    own: Sequence[Record],
    others: Mapping[str, Sequence[Record]],
    *,
    method: str,
    seed: int,
    resamples: int = RESAMPLES,
    rounds: int = 10_000,
) -> list[Compared]:
    """A method against others, metric by metric, on exactly the same cases.

    Args:
        own: records of the method.
        others: records of each other method by its name, at least one.
        method: name of the method.
        seed: seed of the bootstrap and of the permutations.
        resamples: bootstrap samples behind an interval.
        rounds: permutations behind a p-value.

    Returns:
        Lines in the order of metrics, then of methods; metrics that any of them lacks are left out.

    Raises:
        DataError: another list of cases, with the names that only one side has, or a number that
            is missing for some cases only.
    """
    for name, records in others.items():
        check_paired(own, records, (method, name))
    lines: list[Compared] = []
    for kind, metric in _metrics([own, *others.values()]):
        found = {}
        for name, records in others.items():
            both = [_values(r, kind, metric, n) for n, r in ((method, own), (name, records))]
            found[name] = statistics.paired_difference(
                *both, seed=seed, resamples=resamples, rounds=rounds
            )
        corrected = statistics.holm([difference.p for difference in found.values()])
        lines += [
            Compared(
                metric=metric, kind=kind, method=method, against=name, n=d.n, value=d.value,
                low=d.low, high=d.high, p=d.p, p_holm=p,
            )
            for (name, d), p in zip(found.items(), corrected, strict=True)
        ]  # fmt: skip
    return lines


def check_paired(own: Sequence[Record], other: Sequence[Record], names: tuple[str, str]) -> None:
    """Raise unless both have the same subjects under the same kinds, each once."""
    keys = [_keys(records, name) for records, name in zip((own, other), names, strict=True)]
    only = [sorted(keys[0] - keys[1]), sorted(keys[1] - keys[0])]
    if only[0] or only[1]:
        said = [
            f"only {name} has {_listed([f'{s} ({kind})' for s, kind in missing])}"
            for name, missing in zip(names, only, strict=True)
            if missing
        ]
        raise DataError(
            f"{names[0]} against {names[1]}: not the same cases, {', '.join(said)}; "
            "evaluate both on the same list"
        )


def _keys(records: Sequence[Record], name: str) -> set[tuple[str, str]]:
    keys = [(str(record["subject"]), str(record["kind"])) for record in records]
    if twice := sorted({subject for subject, kind in keys if keys.count((subject, kind)) > 1}):
        raise DataError(f"{name}: {_listed(twice)} occurs twice; list each case once")
    if not keys:
        raise DataError(f"{name}: holds no case to compare; evaluate at least one map")
    return set(keys)


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _metrics(parts: Sequence[Sequence[Record]]) -> list[tuple[str, str]]:
    """Kind and name of what every method has a number of."""
    columns = list(dict.fromkeys(name for record in parts[0] for name in record))
    return [
        (kind, column)
        for kind, stems in (("lesion", LESION), ("clean", CLEAN))
        for column in columns
        if _wanted(column, stems) and all(_has(records, kind, column) for records in parts)
    ]


def _wanted(column: str, stems: Sequence[str]) -> bool:
    return any(column.startswith(s) if s.endswith("_") else column == s for s in stems)


def _has(records: Sequence[Record], kind: str, column: str) -> bool:
    return any(not math.isnan(_number(r.get(column))) for r in records if r["kind"] == kind)


def _values(records: Sequence[Record], kind: str, column: str, name: str) -> list[float]:
    """The numbers of a kind of cases in the order of subjects."""
    chosen = sorted((r for r in records if r["kind"] == kind), key=lambda r: str(r["subject"]))
    values = [_number(record.get(column)) for record in chosen]
    lost = [str(r["subject"]) for r, v in zip(chosen, values, strict=True) if not math.isfinite(v)]
    if lost:
        raise DataError(
            f"{name}: {column} is not a number for {_listed(lost)}; mend these cases first"
        )
    return values


def _number(cell: Any) -> float:
    return math.nan if cell in (None, "") else float(cell)
