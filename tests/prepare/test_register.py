"""Registration finds the pose and size that a known person was given, and never mirrors."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class
from tests.prepare.heads import person

from brainuad.gate import grid_distance
from brainuad.prepare.brain import Brain
from brainuad.prepare.register import Register, cut_axes
from brainuad.prepare.work import Work
from brainuad.types import DataError


def registered(scan, **options):
    work = Register(**options)(Brain(how="background")(Work.start(scan)))
    return np.array(work.notes["matrix"]), work


@pytest.mark.parametrize(
    ("pose", "size", "modality"),
    [((-18, 0, 0), 0.9, "T1w"), ((30, -12, 10), 0.85, "T1w"), ((8, 5, -15), 1.05, "T2w")],
)
def test_a_known_pose_is_found_to_the_millimetre(pose, size, modality):
    scan, truth = person(pose, size, modality)
    matrix, work = registered(scan)
    assert grid_distance(scan.voxels.shape, matrix @ scan.affine, truth @ scan.affine) < 2.0
    np.testing.assert_allclose(work.scan.affine, matrix @ scan.affine)
    np.testing.assert_allclose(work.placed, matrix @ scan.affine)
    np.testing.assert_array_equal(work.scan.voxels, scan.voxels)


def test_equal_scans_get_equal_matrices_and_threads_are_left_alone():
    scan, _ = person((10, 0, 5), 0.9)
    before = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    first, again = (registered(scan, levels_mm=(8.0,), iterations=20)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert itk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_left_stays_left():
    scan, _ = person((0, 0, 0), 0.9)
    mirrored = replace(scan, voxels=np.ascontiguousarray(scan.voxels[::-1]))
    for each in (scan, mirrored):
        matrix, _ = registered(each, levels_mm=(8.0,))
        assert np.linalg.det(matrix[:3, :3]) > 0
        assert matrix[0, 0] > 0.5


@pytest.mark.parametrize(("low", "high"), [(0, 34), (28, 66)], ids=["below", "above"])
def test_a_slab_of_a_brain_is_not_stretched_to_a_whole_one(low, high):
    scan, truth = person((8, 0, 0), 0.95)
    cut = replace(
        scan,
        voxels=np.ascontiguousarray(scan.voxels[:, :, low:high]),
        affine=scan.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, low], [0, 0, 0, 1]]),
    )
    matrix, work = registered(cut)
    assert cut_axes(work.scan) == (2,)
    assert grid_distance(cut.voxels.shape, matrix @ cut.affine, truth @ cut.affine) < 6.0
    stretch = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    assert stretch == pytest.approx([1 / 0.95] * 3, rel=0.04)


def test_a_whole_brain_is_not_cut():
    scan, _ = person()
    assert cut_axes(Brain(how="background")(Work.start(scan)).scan) == ()


def test_rigid_keeps_distances():
    scan, _ = person((10, 0, 5), 0.9)
    matrix, _ = registered(scan, kind="rigid", levels_mm=(8.0,), iterations=30)
    turn = matrix[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)


def test_none_leaves_the_scan_where_it_is():
    work = Work.start(person()[0])
    left = Register(kind="none")(work)
    assert left.scan is work.scan
    assert left.placed is work.placed
    assert "matrix" not in left.notes


def test_a_stretch_that_no_brain_has_is_refused():
    scan, _ = person((0, 0, 0), 0.9)
    tiny = replace(scan, affine=np.diag([0.3, 0.3, 0.3, 1.0]) @ scan.affine)
    with pytest.raises(DataError, match="sub-01: registration failed .stretch"):
        registered(tiny, levels_mm=(8.0,), iterations=5)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_few_slices_are_not_aligned_with_a_template(slices):
    scan, _ = person()
    few = replace(scan, voxels=scan.voxels[:, :, :slices], brain=scan.voxels[:, :, :slices] > -1)
    with pytest.raises(DataError, match="cannot be aligned .* without registration"):
        Register().matrix(few)


def test_brains_that_never_meet_are_said(monkeypatch):
    def apart(*_):
        raise RuntimeError("All samples map outside moving image buffer")

    monkeypatch.setattr(Register, "_fit", apart)
    with pytest.raises(DataError, match="sub-01: registration failed, the two brains do not meet"):
        Register().matrix(person()[0])
