"""Why some rows of baselines_dev.csv are not reproduced: each done as the row was made.

Usage: python benchmarks/baselines_why.py FOLDER [--data FOLDER] [PART ...]

FOLDER is the output of ``benchmarks/baselines.py`` for all benchmarks. Parts:
  signed   the wrong side of the atlas (``zneg`` where lesions are bright, ``zpos`` where they are
           dark) with its sign kept, where our maps are 0
  ranks    sprites by histogram ranks that order equal grey values by their place in the image
  affine   mslub's T1w against the atlas where its file's affine puts it, without registration
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from baselines import raw_detector
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from brainuad.benchmark import BenchmarkData, load_benchmark
from brainuad.benchmark.found import read_case
from brainuad.benchmark.prepared import load_prepared
from brainuad.prepare.resample import resample

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
    for name, presets, row in (
        ("lgg-flair", ("nearest-dark", "nearest-bright"), "atlas_zneg"),
        ("ixi-stroke", ("raw-bright", "raw-dark"), "atlas_zpos"),
    ):
        (task,) = tasks(name, arguments)
        report(f"{name} `{row}`, sign kept", list(_signed(task, arguments.folder / name, presets)))


def _signed(task: BenchmarkData, out: Path, presets: tuple[str, str]) -> Iterator[Judged]:
    # The other side is the same detector with one option changed.
    detector = raw_detector(out / "detectors" / f"{task.modality}-healthy_atlas-{presets[0]}")
    sides = [preset.rsplit("-", 1)[1] for preset in presets]
    folder = out / "prepared" / f"{task.modality}-{task.recipe.hash}" / "test"
    kind, options = type(detector.method), detector.method.options
    for case in task.cases:
        if case.kind != "lesion":
            continue
        prepared = load_prepared(folder / f"{case.name}.npz")
        maps = []
        for side in sides:
            words = {n: getattr(options, n) for n in kind.Options.__dataclass_fields__}
            detector.method.options = kind.Options(**{**words, "sign": side})
            maps.append(detector.detect_prepared(prepared).anomaly)
        _, truth, region = read_case(case, task.modality)
        yield (maps[0] - maps[1])[region], truth[region]


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


def affine(arguments: argparse.Namespace) -> None:
    """The atlas resampled to the file's grid by the file's own affine."""
    task = next(t for t in tasks("mslub", arguments) if t.modality == "T1w")
    (case,) = task.cases
    out = arguments.folder / "mslub"
    atlas = raw_detector(out / "detectors" / "T1w-healthy_atlas-raw-dark").method
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


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "signed": signed,
    "ranks": ranks,
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
