"""Stacks of which some slices are healthy, and the list of the benchmark that holds them."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.conftest import PROGRAM, save, write_table

from brainuad.benchmark import RunSettings, load_benchmark, run_benchmark
from brainuad.benchmark.found import read_case
from brainuad.benchmark.prepared import load_prepared, prepare_all
from brainuad.benchmark.slices import HEAD_GRID
from brainuad.benchmark.sources import StackSource
from brainuad.pool import Pool
from brainuad.prepare import prepare_scan
from brainuad.report.tables import read_results
from brainuad.scan import Scan
from brainuad.types import DataError

SHAPE = (40, 36, 6)
ROLES = {"a": "train", "b": "train", "c": "calibrate", "t": "test"}
SLICES = {"a": (0, 5), "b": (1,), "c": (4, 5)}


def stack(seed: int, affine: np.ndarray | None = None) -> Scan:
    """A head of integers, brighter from slice to slice."""
    voxels = np.zeros(SHAPE, np.float32)
    values = np.random.default_rng(seed).integers(90, 110, (32, 30, 6))
    voxels[4:36, 3:33] = values + 10 * np.arange(6)
    affine = np.diag([2.0, 2, 5, 1]) if affine is None else affine
    return Scan(voxels=voxels, affine=affine, modality="FLAIR", subject="s")


def write_lists(bench: Path, roles: dict[str, str], slices: list[tuple[str, str, int]]) -> None:
    write_table(
        bench / "patients.csv",
        [{"patient": p, "role": role, "flair": f"lgg/{p}.nii.gz"} for p, role in roles.items()],
    )
    rows = [{"patient": p, "role": role, "slice": str(k)} for p, role, k in slices]
    write_table(bench / "healthy_slices.csv", rows)


LISTED = [(p, ROLES[p], k) for p, numbers in SLICES.items() for k in numbers]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A made-up ``lgg-flair`` of four patients."""
    data, bench = tmp_path / "data", tmp_path / "benchmarks" / "lgg-flair"
    for number, patient in enumerate(ROLES):
        scan = stack(number)
        save(data / "lgg" / f"{patient}.nii.gz", scan.voxels, scan)
    scan = stack(3)
    lesion = np.zeros(SHAPE, bool)
    lesion[15:27, 15:27, 2:4] = True
    files = {"image": "t_img.nii.gz", "gt": "t_gt.nii.gz", "region": "t_region.nii.gz"}
    save(data / "ready" / files["image"], np.where(lesion, 220, scan.voxels), scan)
    save(data / "ready" / files["gt"], lesion, scan, "mask")
    save(data / "ready" / files["region"], scan.voxels > 0, scan, "mask")
    write_lists(bench, ROLES, LISTED)
    row = {"case": "t", "kind": "lesion", **files, "size_bin": "", "contrast": ""}
    write_table(bench / "ready.csv", [row])
    (bench.parent / "make_cases.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def source(root: Path, slices: tuple[int, ...], patient: str = "a") -> StackSource:
    return StackSource(
        subject=patient,
        path=root / "data" / "lgg" / f"{patient}.nii.gz",
        modality="FLAIR",
        head_by=root / "benchmarks" / "make_cases.py",
        slices=slices,
    )


def test_patients_have_one_role_and_their_listed_slices(root: Path):
    (task,) = load_benchmark("lgg-flair", root, root / "cases")
    assert {s.subject: s.slices for s in task.train if isinstance(s, StackSource)} == {
        "a": (0, 5),
        "b": (1,),
    }
    assert [s.subject for s in task.calibration] == ["c"]
    assert [c.subject for c in task.cases] == ["t"]
    assert task.test_source(task.cases[0]).brain == task.cases[0].region


def test_only_listed_slices_are_left_and_the_whole_stack_sets_the_level(root: Path):
    found = source(root, (0, 5))
    prepared = found.healthy(prepare_scan(found.read(), HEAD_GRID))
    original, scan = prepared.original, prepared.scan
    assert original.brain is not None
    assert scan.brain is not None
    assert np.flatnonzero(original.brain.any((0, 1))).tolist() == [0, 5]
    assert np.flatnonzero(scan.brain.any((0, 1))).tolist() == [0, 5]
    assert np.flatnonzero(scan.voxels.any((0, 1))).tolist() == [0, 5]
    voxels = stack(0).voxels
    # deeper than 16 mm, which are 8 voxels: the ninth from the rim on
    level = np.median(voxels[12:28, 11:25])
    shown = scan.voxels[: SHAPE[0], : SHAPE[1], [0, 5]]
    np.testing.assert_allclose(shown, 0.25 * voxels[..., [0, 5]] / level, rtol=1e-5)


def test_slices_are_counted_as_they_lie_in_the_file(root: Path):
    downwards = np.diag([2.0, 2, -5, 1])
    scan = stack(0)
    file = replace(scan, voxels=scan.voxels[:, :, ::-1].copy(), affine=downwards)
    import nibabel as nib

    path = root / "data" / "lgg" / "a.nii.gz"
    nib.Nifti1Image(file.voxels, downwards).to_filename(path)
    found = source(root, (0,))
    prepared = prepare_scan(found.read(), replace(HEAD_GRID, steps=HEAD_GRID.steps[:1]))
    kept = found.healthy(prepared).original
    assert kept.brain is not None
    # the first slice of the file is the highest one
    assert np.flatnonzero(kept.brain.any((0, 1))).tolist() == [5]


def test_slices_that_do_not_fit_the_file_are_refused(root: Path):
    found = source(root, (2, 6))
    prepared = prepare_scan(found.read(), HEAD_GRID)
    with pytest.raises(DataError, match=r"a\.nii\.gz: has no slice 6 of 6; mend the list"):
        found.healthy(prepared)
    import nibabel as nib

    sagittal = np.array([[0, 0, 5.0, 0], [2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
    nib.Nifti1Image(stack(0).voxels, sagittal).to_filename(found.path)
    prepared = prepare_scan(found.read(), replace(HEAD_GRID, steps=HEAD_GRID.steps[:1]))
    with pytest.raises(DataError, match="its axes are ASR; give a stack of axial slices"):
        found.healthy(prepared)


def test_store_holds_the_listed_slices_and_calibration_counts_them_alone(root: Path):
    (task,) = load_benchmark("lgg-flair", root, root / "cases")
    with Pool(1, progress=False) as pool:
        shelf = prepare_all(task, root / "prepared", pool)
    assert not shelf.failures
    assert shelf.store is not None
    keys = shelf.store.batches("axial").get(range(3)).keys
    assert keys == ("a/axial-000", "a/axial-005", "b/axial-001")
    calibrating = load_prepared(shelf.calibration["c"]).original.brain
    assert calibrating is not None
    assert calibrating.sum() == 2 * 32 * 30


def test_benchmark_runs_and_finds_what_is_bright(root: Path):
    settings = RunSettings(workers=1, progress=False, resamples=50)
    run_benchmark(
        "lgg-flair",
        data=root,
        out=root / "out",
        methods=["intensity:bright-raw"],
        settings=settings,
    )
    (found,) = [
        row.value
        for row in read_results(root / "out" / "results.csv")
        if row.metric == "auprc_subject"
    ]
    assert found > 0.9


@pytest.mark.parametrize(
    ("roles", "slices", "match"),
    [
        (ROLES, [*LISTED, ("t", "train", 0)], "t has healthy slices to train, but not that role"),
        (ROLES | {"t": "calibrate"}, LISTED, "t is no test patient of its list"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(
    root: Path, roles: dict[str, str], slices: list[tuple[str, str, int]], match: str
):
    write_lists(root / "benchmarks" / "lgg-flair", roles, slices)
    with pytest.raises(DataError, match=match):
        load_benchmark("lgg-flair", root, root / "cases")


@pytest.mark.parametrize("role", ["train", "calibrate"])
def test_test_patient_elsewhere_is_refused(root: Path, role: str):
    """Twice in the list of patients, once for each role."""
    bench = root / "benchmarks" / "lgg-flair"
    write_lists(bench, ROLES, [*LISTED, ("t", role, 0)])
    with (bench / "patients.csv").open("a", encoding="utf-8") as handle:
        handle.write(f"t,{role},lgg/t.nii.gz\n")
    where = "training" if role == "train" else "calibration"
    with pytest.raises(DataError, match=f"lgg-flair: t in both {where} and test; mend the list"):
        load_benchmark("lgg-flair", root, root / "cases")


@pytest.mark.real
def test_real_lists_part_patients_and_lesions_lie_in_the_head(shared_data: Path, tmp_path: Path):
    (task,) = load_benchmark("lgg-flair", shared_data, tmp_path / "cases", mini=True)
    assert (len(task.train), len(task.calibration), task.subjects) == (38, 10, 18)
    count = [sum(len(s.slices) for s in part if isinstance(s, StackSource))
             for part in (task.train, task.calibration)]  # fmt: skip
    assert count == [600, 168]
    listing = shared_data / "benchmarks" / "lgg-flair" / "patients.csv"
    with listing.open(newline="", encoding="utf-8") as handle:
        tested = {row["patient"] for row in csv.DictReader(handle) if row["role"] == "test"}
    assert {c.subject for c in task.cases} <= tested
    assert not tested & {s.subject for s in (*task.train, *task.calibration)}
    for case in task.cases:
        scan, truth, region = read_case(case, task.modality)
        assert truth.any()
        assert not (truth & ~region).any()
        prepared = prepare_scan(task.test_source(case).read(), task.recipe)
        k = scan.voxels.shape[2]
        np.testing.assert_array_equal(prepared.scan.brain[..., :k], region)
    healthy = task.train[0]
    shown = healthy.healthy(prepare_scan(healthy.read(), task.recipe)).scan.brain
    assert isinstance(healthy, StackSource)
    assert shown is not None
    assert tuple(np.flatnonzero(shown.any((0, 1)))) == healthy.slices
