"""What it brings to judge a map in relation to its scan score: masks at 1 %, on ixi-stroke.

Usage: python benchmarks/relative.py RUN LABEL [--powers 0 0.25 0.5 0.75 0.9] [--data ../shared]

RUN is the folder of `brainuad benchmark ixi-stroke`, LABEL a detector in it. Only its maps of the
calibration scans are made anew, minutes of one core. What its maps were divided by is worked out
from their scores on the scan's grid, which are a little lower than on the detector's. *Further
pieces* are connected parts of a lesion of at least 0.1 ml beside its largest, found where any voxel
is marked.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from brainuad.benchmark.data import BenchmarkData, load_benchmark
from brainuad.benchmark.found import judged_cases
from brainuad.benchmark.prepared import load_prepared
from brainuad.detector import Detector
from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case
from brainuad.postprocess import in_relation, label_components, scan_score
from brainuad.types import Mask, Volume

RATE = 0.01
LEAST_ML = 0.1


@dataclass(frozen=True)
class Map:
    """A map that was divided by a power of its score, and can be by any other."""

    anomaly: Volume
    brain: Mask
    divided: float
    """The power that it was divided by already."""

    def at(self, power: float) -> Volume:
        """The map as if ``relative`` had been ``power``."""
        score = scan_score(self.anomaly, self.brain)
        absolute = self.anomaly * score ** (self.divided / (1 - self.divided))
        return in_relation(absolute, self.brain, power)


def healthy_maps(detector: Detector, folder: Path) -> list[Map]:
    """Maps of the scans that thresholds come from."""
    found = []
    power = detector.config.postprocess.relative
    files = sorted(folder.glob("*.npz"))
    for path in track(files, "calibration", console=Console(stderr=True), transient=True):
        prepared = load_prepared(path)
        brain = prepared.original.brain
        assert brain is not None
        anomaly = detector.detect_prepared(prepared, seed=0, batch_size=16, device="cpu").anomaly
        found.append(Map(anomaly, brain, power))
    return found


def pieces(case: Case, mask: Mask) -> tuple[int, int]:
    """Further pieces of the lesion that are found, and all of them."""
    assert case.lesion is not None
    labels, count = label_components(case.lesion & case.region)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    sizes[sizes.argmax()] = 0
    wanted = np.flatnonzero(sizes * np.prod(case.spacing) / 1000 >= LEAST_ML)
    hit = np.unique(labels[mask])
    return int(np.isin(wanted, hit).sum()), len(wanted)


class Tally:
    """Numbers of the cases so far."""

    def __init__(self) -> None:
        self.counts: list[voxel.Counts] = []
        self.dice: list[tuple[float, float]] = []
        self.shares: list[tuple[float, float]] = []
        self.healthy: dict[bool, list[float]] = {True: [], False: []}
        self.pieces = np.zeros(2, int)

    def add(self, case: Case, anomaly: Volume, threshold: float) -> None:
        """Count one case."""
        mask = (anomaly > threshold) & case.region
        if case.kind == "clean":
            self.healthy[case.subject.startswith("IXI")].append(mask.sum() / case.region.sum())
        if case.kind != "lesion" or case.lesion is None:
            return
        lesion = case.lesion & case.region
        both, marked, true = (float(a.sum()) for a in (mask & lesion, mask, lesion))
        self.dice.append((2 * both, marked + true))
        self.shares.append((both / true, (marked - both) / (case.region.sum() - true)))
        self.counts.append(voxel.binned_counts(anomaly[case.region], lesion[case.region]))
        self.pieces += pieces(case, mask)

    def words(self) -> list[str]:
        """The columns after the first."""
        pooled = voxel.pool(self.counts)
        over, under = np.array(self.dice).T
        sensitivity, false = np.mean(self.shares, axis=0)
        return [
            f"{voxel.ap_of_counts(pooled.lesion, pooled.other):.3f}",
            f"{over.sum() / under.sum():.3f}",
            f"{np.mean(over / under):.3f}",
            f"{sensitivity:.3f}",
            f"{100 * false:.2f} %",
            f"{100 * np.mean(self.healthy[True]):.2f} %",
            f"{100 * np.mean(self.healthy[False]):.2f} %",
            f"{self.pieces[0]} of {self.pieces[1]}",
        ]


def row(task: BenchmarkData, maps: Path, power: float, healthy: Sequence[Map]) -> list[str]:
    """Numbers for one power."""
    values = np.concatenate([found.at(power)[found.brain] for found in healthy])
    threshold = float(np.quantile(values, 1 - RATE))
    tally = Tally()
    for case in judged_cases(task, maps):
        found = Map(case.anomaly, case.region, healthy[0].divided)
        tally.add(case, found.at(power), threshold)
    return tally.words()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--powers", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75, 0.9])
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    (task,) = load_benchmark("ixi-stroke", args.data, args.run / "cases")
    detector = Detector.load(args.run / "detectors" / args.label)
    folder = args.run / "prepared" / f"{task.modality}-{task.recipe.hash}" / "calibration"
    healthy = healthy_maps(detector, folder)
    print(
        "| relative | AUPRC pooled | Dice at 1 % | per subject | sensitivity | healthy voxels "
        "marked beside a lesion | healthy scans, IXI | ds002748 | further pieces found |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for power in args.powers:
        found = row(task, args.run / "maps" / args.label, power, healthy)
        print("| " + " | ".join([f"{power:g}", *found]) + " |", flush=True)


if __name__ == "__main__":
    main()
