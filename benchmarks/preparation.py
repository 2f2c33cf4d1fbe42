"""Quality and speed of preparation on real scans: brains, registration, time, cohorts.

Usage: python benchmarks/preparation.py [--data FOLDER] [PART ...]

Parts:
  heads         brain extraction of whole heads against the labels that came with them (Dice)
  registration  overlap with the template's brain of every healthy T1w scan, and which side is left
  time          one scan from DICOM, with and without N4, each step
  cohort        scans a minute with one worker and with two, memory of the largest worker
"""

import argparse
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from brainuad.cohort import prepare_cohort
from brainuad.nifti import read_scan, write_volume
from brainuad.pool import Pool
from brainuad.prepare import Recipe, prepare_scan, recipe
from brainuad.prepare.bias import Bias
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.measure import dice, known_brain
from brainuad.read.any import read_any
from brainuad.read.source import Source
from brainuad.scan import Scan

HEALTHY = {
    "IXI, 2 mm": "healthy_t1_ixi_2mm/*.nii.gz",
    "ds002748, 1.5 mm": "healthy_t1_cc0_ds002748/*_T1w*.nii.gz",
    "OASIS, 1.5 mm": "healthy_t1_oasis_NC/*_T1w*.nii.gz",
}
COHORT = 200
MARK = 4
"""Edge in voxels of the cube that marks the right side."""


def default() -> Recipe:
    """The recipe for T1w, rejected scans reported like the others."""
    made = recipe("default-t1")
    return replace(made, steps=(*made.steps[:-1], Checks(strict=False)))


def with_n4() -> Recipe:
    """The same, with N4 before registration."""
    made = default()
    return Recipe(name="n4", steps=(made.steps[0], Bias(), *made.steps[1:]))


def heads(data: Path) -> None:
    """Brains of whole heads."""
    print("| head | Dice with the labels | overlap with MNI152 | seconds |\n|---|---|---|---|")
    for path in sorted((data / "wholehead_t1_ixi_2mm").glob("*T1w.nii.gz")):
        began = time.perf_counter()
        prepared = prepare_scan(read_scan(path), default())
        seconds = time.perf_counter() - began
        labels = read_scan(str(path).replace("T1w.nii", "DLMUSE.nii")).voxels > 0
        overlap = prepared.report["checks"]["overlap"]["value"]
        share = dice(known_brain(prepared.original), labels)
        print(f"| {path.name[:12]} | {share:.4f} | {overlap:.4f} | {seconds:.1f} |")


def marked(path: Path) -> Scan:
    """A scan with a cube, brighter than all else, in the right half of its brain."""
    scan = read_scan(path, modality="T1w")
    inside = np.argwhere(scan.voxels > np.percentile(scan.voxels[scan.voxels > 0], 20))
    middle, reach = inside.mean(0), np.ptp(inside, axis=0)
    at = (middle + reach * [0.25, 0, 0.15]).astype(int)
    voxels = scan.voxels.copy()
    voxels[tuple(slice(a, a + MARK) for a in at)] = 3 * voxels.max()
    return replace(scan, voxels=voxels)


def placed(path: Path) -> tuple[str, float, bool]:
    """Overlap with the template, and whether the mark on the right lies on the right."""
    made = default()
    # Intensities would be cut off below the mark.
    steps = tuple(step for step in made.steps if not isinstance(step, Intensity))
    prepared = prepare_scan(marked(path), replace(made, steps=steps))
    at = np.unravel_index(int(prepared.scan.voxels.argmax()), prepared.scan.voxels.shape)
    where = prepared.scan.affine[:3] @ [*at, 1.0]
    overlap = prepared.report["checks"]["overlap"]["value"]
    return path.name, float(overlap), bool(where[0] > 0)


def registration(data: Path) -> None:
    """Every healthy scan to the template."""
    print(
        "| data set | scans | worst overlap | median | right stays right |\n|---|---|---|---|---|"
    )
    with Pool(2) as pool:
        for name, pattern in HEALTHY.items():
            files = [f for f in sorted(data.glob(pattern)) if "label" not in f.name]
            rows = [row for _, row in pool.map(placed, files, name)]
            overlaps = [row[1] for row in rows]
            right = sum(row[2] for row in rows)
            worst, usual = min(overlaps, default=0), np.median(overlaps)
            print(f"| {name} | {len(rows)} | {worst:.4f} | {usual:.4f} | {right} of {len(rows)} |")


def seconds(data: Path) -> None:
    """A DICOM series to the detector's grid; brain extraction is loaded beforehand, as once."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(data / "dicom_t1_studyforrest.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        for made in (default(), with_n4()):
            began = time.perf_counter()
            scan = read_any(folder, modality="T1w")
            read = time.perf_counter() - began
            prepared = prepare_scan(scan, made)
            whole = time.perf_counter() - began
            steps = ", ".join(f"{n} {s:.1f}" for n, s in prepared.report["seconds"].items())
            print(f"{made.name}: {whole:.1f} s (read {read:.1f}, {steps})", flush=True)


def copies(data: Path, folder: Path, count: int) -> Iterator[Source]:
    """Scans under names of their own, each with noise of its own."""
    files = sorted((data / "healthy_t1_cc0_ds002748").glob("*_T1w*.nii.gz"))
    scans = [read_scan(f) for f in files]
    for n in range(count):
        scan, draw = scans[n % len(scans)], np.random.default_rng(n)
        noise = draw.standard_normal(scan.voxels.shape, np.float32)
        path = folder / f"sub-{n:03d}_T1w.nii.gz"
        write_volume(path, scan.voxels + noise * (scan.voxels > 0), like=scan, kind="image")
        yield Source(path=path)


def cohort(data: Path) -> None:
    """Throughput and memory of workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = list(copies(data, folder, COHORT))
        few = sources[: COHORT // 4]
        rates = {}
        for workers, which in ((1, few), (2, sources)):
            began = time.perf_counter()
            out = folder / f"out{workers}"
            done = list(prepare_cohort(which, default(), out, workers=workers, progress=False))
            rates[workers] = len(done) / (time.perf_counter() - began)
            bad = sum(d.status == "failed" for d in done)
            print(
                f"{workers} workers: {len(done)} scans, {60 * rates[workers]:.1f} a minute, "
                f"{bad} failed",
                flush=True,
            )
        print(f"share of the ideal: {rates[2] / (2 * rates[1]):.2f}")
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"memory of the largest worker: {most:.2f} GB")


PARTS = {"heads": heads, "registration": registration, "time": seconds, "cohort": cohort}


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="all by default")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args(words)
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    for part in given.parts or PARTS:
        print(f"\n## {part}", flush=True)
        PARTS[part](given.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
