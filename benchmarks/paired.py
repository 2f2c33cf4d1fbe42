"""Paired differences of a benchmark's first line to others, on the same cases.

Usage: python benchmarks/paired.py RUN/per_case.csv OTHER/per_case.csv ... [--metric auprc]

Each file is of a run of `brainuad benchmark`; prints Markdown: difference with its 95 % interval
(BCa bootstrap over subjects) and the p-value of a permutation test, corrected by Holm.
"""

import argparse
import csv
from pathlib import Path

from brainuad.evaluate.statistics import holm, paired_difference

Values = dict[str, float]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--metric", default="auprc")
    args = parser.parse_args()
    found = {k: v for path in args.files for k, v in lines_of(path, args.metric).items()}
    (name, own), *others = found.items()
    pairs = {other: paired(own, values) for other, values in others}
    corrected = holm([difference.p for difference in pairs.values()])
    print(f"| {name} against | subjects | difference | 95 % | p (Holm) |\n|---|---|---|---|---|")
    for (other, d), p in zip(pairs.items(), corrected, strict=True):
        print(f"| {other} | {d.n} | {d.value:+.3f} | {d.low:+.3f} to {d.high:+.3f} | {p:.4f} |")


def lines_of(path: Path, metric: str) -> dict[str, Values]:
    """Value of each lesion case by subject, for each method in a file."""
    found: dict[str, Values] = {}
    with path.open(newline="") as handle:
        for row in csv.DictReader(handle):
            if row["kind"] == "lesion":
                name = f"{row['method']}-{row['preset']}"
                found.setdefault(name, {})[row["subject"]] = float(row[metric])
    return found


def paired(own: Values, other: Values):
    """Difference on the subjects that both have; there must be no others."""
    if set(own) != set(other):
        raise SystemExit(f"not the same cases: {sorted(set(own) ^ set(other))[:5]}")
    subjects = sorted(own)
    return paired_difference([own[s] for s in subjects], [other[s] for s in subjects], seed=0)


if __name__ == "__main__":
    main()
