"""Pictures show the right side on the left, the lesion, and the whole brain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.made import SHAPE, ball, made

from brainuad.report import planes
from brainuad.types import DataError


def test_right_of_the_person_is_left_in_the_picture_and_front_is_on_top():
    marked = np.zeros((5, 7), dtype=np.float32)
    marked[4, 6] = 1.0  # far right, far front
    picture = planes.upright(marked)
    assert picture.shape == (7, 5)
    assert picture[0, 0] == 1.0


@pytest.mark.parametrize("axis", [0, 1])
def test_cut_is_the_upright_slice_within_the_window(axis: int):
    volumes = made()
    view = planes.window(volumes, margin_mm=0.0)
    cut = view.cut(np.indices(SHAPE)[axis].astype(float), 8)
    assert cut.shape == view.pixels
    assert (np.diff(cut, axis=1 - axis) == -1).all()


def test_window_holds_the_whole_brain_and_its_margin():
    volumes = made()
    view = planes.window(volumes, margin_mm=4.0)
    assert (view.columns, view.rows) == (slice(1, 19), slice(3, 21))


def test_window_keeps_true_proportions():
    view = planes.window(made((1.0, 3.0, 1.0)), margin_mm=0.0)
    rows, columns = view.pixels
    assert view.aspect == pytest.approx(3.0)
    assert view.shape == pytest.approx(3.0 * rows / columns)


@given(st.lists(st.integers(0, 500), min_size=1, unique=True).map(sorted), st.integers(1, 60))
def test_spread_keeps_order_ends_and_count(candidates: list[int], count: int):
    picks = planes.spread(candidates, count)
    assert picks == sorted(set(picks))
    assert len(picks) == min(count, len(candidates))
    assert picks[0] == candidates[0]
    if count > 1:
        assert picks[-1] == candidates[-1]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_slice_with_the_largest_lesion_is_always_chosen(count: int):
    volumes = made(lesion=ball((9, 11, 12), 2.0))
    chosen = planes.chosen_slices(volumes, count)
    assert 12 in chosen
    assert len(chosen) == count
    assert chosen == sorted(chosen)


def test_truth_outranks_mask_and_mask_outranks_map():
    lesion, mask = ball((9, 11, 12), 2.0), ball((9, 11, 5), 2.0)
    anomaly = ball((9, 11, 8), 2.0).astype(np.float32)
    assert planes.chosen_slices(made(lesion=lesion, mask=mask, anomaly=anomaly), 1) == [12]
    assert planes.chosen_slices(made(mask=mask, anomaly=anomaly), 1) == [5]
    assert planes.chosen_slices(made(anomaly=anomaly), 1) == [8]


def test_an_empty_truth_does_not_hide_the_map():
    empty = np.zeros(SHAPE, dtype=bool)
    anomaly = ball((9, 11, 6), 2.0).astype(np.float32)
    assert planes.chosen_slices(made(lesion=empty, mask=empty, anomaly=anomaly), 1) == [6]


def test_height_comes_from_the_affine():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[2, 3] = -20.0
    assert planes.height_mm(made(affine=affine), 10) == pytest.approx(10.0)


def test_three_thresholds_are_the_brightest_colour():
    assert planes.anomaly_top(made(threshold=0.2)) == pytest.approx(0.6)


def test_colours_reach_further_where_much_lies_above_three_thresholds():
    anomaly = ball((9, 11, 8), 3.0).astype(np.float32)
    assert planes.anomaly_top(made(threshold=0.2, anomaly=anomaly)) == pytest.approx(1.0)
    assert planes.anomaly_top(made(threshold=0.5, anomaly=anomaly)) == pytest.approx(1.5)


def test_without_a_threshold_the_map_sets_the_scale():
    anomaly = np.linspace(0, 1, int(np.prod(SHAPE))).reshape(SHAPE).astype(np.float32)
    volumes = made(anomaly=anomaly)
    share_above = (anomaly[volumes.inside] > planes.anomaly_top(volumes)).mean()
    assert share_above == pytest.approx(0.005, abs=0.002)
    assert planes.anomaly_top(made()) == 1.0


def test_background_is_black_and_brain_is_bright():
    low, high = planes.grey_range(made())
    assert (low, high) == pytest.approx((0.0, 0.6))


@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_grey_values_stay_in_the_unit_interval(low: float, width: float):
    plane = np.linspace(-10, 10, 30).reshape(5, 6)
    grey = planes.to_unit(plane, low, low + width)
    assert grey.min() >= 0
    assert grey.max() <= 1
    assert (np.diff(grey.ravel()) >= 0).all()


def test_without_a_brain_mask_background_is_left_out():
    volumes = made(brain=None)
    assert volumes.inside.sum() == (volumes.scan > 0).sum()


def test_a_scan_without_brain_is_an_error():
    with pytest.raises(DataError, match="no voxel inside the brain; check the brain mask"):
        planes.window(made(brain=np.zeros(SHAPE, dtype=bool)))
