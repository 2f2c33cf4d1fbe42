"""The same trained net asked with noise, with the mean of ten draws, and without noise: one table.

Usage: python benchmarks/quiet.py RUN NAME

RUN is the folder of ``brainuad benchmark mednist-sprites -o RUN``, NAME the entry there of a
method that takes ``detection_noise``. Nothing is trained. Maps are residuals with the detector's
median, or one of 3 x 3 pixels where it has none; its normative model is left out. Slices of kind
``matched``.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from brainuad.benchmark import load_benchmark
from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.found import read_case
from brainuad.detector import Detector
from brainuad.method import Method
from brainuad.prepare import prepare_scan
from brainuad.slices import split

WAYS: dict[str, dict[str, Any]] = {
    "noise, one draw": {"detection_noise": 1.0, "draws": 1},
    "noise, mean of ten draws": {"detection_noise": 1.0, "draws": 10},
    "no noise": {"detection_noise": 0.0, "draws": 1},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    return parser.parse_args()


def asked(method: Method, changes: Mapping[str, Any]) -> Method:
    """A method with the same weights and other options of detection."""
    made = type(method)(replace(method.options, **changes))
    made.restore(method.state_dict())
    return made.eval()


@torch.inference_mode()
def precisions(
    method: Method, cases: list[TestCase], detector: Detector, median: int
) -> Iterator[float]:
    """AUPRC of each case."""
    post = replace(detector.config.postprocess, median=median)
    for case in cases:
        scan, truth, _ = read_case(case, "CT")
        prepared = prepare_scan(scan, detector.config.recipe)
        batch = split(prepared.scan, "axial").batch(0, 1)
        found = method.detect(batch.x, batch.brain, rng=batch.rng(0, "detect")).anomaly
        plane = found[0].movedim(0, 2).numpy()
        done = post.apply(plane, np.ones(plane.shape, bool), prepared.scan.spacing)
        yield float(average_precision_score(truth.ravel(), prepared.to_original(done).ravel()))


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    (task,) = load_benchmark("mednist-sprites", args.data, args.run / "cases")
    cases = [c for c in task.cases if c.strata.get("sprite") == "matched"]
    detector = Detector.load(args.run / "detectors" / args.name, thresholds=False)
    median = detector.config.postprocess.median or 3
    print("| detection | AUPRC, matched | net calls a slice |\n|---|---|---|")
    for way, changes in WAYS.items():
        method = asked(detector.method, changes)
        mean = float(np.mean(list(precisions(method, cases, detector, median))))
        print(f"| {way} | {mean:.3f} | {method.passes((64, 64))} |", flush=True)


if __name__ == "__main__":
    main()
