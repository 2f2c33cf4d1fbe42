"""``mednist-sprites`` and ``lgg-flair``: slices, judged with everything that they show."""

from pathlib import Path

from brainuad.benchmark.cases import PROGRAM, TestCase
from brainuad.benchmark.sources import SliceSource, Source, StackSource
from brainuad.benchmark.task import BenchmarkData, case_of, table
from brainuad.postprocess import Postprocess
from brainuad.prepare import Grid, Recipe, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.resample import Resample
from brainuad.prepare.scale import InnerMedian
from brainuad.types import DataError


def mednist_sprites(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    """Sprites pasted into slices of head CT."""
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
        for row in table(bench / "files.csv")
        if row["role"] == role
    )


def _sprite_case(folder: Path, row: dict[str, str]) -> TestCase:
    subject = row["case"].rsplit("_", 1)[0]
    return case_of(folder, row, subject=subject, strata={"sprite": row["contrast"]})


HEAD_GRID = Recipe(
    name="lgg-flair",
    steps=(
        Brain(how="given"),
        Resample(grid=Grid(shape=(128, 128, 96), spacing=(2.0, 2.0, 5.0), origin=(0.0, 0.0, 0.0))),
        InnerMedian(),
        Checks(
            volume_ml=None,
            overlap=None,
            seen=None,
            white_over_grey=None,
            noise=None,
            movement=None,
            flat=None,
            coverage=1.0,
        ),
    ),
)
"""The stack's own voxels, filled up with empty slices: the tallest has 88. The grey level of the
whole stack is its scale, because the healthy slices of training are mostly its top and bottom."""


def lgg_flair(
    bench: Path, data: Path, folder: Path, rows: list[dict[str, str]]
) -> tuple[BenchmarkData, ...]:
    """Gliomas in FLAIR stacks with the skull; healthy are the slices of others far from any."""
    tested = {row["case"] for row in rows}
    listed = {row["patient"] for row in table(bench / "patients.csv") if row["role"] == "test"}
    strange = sorted(tested - listed)
    if strange:
        raise DataError(f"{bench}: {strange[0]} is no test patient of its list; mend patients.csv")
    return (
        BenchmarkData(
            name="lgg-flair",
            bench="lgg-flair",
            modality="FLAIR",
            recipe=HEAD_GRID,
            train=_healthy_slices(bench, data, "train"),
            calibration=_healthy_slices(bench, data, "calibrate"),
            cases=tuple(case_of(folder, row, subject=row["case"]) for row in rows),
            notes=(
                "The whole head is scored. Healthy are slices without lesion of other patients, "
                "mostly from the top and the bottom of their stacks, not healthy people.",
                "The voxel size of 2 x 2 x 5 mm is nominal, so volumes in ml are nominal too.",
            ),
            baselines=("bright", "atlas_", "knn", "pca"),
            subjects=len(listed),
            postprocess=Postprocess(median=5, axial_only=True),
            region_known=True,
        ),
    )


def _healthy_slices(bench: Path, data: Path, role: str) -> tuple[StackSource, ...]:
    """The stacks of the patients with this role, each with its listed slices."""
    slices: dict[str, list[int]] = {}
    for row in table(bench / "healthy_slices.csv"):
        if row["role"] == role:
            slices.setdefault(row["patient"], []).append(int(row["slice"]))
    people = [row for row in table(bench / "patients.csv") if row["role"] == role]
    strange = sorted(set(slices) - {row["patient"] for row in people})
    if strange:
        raise DataError(
            f"{bench}: {strange[0]} has healthy slices to {role}, but not that role in "
            "patients.csv; mend the lists"
        )
    return tuple(
        StackSource(
            subject=row["patient"],
            path=data / row["flair"],
            modality="FLAIR",
            head_by=bench.parent / PROGRAM,
            slices=tuple(slices[row["patient"]]),
        )
        for row in people
        if row["patient"] in slices
    )
