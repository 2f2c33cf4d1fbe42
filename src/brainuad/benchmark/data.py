"""Which scans a benchmark trains on, calibrates on and tests; one modality each."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainuad.benchmark.cases import PROGRAM, TestCase, make_cases, program
from brainuad.prepare import Recipe, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.resample import Crop
from brainuad.scan import Scan, read_scan
from brainuad.types import DataError, MissingError, UsageError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scan to be read.

    Attributes:
        subject: who it is of.
        path: NIfTI file.
        modality: T1w, T2w or FLAIR.
        thinned_by: the benchmark's program whose ``to_2mm`` the scan goes through, or None.
        without: lesion mask whose voxels do not count as healthy, or None.
    """

    subject: str
    path: Path
    modality: str
    thinned_by: Path | None = None
    without: Path | None = None

    def read(self) -> Scan:
        """The scan as the benchmark says that it is to be read."""
        scan = read_scan(self.path, modality=self.modality, subject=self.subject)
        if self.thinned_by is None:
            return scan
        voxels, affine = program(self.thinned_by).to_2mm(scan.voxels, scan.affine)
        return Scan(
            voxels=np.asarray(voxels, np.float32),
            affine=np.asarray(affine, np.float64),
            modality=scan.modality,
            subject=scan.subject,
        )


@dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """One task: healthy scans to fit on, healthy scans for the threshold, and the test cases."""

    name: str
    """What tables call it."""
    bench: str
    """Name of the benchmark that it is part of."""
    modality: str
    recipe: Recipe
    """Preparation."""
    train: tuple[Source, ...]
    calibration: tuple[Source, ...]
    cases: tuple[TestCase, ...]
    notes: tuple[str, ...] = ()
    """What a reader of its numbers must know."""
    baselines: tuple[str, ...] = ()
    """Beginnings of the names of the simple methods that are shown beside ours."""
    subjects: int
    """Test subjects of the whole list, which the simple methods were measured on."""

    def test_source(self, case: TestCase) -> Source:
        """The scan of a test case."""
        return Source(subject=case.name, path=case.image, modality=self.modality)


def load_benchmark(
    name: str, shared: Path, cases: Path, *, mini: bool = False
) -> tuple[BenchmarkData, ...]:
    """The tasks of a local benchmark, with its cases made.

    Args:
        name: see :data:`LOADERS`.
        shared: folder that holds ``data`` and ``benchmarks``.
        cases: folder for the cases.
        mini: the small subset of the cases.
    """
    if name not in LOADERS:
        raise UsageError(f"benchmark {name!r}: unknown; choose from {', '.join(LOADERS)}")
    bench = shared / "benchmarks" / name
    rows = make_cases(bench, shared / "data", cases, mini=mini)
    found = LOADERS[name](bench, shared / "data", cases, rows)
    for task in found:
        _check_apart(task)
    return found


def _check_apart(task: BenchmarkData) -> None:
    """Refuse a test or calibration subject in training."""
    trained = {source.subject for source in task.train}
    others = {s.subject for s in task.calibration} | {c.subject for c in task.cases}
    both = sorted(trained & others)
    if both:
        raise DataError(f"{task.name}: {', '.join(both)} in both training and test; mend the list")


def _table(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise MissingError(f"{path}: no such list; give the folder that holds benchmarks")
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _files(folder: Path, row: dict[str, str]) -> tuple[Path, Path, Path]:
    return folder / row["image"], folder / row["gt"], folder / row["region"]


def _people(bench: Path, data: Path, role: str) -> tuple[Source, ...]:
    """The scans of ``ixi-stroke`` with this role."""
    return tuple(
        Source(
            subject=person["subject"],
            path=data / person["file"],
            modality="T1w",
            thinned_by=bench.parent / PROGRAM,
        )
        for person in _table(bench / "subjects.csv")
        if person["role"] == role
    )


def _ixi_stroke(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    origin = {person["subject"]: person["source"] for person in _table(bench / "subjects.csv")}
    return (
        BenchmarkData(
            name="ixi-stroke",
            bench="ixi-stroke",
            modality="T1w",
            recipe=recipe("default-t1"),
            train=_people(bench, data, "train"),
            calibration=_people(bench, data, "calibrate"),
            cases=tuple(_stroke_case(folder, row, origin) for row in rows),
            notes=("Simulated infarcts with real shapes in T1w scans of healthy people.",),
            baselines=("dark", "atlas_", "dae_"),
            subjects=len(_people(bench, data, "test")),
        ),
    )


def _stroke_case(folder: Path, row: dict[str, str], origin: dict[str, str]) -> TestCase:
    subject = row["case"].rsplit("_", 1)[0]
    image, truth, region = _files(folder, row)
    strata = {"size": row["size_bin"], "contrast": row["contrast"], "source": origin[subject]}
    return TestCase(
        name=row["case"],
        subject=subject,
        kind=row["kind"],
        image=image,
        truth=truth,
        region=region,
        strata={key: word for key, word in strata.items() if word},
    )


OWN_GRID = Recipe(
    name="mslub-1mm",
    steps=(
        Brain(how="background"),
        Crop(shape=(144, 176, 144), spacing=None),
        Intensity(low=0.0, high=100.0),
        Checks(volume_ml=None, overlap=None),
    ),
)
"""For methods that look at intensity alone: the scan's own voxels, nothing cut off."""
PREFIX = {"T1w": ("T1_dark", "T1_atlas"), "T2w": ("T2_bright",), "FLAIR": ("F_bright",)}


def _mslub(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    """One task per modality; the T1w task is trained on the healthy scans of ``ixi-stroke``."""
    healthy = _people(bench.parent / "ixi-stroke", data, "train")
    tasks = []
    for modality, word in (("FLAIR", "flair"), ("T1w", "t1"), ("T2w", "t2")):
        cases = [_mslub_case(folder, row) for row in rows if row["case"].endswith(f"_{word}")]
        tasks.append(_mslub_task(modality, cases, healthy if modality == "T1w" else ()))
    return tuple(tasks)


def _mslub_case(folder: Path, row: dict[str, str]) -> TestCase:
    name = row["case"]
    image, truth, region = _files(folder, row)
    return TestCase(
        name=name,
        subject=name.rsplit("_", 1)[0],
        kind=row["kind"],
        image=image,
        truth=truth,
        region=region,
    )


def _mslub_task(modality: str, cases: list[TestCase], train: tuple[Source, ...]) -> BenchmarkData:
    calibration = tuple(
        Source(subject=case.subject, path=case.image, modality=modality, without=case.truth)
        for case in cases
    )
    trained = "the healthy scans of ixi-stroke" if train else f"no scan: none is {modality}"
    return BenchmarkData(
        name=f"mslub/{modality}",
        bench="mslub",
        modality=modality,
        recipe=recipe("default-t1") if modality == "T1w" else OWN_GRID,
        train=train,
        calibration=calibration,
        cases=tuple(cases),
        notes=(
            "A check on one patient with multiple sclerosis, not a statistic.",
            f"Trained on {trained}; the threshold is from the same patient outside the lesions.",
        ),
        baselines=PREFIX[modality],
        subjects=len(cases),
    )


Loader = Callable[[Path, Path, Path, list[dict[str, str]]], tuple[BenchmarkData, ...]]
LOADERS: dict[str, Loader] = {"ixi-stroke": _ixi_stroke, "mslub": _mslub}
"""Local benchmarks by name."""
