"""Maps of all cases of one entry: made once, kept on disk, judged one at a time."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.prepared import Shelf, load_prepared
from brainuad.benchmark.task import BenchmarkData
from brainuad.calibrate import Calibration, Calibrator
from brainuad.detector import Detector
from brainuad.evaluate.case import Case
from brainuad.manifest import atomic_path
from brainuad.nifti import read_mask, read_scan
from brainuad.pool import Pool
from brainuad.scan import Scan
from brainuad.types import Mask, Volume


@dataclass(frozen=True, kw_only=True)
class Running:
    """How detection is run."""

    detector: Path
    """Folder of the detector."""
    seed: int = 0
    """Seed of the run."""
    batch_size: int = 16
    """Images at once."""
    device: str = "cpu"
    """Where."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What is kept of one detection, on the grid of the case."""

    anomaly: Volume
    """The map that is thresholded."""
    healthy: Volume | None
    """The healthy counterpart, in the scan's own intensity."""
    seconds: float
    """Time of the detection, without preparation."""


@lru_cache(2)
def _detector(folder: Path, stamp: int) -> Detector:
    """A detector, loaded once in each process; ``stamp`` changes when it is saved again."""
    return Detector.load(folder)


def _loaded(running: Running) -> Detector:
    newest = max(path.stat().st_mtime_ns for path in running.detector.iterdir())
    return _detector(running.detector, newest)


def calibrated(
    detector: Detector, task: BenchmarkData, shelf: Shelf, *, running: Running, pool: Pool
) -> Calibration:
    """Thresholds from the healthy calibration scans; the detector is saved again with them."""
    calibrator = Calibrator()
    work = partial(_healthy_map, running=running)
    files = list(shelf.calibration.values())
    for path, (anomaly, brain, score) in pool.map(work, files, f"calibrate {detector.name}"):
        calibrator.add(anomaly, brain, score, path.stem)
    detector.calibration = calibrator.finish(cohort=task.name, **detector.hashes())
    detector.save(running.detector)
    return detector.calibration


def _healthy_map(path: Path, *, running: Running) -> tuple[Volume, Mask, float]:
    prepared = load_prepared(path)
    found = _loaded(running).detect_prepared(
        prepared, seed=running.seed, batch_size=running.batch_size, device=running.device
    )
    assert prepared.original.brain is not None
    return found.anomaly, prepared.original.brain, found.score


def detect_all(shelf: Shelf, folder: Path, *, running: Running, pool: Pool) -> None:
    """Keep the map of every prepared case that is not kept yet."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes = _loaded(running).hashes() | {"seed": str(running.seed)}
    missing = [
        path for name, path in shelf.tests.items() if _hashes(folder / f"{name}.npz") != hashes
    ]
    work = partial(_detect_to_file, folder=folder, running=running, hashes=hashes)
    for _ in pool.map(work, missing, f"detect {folder.name}"):
        pass


def _hashes(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(str(arrays["words"]))["hashes"]


def _detect_to_file(path: Path, *, folder: Path, running: Running, hashes: dict[str, str]) -> None:
    prepared = load_prepared(path)
    detector = _loaded(running)
    started = time.perf_counter()
    found = detector.detect_prepared(
        prepared, seed=running.seed, batch_size=running.batch_size, device=running.device
    )
    words = {"hashes": hashes, "seconds": time.perf_counter() - started}
    arrays: dict[str, Any] = {"anomaly": found.anomaly}
    if found.healthy is not None:
        arrays["healthy"] = found.healthy.astype(np.float16)
    with atomic_path(folder / path.name) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, words=json.dumps(words), **arrays)


def load_kept(path: Path) -> Kept:
    """What was kept of a detection."""
    with np.load(path, allow_pickle=False) as arrays:
        return Kept(
            anomaly=arrays["anomaly"],
            healthy=arrays["healthy"].astype(np.float32) if "healthy" in arrays else None,
            seconds=json.loads(str(arrays["words"]))["seconds"],
        )


def read_case(case: TestCase, modality: str) -> tuple[Scan, Mask, Mask]:
    """Scan, truth and scored region of a case, in RAS+ order."""
    scan = read_scan(case.image, modality=modality, subject=case.name)
    truth = read_mask(case.truth, like=scan, empty=True)
    return scan, truth, read_mask(case.region, like=scan)


def judged_cases(task: BenchmarkData, folder: Path) -> Iterator[Case]:
    """The cases with their maps; a case without a map has an empty one."""
    for case in task.cases:
        scan, truth, region = read_case(case, task.modality)
        path = folder / f"{case.name}.npz"
        kept = load_kept(path).anomaly if path.exists() else np.zeros_like(scan.voxels)
        yield Case(
            subject=case.subject,
            kind=case.kind,
            anomaly=np.where(region, kept, 0),
            lesion=None if case.kind == "clean" else truth,
            region=region,
            spacing=scan.spacing,
            strata=case.strata,
        )


def seconds_of(task: BenchmarkData, folder: Path) -> list[float]:
    """Seconds of each detection that is kept."""
    paths = [folder / f"{case.name}.npz" for case in task.cases]
    return [load_kept(path).seconds for path in paths if path.exists()]
