"""Prepared scans of a benchmark, kept on disk so that every method sees the same ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from brainuad.benchmark.sources import Source
from brainuad.benchmark.task import BenchmarkData
from brainuad.manifest import atomic_path
from brainuad.pool import Pool
from brainuad.prepare import Prepared, Recipe, prepare_scan
from brainuad.scan import Scan
from brainuad.store import Store
from brainuad.types import DataError


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Prepared scans of one task.

    Attributes:
        store: healthy scans to fit on; None where the task has none.
        calibration: files of the prepared calibration scans, by subject.
        tests: files of the prepared test scans, by case.
        failures: why scans could not be prepared, by subject or case.
    """

    store: Store | None
    calibration: dict[str, Path]
    tests: dict[str, Path]
    failures: dict[str, str]


def prepare_all(task: BenchmarkData, folder: Path, pool: Pool, *, train: bool = True) -> Shelf:
    """Prepare every scan of a task that is not prepared yet.

    Args:
        task: what to prepare.
        folder: where prepared scans are kept, by the hash of the recipe.
        pool: who does the work.
        train: the scans to fit on too; without them the shelf has no store.

    Raises:
        DataError: no calibration scan or no training scan could be prepared.
    """
    recipe = task.recipe
    home = folder / f"{task.modality}-{recipe.hash}"
    tests = [task.test_source(case) for case in task.cases]
    healthy, failed = _keep(task.calibration, home / "calibration", recipe, pool)
    cases, failed_tests = _keep(tests, home / "test", recipe, pool)
    if not healthy:
        first = next(iter(failed.values()), "the list is empty")
        raise DataError(f"{task.name}: no calibration scan could be prepared; first: {first}")
    like = load_prepared(next(iter(healthy.values()))).scan
    store, failed_train = _store(task.train if train else (), home / "train", recipe, like, pool)
    failures = failed | failed_tests | failed_train
    return Shelf(store=store, calibration=healthy, tests=cases, failures=failures)


def _keep(
    sources: Sequence[Source], folder: Path, recipe: Recipe, pool: Pool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of prepared scans by subject, and why others failed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {source.subject: folder / f"{source.subject}.npz" for source in sources}
    missing = [source for source in sources if not files[source.subject].exists()]
    work = partial(_prepare_to_file, recipe=recipe, folder=folder)
    title = f"prepare {folder.name}"
    failures = {s.subject: why for s, why in pool.map(work, missing, title) if why}
    return {name: path for name, path in files.items() if name not in failures}, failures


def _prepare_to_file(source: Source, *, recipe: Recipe, folder: Path) -> str:
    """Why the scan could not be prepared; empty when it was."""
    try:
        save_prepared(folder / f"{source.subject}.npz", _prepared(source, recipe))
    except DataError as error:
        return str(error)
    return ""


def _prepared(source: Source, recipe: Recipe) -> Prepared:
    return source.healthy(prepare_scan(source.read(), recipe))


def _store(
    sources: Sequence[Source], path: Path, recipe: Recipe, like: Scan, pool: Pool
) -> tuple[Store | None, dict[str, str]]:
    """Store of the scans to fit on, on the grid of a prepared scan."""
    if not sources:
        return None, {}
    store = Store.create(
        path,
        recipe_hash=recipe.hash,
        affine=like.affine,
        shape=like.voxels.shape,
        modality=like.modality,
    )
    missing = [source for source in sources if not store.has(source.subject)]
    work = partial(_prepare_to_store, recipe=recipe, path=path)
    failures = {s.subject: why for s, why in pool.map(work, missing, "prepare train") if why}
    return store, failures


def _prepare_to_store(source: Source, *, recipe: Recipe, path: Path) -> str:
    try:
        scan = _prepared(source, recipe).scan
    except DataError as error:
        return str(error)
    Store.open(path).add(scan, input_hash=source.hash())
    return ""


def save_prepared(path: Path, prepared: Prepared) -> None:
    """Keep a prepared scan; :func:`load_prepared` gives it back bit by bit, without its file."""
    arrays = {}
    for name, scan in (("scan", prepared.scan), ("original", prepared.original)):
        assert scan.brain is not None
        arrays |= {
            f"{name}_voxels": scan.voxels,
            f"{name}_affine": scan.affine,
            f"{name}_brain": np.packbits(scan.brain),
        }
    words = {
        "subject": prepared.scan.subject,
        "modality": prepared.scan.modality,
        "report": prepared.report,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, placed=prepared.placed, words=json.dumps(words), **arrays)


def load_prepared(path: Path) -> Prepared:
    """A prepared scan that was kept."""
    with np.load(path, allow_pickle=False) as arrays:
        words = json.loads(str(arrays["words"]))
        return Prepared(
            scan=_scan(arrays, "scan", words),
            original=_scan(arrays, "original", words),
            placed=arrays["placed"],
            report=words["report"],
        )


def _scan(arrays: np.lib.npyio.NpzFile, name: str, words: dict[str, str]) -> Scan:
    voxels = arrays[f"{name}_voxels"]
    brain = np.unpackbits(arrays[f"{name}_brain"], count=voxels.size).astype(bool)
    return Scan(
        voxels=voxels,
        affine=arrays[f"{name}_affine"],
        modality=words["modality"],
        subject=words["subject"],
        brain=brain.reshape(voxels.shape),
    )
