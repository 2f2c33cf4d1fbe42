"""One interpolation between grids; whole voxels stay what they are; masks keep their volume."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.prepare.heads import ball, grid, places, simple

from brainuad.prepare.grid import Grid
from brainuad.prepare.measure import known_brain
from brainuad.prepare.pipeline import Prepared
from brainuad.prepare.resample import Crop, Resample, box, resample, resample_mask
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError

SHAPE = (20, 22, 24)
AFFINE = grid(SHAPE, (2, 2, 2), (0, 0, 0))
NOISE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("order", [1, 3])
def test_the_same_grid_is_a_copy(order):
    found = resample(NOISE, AFFINE, SHAPE, AFFINE, order=order)
    np.testing.assert_array_equal(found, NOISE)
    assert not np.shares_memory(found, NOISE)


@given(shift=st.tuples(*[st.integers(-30, 30)] * 3), size=st.tuples(*[st.integers(1, 30)] * 3))
def test_whole_voxels_are_cropped_and_padded(shift, size):
    to = AFFINE.copy()
    to[:3, 3] += AFFINE[:3, :3] @ shift
    found = resample(NOISE, AFFINE, size, to)
    for voxel in ((0, 0, 0), tuple(n // 2 for n in size), tuple(n - 1 for n in size)):
        source = tuple(np.add(voxel, shift))
        there = all(0 <= a < n for a, n in zip(source, SHAPE, strict=True))
        assert found[voxel] == (NOISE[source] if there else 0)


@settings(max_examples=20, deadline=None)
@given(
    slope=st.tuples(*[st.floats(-2, 2)] * 3),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    order=st.sampled_from([1, 3]),
)
def test_a_plane_stays_a_plane(slope, degrees, order):
    plane = (places(SHAPE, AFFINE) @ slope + 5).astype(np.float32)
    shape = (6, 7, 8)
    to = grid(shape, (1.5, 1.5, 1.5), degrees)
    found = resample(plane, AFFINE, shape, to, order=order)
    np.testing.assert_allclose(found, places(shape, to) @ slope + 5, atol=5e-2)


def test_coarser_grids_average_and_keep_the_mean():
    fine = grid((40, 40, 40), (1, 1, 1), (0, 0, 0))
    noise = np.random.default_rng(1).normal(10, 1, (40, 40, 40)).astype(np.float32)
    shape = (8, 8, 8)
    found = resample(noise, fine, shape, grid(shape, (4, 4, 4), (0, 0, 0)))[1:-1, 1:-1, 1:-1]
    assert found.mean() == pytest.approx(10, abs=0.1)
    assert found.std() < 0.25  # the mean of 64 values has 0.125; no smoothing would leave 0.6


def test_only_the_voxels_asked_for_are_filled():
    to = grid(SHAPE, (1.7, 1.7, 1.7), (5, 0, 0))
    where = NOISE > 0
    whole = resample(NOISE, AFFINE, SHAPE, to)
    found = resample(NOISE, AFFINE, SHAPE, to, where=where)
    np.testing.assert_array_equal(found, np.where(where, whole, 0))


def test_a_bright_rim_is_not_darkened():
    scan = simple()
    flat = replace(scan, voxels=np.where(known_brain(scan), 7, 0).astype(np.float32))
    for order in (1, 3):
        step = Resample(grid=Grid(shape=(30, 36, 30), origin=(-40.0, -50.0, -40.0)), order=order)
        new = step(Work.start(flat)).scan
        np.testing.assert_allclose(new.voxels[new.brain], 7, rtol=1e-3)
        assert not new.voxels[~new.brain].any()


def test_values_stay_within_those_of_the_brain():
    scan = simple()
    noisy = np.where(
        known_brain(scan), np.random.default_rng(2).normal(-50, 30, scan.voxels.shape), 0
    )
    scan = replace(scan, voxels=noisy.astype(np.float32))
    new = Resample(grid=Grid(shape=(40, 40, 40), origin=(-37.3, -40.0, -41.0)))(
        Work.start(scan)
    ).scan
    assert new.voxels[new.brain].min() >= scan.voxels[scan.brain].min()
    assert new.voxels[new.brain].max() <= scan.voxels[scan.brain].max()


def test_brain_volume_is_kept():
    scan = simple()
    new = Resample(grid=Grid(shape=(50, 60, 50), spacing=(1.6,) * 3, origin=(-39.0, -47.0, -39.0)))(
        Work.start(scan)
    ).scan
    assert new.brain.sum() * 1.6**3 == pytest.approx(scan.brain.sum() * 8, rel=0.01)


def test_crop_moves_whole_voxels_only():
    scan = simple()
    new = Crop(shape=(32, 64, 36))(Work.start(scan)).scan
    assert new.voxels.shape == (32, 64, 36)
    low, high = box(new.brain)
    np.testing.assert_allclose((low + high) / 2, (16, 32, 18), atol=1)
    assert sorted(new.voxels[new.brain]) == sorted(scan.voxels[scan.brain])


def test_crop_changes_the_spacing_when_asked():
    scan = simple()
    fine = Crop(shape=(64, 80, 64), spacing=1.0)(Work.start(scan)).scan
    assert fine.spacing == (1, 1, 1)
    assert fine.brain.sum() == pytest.approx(8 * scan.brain.sum(), rel=0.02)
    assert Crop(shape=(32, 40, 32), spacing=None)(Work.start(scan)).scan.spacing == (2, 2, 2)


def test_the_brain_comes_first():
    with pytest.raises(DataError, match="egg: no brain mask yet; put the brain step first"):
        Resample()(Work.start(simple(brain=False)))


def test_an_empty_mask_has_no_box():
    with pytest.raises(DataError, match="brain mask: is empty"):
        box(np.zeros((2, 2, 2), bool))


def test_box_is_half_open():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 2, 4:7] = True
    low, high = box(mask)
    assert (low.tolist(), high.tolist()) == ([1, 2, 4], [3, 3, 7])


def test_an_empty_mask_stays_empty():
    assert not resample_mask(np.zeros(SHAPE, bool), AFFINE, SHAPE, AFFINE).any()


def test_a_mask_thinner_than_a_voxel_is_not_lost():
    shape = (40, 40, 40)
    fine = grid(shape, (1, 1, 1), (0, 0, 0))
    sheet = np.zeros(shape, bool)
    sheet[20, 5:35, 5:35] = True
    found = resample_mask(sheet, fine, (10, 10, 10), grid((10, 10, 10), (4, 4, 4), (0, 0, 0)))
    assert found.sum() * 64 == pytest.approx(900, rel=0.1)


NATIVE = {
    "1 mm": ((60, 60, 60), (1.0, 1.0, 1.0), (0, 0, 0)),
    "2 mm": ((40, 40, 40), (2.0, 2.0, 2.0), (0, 0, 0)),
    "oblique": ((40, 40, 40), (2.0, 2.0, 2.0), (20, -15, 10)),
    "thick slices": ((70, 70, 14), (0.9, 0.9, 5.0), (0, 0, 0)),
    "thick and oblique": ((70, 70, 14), (0.9, 0.9, 5.0), (12, 8, -20)),
}


@pytest.mark.parametrize("name", NATIVE)
@settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    centre=st.tuples(*[st.floats(-5, 5)] * 3),
    radius=st.sampled_from([4.0, 8.0, 16.0]),
    stretch=st.tuples(*[st.floats(0.9, 1.2)] * 3),
)
def test_a_ball_comes_home_with_its_place_and_volume(name, centre, radius, stretch):
    shape, spacing, degrees = NATIVE[name]
    affine = grid(shape, spacing, degrees)
    planted = ball(shape, affine, centre, radius)
    brain = np.ones(shape, bool)
    original = Scan(
        voxels=planted.astype(np.float32), affine=affine, modality="T1w", subject="b", brain=brain
    )
    placed = np.diag([*stretch, 1]) @ affine
    there = grid((48, 48, 48), (2, 2, 2), (0, 0, 0))
    canonical = resample_mask(planted, placed, (48, 48, 48), there)
    scan = replace(original, voxels=canonical.astype(np.float32), affine=there, brain=canonical)
    prepared = Prepared(scan=scan, original=original, placed=placed, report={})
    home = prepared.mask_to_original(canonical)
    away = places(shape, affine)
    assert np.linalg.norm(away[home].mean(0) - away[planted].mean(0)) < 0.5
    assert home.sum() == pytest.approx(planted.sum(), rel=0.03)
