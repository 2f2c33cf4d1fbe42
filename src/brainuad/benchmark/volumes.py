"""``ixi-stroke`` and ``mslub``: stripped volumes of whole brains."""

from pathlib import Path

from brainuad.benchmark.cases import PROGRAM, TestCase
from brainuad.benchmark.sources import Source
from brainuad.benchmark.task import BenchmarkData, case_of, table
from brainuad.prepare import Recipe, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.resample import Crop


def _people(bench: Path, data: Path, role: str) -> tuple[Source, ...]:
    """The scans of ``ixi-stroke`` with this role."""
    return tuple(
        Source(
            subject=person["subject"],
            path=data / person["file"],
            modality="T1w",
            thinned_by=bench.parent / PROGRAM,
        )
        for person in table(bench / "subjects.csv")
        if person["role"] == role
    )


def ixi_stroke(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    """Simulated infarcts in T1w scans of healthy people."""
    origin = {person["subject"]: person["source"] for person in table(bench / "subjects.csv")}
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
    strata = {"size": row["size_bin"], "contrast": row["contrast"], "source": origin[subject]}
    return case_of(folder, row, subject=subject, strata=strata)


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


def mslub(
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
    return case_of(folder, row, subject=row["case"].rsplit("_", 1)[0])


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
