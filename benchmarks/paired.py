"""A method against others on the same cases of a benchmark: paired differences.

Usage: python benchmarks/paired.py RUN/per_case.csv OTHER/per_case.csv ... [--metric auprc]

The first method of the first file against all others. Prints Markdown: mean difference with its
95 % interval (bootstrap over subjects) and the p-value of a permutation test, corrected by Holm.
"""

import argparse
import csv
from pathlib import Path

from brainuad.evaluate.differences import compare


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--metric", default="auprc")
    args = parser.parse_args()
    records: dict[str, list[dict[str, str]]] = {}
    for number, path in enumerate(args.files, start=1):
        with path.open(newline="") as handle:
            for row in csv.DictReader(handle):
                name = f"{row['method']}-{row['preset']}, file {number}"
                records.setdefault(name, []).append(row)
    (name, own), *others = records.items()
    found = compare(own, dict(others), method=name, seed=0)
    print(f"| {name} against | cases | difference | 95 % | p (Holm) |\n|---|---|---|---|---|")
    for d in found:
        if d.metric == args.metric:
            interval = f"{d.low:+.3f} to {d.high:+.3f}"
            print(f"| {d.against} | {d.n} | {d.value:+.3f} | {interval} | {d.p_holm:.4f} |")


if __name__ == "__main__":
    main()
