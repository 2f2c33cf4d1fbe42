"""Pooled AUPRC and oracle Dice of each group of lesions of a finished benchmark, of all voxels.

Usage: python benchmarks/groups.py RUN LABEL [--bench mednist-sprites] [--by sprite] [--rim-mm 16]

RUN is the folder of `brainuad benchmark`, LABEL a detector in it. The table of results has means
per group; this pools their voxels, as the published rows of the local benchmarks do. With
`--rim-mm` the map counts as 0 at most so far from the outside of the region, within slices.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from brainuad.benchmark.data import load_benchmark
from brainuad.benchmark.found import judged_cases
from brainuad.evaluate import voxel
from brainuad.postprocess import erode


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--bench", default="mednist-sprites")
    parser.add_argument("--by", default="sprite")
    parser.add_argument("--rim-mm", type=float, default=0.0)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    args = parser.parse_args()
    (task,) = load_benchmark(args.bench, args.data, args.run / "cases")
    kept = defaultdict(list)
    for case in judged_cases(task, args.run / "maps" / args.label):
        if case.kind == "lesion" and case.lesion is not None:
            inner = erode(case.region, args.rim_mm, case.spacing, axial_only=True)
            found = case.lesion[case.region], np.where(inner, case.anomaly, 0)[case.region]
            if args.by in case.strata:
                kept[case.strata[args.by]].append(found)
            kept["all"].append(found)
    print(f"| {args.by} | scans | AUPRC pooled | oracle Dice |\n|---|---|---|---|")
    for word, pairs in sorted(kept.items()):
        lesion, score = (np.concatenate(part) for part in zip(*pairs, strict=True))
        precision, best = voxel.average_precision(score, lesion), voxel.oracle_dice(score, lesion)
        print(f"| {word} | {len(pairs)} | {precision:.3f} | {best.dice:.3f} |")


if __name__ == "__main__":
    main()
