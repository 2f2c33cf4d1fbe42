"""Why some rows of baselines_dev.csv are not reproduced: each done as the row was made.

Usage: python benchmarks/baselines_why.py FOLDER [--data FOLDER] [PART ...]

FOLDER is the output of ``benchmarks/baselines.py`` for all benchmarks. Parts:
  signed    the dark side of the atlas where lesions are bright, its sign kept where our maps are 0
  ranks     sprites by histogram ranks that order equal grey values by their place in the image
  own_grid  dark voxels of ixi-stroke on the scans' own grids
  affines   ixi-stroke against an atlas by the benchmark's affines instead of our registration
  affine    mslub's T1w against the atlas where its file's affine puts it, without registration
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from brainuad.benchmark import BenchmarkData, load_benchmark
from brainuad.benchmark.found import read_case
from brainuad.benchmark.prepared import load_prepared
from brainuad.detector import Detector
from brainuad.postprocess import Postprocess
from brainuad.prepare import Recipe, prepare_scan
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.grid import MNI_2MM
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.resample import resample
from brainuad.scan import Scan

Judged = tuple[np.ndarray, np.ndarray]
"""Scores and truth of the scored voxels of a case."""


def tasks(name: str, arguments: argparse.Namespace) -> tuple[BenchmarkData, ...]:
    """The tasks whose cases are kept."""
    return load_benchmark(name, arguments.data, arguments.folder / name / "cases")


def report(row: str, cases: list[Judged]) -> None:
    """One line with both AUPRC."""
    subject = np.mean([average_precision_score(truth, score) for score, truth in cases])
    score, truth = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    pooled = average_precision_score(truth, score)
    print(f"| {row} | {subject:.4f} | {pooled:.4f} |", flush=True)


def signed(arguments: argparse.Namespace) -> None:
    """The map of one side minus that of the other."""
    (task,) = tasks("lgg-flair", arguments)
    cases = list(_signed(task, arguments.folder / "lgg-flair"))
    report("lgg-flair `atlas_zneg`, sign kept", cases)


def _signed(task: BenchmarkData, out: Path) -> Iterator[Judged]:
    sides = [
        Detector.load(out / "detectors" / f"FLAIR-healthy_atlas-nearest-{side}")
        for side in ("dark", "bright")
    ]
    folder = out / "prepared" / f"FLAIR-{task.recipe.hash}" / "test"
    for case in task.cases:
        prepared = load_prepared(folder / f"{case.name}.npz")
        dark, bright = (unfiltered(side).detect_prepared(prepared).anomaly for side in sides)
        _, truth, region = read_case(case, task.modality)
        yield (dark - bright)[region], truth[region]


def unfiltered(detector: Detector) -> Detector:
    """The same detector without post-processing."""
    config = replace(detector.config, postprocess=Postprocess(median=0))
    return Detector(config, detector.method, weights_hash=detector.weights_hash)


def ranks(arguments: argparse.Namespace) -> None:
    """Equal grey values ordered by rows and columns."""
    (task,) = tasks("mednist-sprites", arguments)
    cases = []
    for case in task.cases:
        if case.kind == "lesion":
            scan, truth, region = read_case(case, task.modality)
            order = rankdata(scan.voxels[region], method="ordinal") / region.sum()
            cases.append((order, truth[region]))
    report("mednist-sprites `bright_he`, equal values ordered by place", cases)


def own_grid(arguments: argparse.Namespace) -> None:
    """Dark voxels without a resampling, and the Dice at 1 % of the healthy voxels."""
    (task,) = tasks("ixi-stroke", arguments)
    steps = (Brain(how="background"), Intensity(), Checks(volume_ml=None, overlap=None))
    for preset, row in (("dark-raw", "dark+med5"), ("dark", "dark_he+med5")):
        detector = Detector.create(
            "intensity",
            preset=preset,
            recipe=Recipe(name="own grid", steps=steps),
            postprocess=Postprocess(median=5),
        )
        detector.method.mark_fitted()
        recipe = detector.config.recipe
        healthy = (prepare_scan(source.read(), recipe) for source in task.calibration)
        threshold = detector.calibrate(healthy).threshold(0.01)
        cases = [
            (detector.detect(task.test_source(case).read()).anomaly[region], truth[region])
            for case in task.cases
            if case.kind == "lesion"
            for _, truth, region in [read_case(case, task.modality)]
        ]
        hits = sum(int((truth & (score > threshold)).sum()) for score, truth in cases)
        size = sum(int(truth.sum() + (score > threshold).sum()) for score, truth in cases)
        report(f"ixi-stroke `{row}`, own grid (Dice at 1 %: {2 * hits / size:.4f})", cases)


def to_grid(scan: Scan, to_mni: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stripped scan in MNI152 at 2 mm by a given affine: image, brain, and where voxels went."""
    brain = scan.voxels > 0
    low, high = np.percentile(scan.voxels[brain], (1, 99))
    value = np.where(brain, np.clip((scan.voxels - low) / (high - low), 0, 1), 0)
    placed = to_mni @ scan.affine
    grid = (MNI_2MM.shape, MNI_2MM.affine)
    share = resample(brain.astype(np.float32), placed, *grid)
    image = resample(value.astype(np.float32), placed, *grid) / np.maximum(share, 0.5)
    return image, share > 0.5, placed


def affines(arguments: argparse.Namespace) -> None:
    """Mean and deviation by Welford's update, z in MNI152, the map brought back."""
    (task,) = tasks("ixi-stroke", arguments)
    path = arguments.data / "benchmarks" / "ixi-stroke" / "affines.json"
    fits = {who: np.array(fit) for who, fit in json.loads(path.read_text()).items()}
    count, mean, squares = (np.zeros(MNI_2MM.shape) for _ in range(3))
    for source in task.train:
        image, brain, _ = to_grid(source.read(), fits[source.subject])
        count += brain
        step = (image - mean) * brain
        mean += step / np.maximum(count, 1)
        squares += step * (image - mean)
    deviation = np.sqrt(squares / np.maximum(count - 1, 1))
    deviation = np.maximum(deviation, np.quantile(deviation[count >= 10], 0.05))
    cases = []
    for case in task.cases:
        if case.kind == "lesion":
            scan, truth, region = read_case(case, task.modality)
            image, brain, placed = to_grid(scan, fits[case.subject])
            z = np.maximum((mean - image) / deviation, 0) * (brain & (count >= 10))
            back = resample(z.astype(np.float32), MNI_2MM.affine, truth.shape, placed)
            cases.append((back[region], truth[region]))
    report("ixi-stroke `atlas_zneg`, the benchmark's affines", cases)


def affine(arguments: argparse.Namespace) -> None:
    """The atlas resampled to the file's grid by the file's own affine."""
    task = next(t for t in tasks("mslub", arguments) if t.modality == "T1w")
    (case,) = task.cases
    out = arguments.folder / "mslub"
    atlas = Detector.load(out / "detectors" / "T1w-healthy_atlas-raw-dark").method
    folder = out / "prepared" / f"T1w-{task.recipe.hash}" / "test"
    prepared = load_prepared(folder / f"{case.name}.npz")
    scan, brain = prepared.original, prepared.original.brain
    assert brain is not None
    low, high = np.percentile(scan.voxels[brain], (1, 99))
    value = np.where(brain, np.clip((scan.voxels - low) / (high - low), 0, 1), 0)
    mean, deviation = (
        resample(part[0].numpy(), prepared.scan.affine, value.shape, scan.affine)
        for part in (atlas.mean, atlas.deviation)
    )
    z = (mean - value) / np.maximum(deviation, float(atlas.deviation.min()))
    _, truth, region = read_case(case, "T1w")
    for row, score in (
        ("T1_atlas_zneg", np.maximum(z, 0)),
        ("T1_atlas_zneg+med3", ndimage.median_filter(np.maximum(z, 0), 3)),
        ("T1_atlas_zabs", np.abs(z)),
    ):
        report(f"mslub `{row}`, not registered", [(score[region], truth[region])])
    grown = np.linalg.norm(prepared.placed[:3, :3], axis=0) / scan.spacing
    print(f"\nOur registration of mslub enlarges by {', '.join(f'{g:.2f}' for g in grown)}.")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "signed": signed,
    "ranks": ranks,
    "own_grid": own_grid,
    "affines": affines,
    "affine": affine,
}


def main() -> None:
    """Print the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BRAINUAD_DATA", ".")))
    arguments = parser.parse_intermixed_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"part {unknown[0]!r}: unknown; choose from {', '.join(PARTS)}")
    print("| row | AUPRC, mean over subjects | pooled |\n|---|---|---|")
    for part in arguments.parts or PARTS:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()
