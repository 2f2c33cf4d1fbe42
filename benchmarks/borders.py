"""How far from lesions a detector's false positives lie: share of healthy voxels by distance.

Usage: python benchmarks/borders.py RUN LABEL [--cases FOLDER] [--data ../shared]

RUN is the folder of `brainuad benchmark ixi-stroke`, LABEL a detector in it. Prints, for the scans
with a lesion together, what share of all healthy voxels is marked at 1 % within each distance.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.benchmark.data import load_benchmark
from brainuad.benchmark.found import judged_cases
from brainuad.detector import Detector

WITHIN_MM = (2.1, 4.1, 6.1, 10.1, 20.0, 40.0, np.inf)
"""A little more than whole voxels of 2 mm."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--cases", type=Path, help="folder of the made cases [RUN/cases]")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    args = parser.parse_args()
    (task,) = load_benchmark("ixi-stroke", args.data, args.cases or args.run / "cases")
    calibration = Detector.load(args.run / "detectors" / args.label).calibration
    assert calibration is not None
    marked, healthy = np.zeros(len(WITHIN_MM)), 0
    for case in judged_cases(task, args.run / "maps" / args.label):
        if case.kind != "lesion" or case.lesion is None:
            continue
        distance = ndimage.distance_transform_edt(~case.lesion, sampling=case.spacing)
        sound = case.region & ~case.lesion
        false = sound & (case.anomaly > calibration.threshold(0.01))
        marked += [np.count_nonzero(false & (distance <= limit)) for limit in WITHIN_MM]
        healthy += np.count_nonzero(sound)
    print("| within, mm | share of healthy voxels marked |\n|---|---|")
    for limit, count in zip(WITHIN_MM, marked, strict=True):
        print(f"| {limit:g} | {100 * count / healthy:.2f} % |")


if __name__ == "__main__":
    main()
