"""How long an evaluation takes and how much memory it needs; prints two Markdown tables.

The first: oracle Dice, AUPRC and AUROC over 655 slices of 256 x 256, from a histogram and exactly.
The second: all voxel and lesion metrics of 25, 50 and 100 volumes of 182 x 218 x 182, each cohort
in a fresh process; volumes are made one by one, and the time of making them is not counted.

Usage: python benchmarks/metrics.py [--volumes 25 50 100] [--resamples 2000]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocols import evaluate

SHAPE = (182, 218, 182)
SLICES = (655, 256, 256)
RATES = (0.001, 0.01, 0.05)
CHUNK = 64
"""Slices that are counted at once."""


def slices() -> tuple[np.ndarray, np.ndarray]:
    """Scores and lesions of a stack of slices, a good half of it background of 0."""
    rng = np.random.default_rng(0)
    scores = rng.gamma(2.0, 0.1, SLICES).astype(np.float32)
    lesion = np.zeros(SLICES, bool)
    lesion[::2, 100:130, 90:120] = True
    scores[lesion] += 0.2
    scores[:, :40] = scores[:, -40:] = scores[:, :, :40] = scores[:, :, -40:] = 0
    return scores, lesion


def pooled(scores: np.ndarray, lesion: np.ndarray) -> voxel.Counts:
    """Counts of all slices, a chunk at a time, as an evaluation counts scan by scan."""
    starts = range(0, len(scores), CHUNK)
    return voxel.pool(
        [voxel.binned_counts(scores[n : n + CHUNK], lesion[n : n + CHUNK]) for n in starts]
    )


def three(counts: voxel.Counts) -> list[float]:
    """Oracle Dice, AUPRC and AUROC."""
    metrics = (voxel.max_dice_of_counts, voxel.ap_of_counts, voxel.auroc_of_counts)
    return [float(metric(counts.lesion, counts.other)) for metric in metrics]


def first_table() -> None:
    scores, lesion = slices()
    print("| 655 slices of 256 x 256 | s | oracle Dice | AUPRC | AUROC |\n|---|---|---|---|---|")
    for name, count in (("histogram", pooled), ("exact, by sorting", voxel.exact_counts)):
        began = time.perf_counter()
        values = three(count(scores, lesion))
        spent = time.perf_counter() - began
        print(f"| {name} | {spent:.2f} | " + " | ".join(f"{v:.6f}" for v in values) + " |")


class Cohort:
    """Volumes with lesions, four of five, and healthy ones; keeps count of the time of making."""

    def __init__(self, count: int):
        self.count, self.seconds = count, 0.0
        rng = np.random.default_rng(1)
        places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
        self.brain = (places**2).sum(0) < 0.62  # 1.8 million voxels
        noise = ndimage.gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), 1.2)
        self.noise = np.abs(noise / noise.std()) * 0.1
        self.thresholds = {
            rate: float(np.quantile(self.noise[self.brain], 1 - rate)) for rate in RATES
        }

    def __iter__(self) -> Iterator[Case]:
        for number in range(self.count):
            began = time.perf_counter()
            case = self.made(number)
            self.seconds += time.perf_counter() - began
            yield case

    def made(self, number: int) -> Case:
        """The volume with this number, always the same."""
        rng = np.random.default_rng([2, number])
        noise = np.roll(self.noise, tuple(rng.integers(0, SHAPE)), axis=(0, 1, 2))
        lesion = None if number % 5 == 4 else np.zeros(SHAPE, bool)
        if lesion is not None:
            for _ in range(rng.integers(1, 13)):
                self.plant(lesion, rng)
            noise = noise + lesion * np.float32(rng.uniform(0.1, 0.3))
        return Case(
            subject=f"sub-{number:03d}",
            kind="clean" if lesion is None else "lesion",
            anomaly=noise * self.brain,
            lesion=lesion,
            region=self.brain,
            spacing=(1.0, 1.0, 1.0),
        )

    def plant(self, lesion: np.ndarray, rng: np.random.Generator) -> None:
        """A ball of 2 to 12 mm around a voxel of the inner brain."""
        radius = int(rng.integers(2, 13))
        centre = [int(rng.integers(n // 3, 2 * n // 3)) for n in SHAPE]
        box = tuple(slice(c - radius, c + radius + 1) for c in centre)
        axes = np.ogrid[tuple(slice(-radius, radius + 1) for _ in SHAPE)]
        lesion[box] |= sum(a**2 for a in axes) <= radius**2


def peak_mb() -> float:
    """Most memory of this process so far; ``ru_maxrss`` may be that of the parent on Linux."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_cohort(count: int, resamples: int) -> None:
    """Evaluate a cohort and print what it took as JSON."""
    cohort = Cohort(count)
    began, worked = time.perf_counter(), time.process_time()
    rows = evaluate(cohort, thresholds=cohort.thresholds, resamples=resamples).rows
    spent = time.perf_counter() - began - cohort.seconds
    worked = time.process_time() - worked
    numbers = {row.metric: row.value for row in rows}
    print(json.dumps({"seconds": spent, "cpu": worked, "mb": peak_mb(), "rows": numbers}))


def second_table(volumes: list[int], resamples: int) -> None:
    print("| volumes of 182 x 218 x 182 | s | CPU s | s a volume | peak RSS, MB | metrics |")
    print("|---|---|---|---|---|---|")
    for count in volumes:
        words = ["--one", str(count), "--resamples", str(resamples)]
        done = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        print(
            f"| {count} | {found['seconds']:.0f} | {found['cpu']:.0f} | "
            f"{found['seconds'] / count:.2f} | "
            f"{found['mb']:.0f} | {len(found['rows'])} |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_cohort(given.one, given.resamples)
        return
    first_table()
    print()
    second_table(given.volumes, given.resamples)


if __name__ == "__main__":
    main()
