"""Which scans a benchmark trains on, calibrates on and tests; one modality each."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brainuad.benchmark.cases import PROGRAM, TestCase, make_cases
from brainuad.benchmark.sources import SliceSource, Source
from brainuad.prepare import Recipe, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.resample import Crop
from brainuad.types import DataError, MissingError, UsageError


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


def _mednist_sprites(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    return (
        BenchmarkData(
            name="mednist-sprites",
            bench="mednist-sprites",
            modality="CT",
            recipe=recipe("slices"),
            train=_slices(bench, data, "train"),
            calibration=_slices(bench, data, "calibrate"),
            cases=tuple(_sprite_case(folder, row) for row in rows),
            notes=(
                "Head CT slices of 64 x 64 pixels with pasted sprites; the whole image is scored.",
                "The kind 'matched' is the number to quote: flat sprites show by their missing "
                "texture.",
            ),
            baselines=("bright", "dark", "knn", "pca", "dae"),
            subjects=len({row["case"] for row in rows}),
        ),
    )


def _slices(bench: Path, data: Path, role: str) -> tuple[Source, ...]:
    """The slices of ``mednist-sprites`` with this role."""
    return tuple(
        SliceSource(
            subject=f"ct{Path(row['file']).stem}",
            path=data / "headct_mednist.zip",
            modality="CT",
            member=row["file"],
        )
        for row in _table(bench / "files.csv")
        if row["role"] == role
    )


def _sprite_case(folder: Path, row: dict[str, str]) -> TestCase:
    image, truth, region = _files(folder, row)
    return TestCase(
        name=row["case"],
        subject=row["case"].rsplit("_", 1)[0],
        kind=row["kind"],
        image=image,
        truth=truth,
        region=region,
        strata={"sprite": row["contrast"]} if row["contrast"] else {},
    )


Loader = Callable[[Path, Path, Path, list[dict[str, str]]], tuple[BenchmarkData, ...]]
LOADERS: dict[str, Loader] = {
    "ixi-stroke": _ixi_stroke,
    "mslub": _mslub,
    "mednist-sprites": _mednist_sprites,
}
"""Local benchmarks by name."""
