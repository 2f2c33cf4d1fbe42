"""Steps from raw map to mask, judged by brute force, by invariants and by golden numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad import postprocess
from brainuad.manifest import hash_of
from brainuad.postprocess import Postprocess, steepen
from brainuad.types import DataError, UsageError

OFF = Postprocess(median=0)
SPACING = (2.0, 2.0, 2.0)
SHAPE = (7, 6, 5)
maps = arrays(np.float32, SHAPE, elements=st.floats(0, 10, width=16))
brains = arrays(np.bool_, SHAPE)
steps = st.builds(
    Postprocess,
    erode_mm=st.sampled_from([0.0, 2.0, 3.0]),
    median=st.sampled_from([0, 3, 5]),
    smooth_mm=st.sampled_from([0.0, 4.0]),
    minimum_ml=st.sampled_from([0.0, 0.02]),
    axial_only=st.booleans(),
    peak_drop=st.sampled_from([0.0, 2.0]),
    relative=st.sampled_from([0.0, 0.5, 0.9]),
)


def brute_components(mask):
    """Sets of voxels, by flooding over all 26 neighbours."""
    left = {tuple(v) for v in np.argwhere(mask)}
    found = []
    while left:
        todo, component = [left.pop()], set()
        while todo:
            voxel = todo.pop()
            component.add(voxel)
            for step in itertools.product((-1, 0, 1), repeat=3):
                near = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if near in left:
                    left.remove(near)
                    todo.append(near)
        found.append(component)
    return found


@given(anomaly=maps, brain=brains, post=steps)
@settings(max_examples=60, deadline=None)
def test_result_is_a_map_again(anomaly, brain, post):
    before = anomaly.copy()
    result = post.apply(anomaly, brain, SPACING)
    assert result.shape == anomaly.shape
    assert result.dtype == anomaly.dtype
    assert (result >= 0).all()
    assert (result[~brain] == 0).all()
    # so few voxels have a score of one voxel, the highest
    most = anomaly.max(initial=0) ** (1 - post.relative)
    assert result.max(initial=0) <= most * (1 + 1e-5)
    np.testing.assert_array_equal(anomaly, before)
    np.testing.assert_array_equal(post.apply(anomaly, brain, SPACING), result)


@given(anomaly=maps, brain=brains)
@settings(max_examples=20, deadline=None)
def test_no_step_leaves_the_map_alone_inside_the_brain(anomaly, brain):
    np.testing.assert_array_equal(OFF.apply(anomaly, brain, SPACING), anomaly * brain)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("axial_only", [False, True])
@given(anomaly=arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5])))
@settings(max_examples=10, deadline=None)
def test_median_equals_a_loop(anomaly, size, axial_only):
    r, rk = size // 2, 0 if axial_only else size // 2
    padded = np.pad(anomaly, ((r, r), (r, r), (rk, rk)), mode="symmetric")
    expected = np.empty_like(anomaly)
    for i, j, k in np.ndindex(*SHAPE):
        expected[i, j, k] = np.median(padded[i : i + size, j : j + size, k : k + 2 * rk + 1])
    np.testing.assert_array_equal(
        postprocess.median(anomaly, size, axial_only=axial_only), expected
    )


def test_median_of_nothing_is_nothing():
    assert not postprocess.median(np.zeros(SHAPE, np.float32), 3).any()


def test_erosion_takes_layers_by_distance_in_mm():
    brain = np.zeros((11, 11, 11), bool)
    brain[1:10, 1:10, 1:10] = True
    one = postprocess.erode(brain, 2.0, SPACING, axial_only=False)
    assert one.sum() == 7**3
    assert postprocess.erode(brain, 1.9, SPACING, axial_only=False).sum() == 9**3
    assert postprocess.erode(brain, 2.0, (2.0, 2.0, 4.0), axial_only=False).sum() == 7 * 7 * 9


def test_axial_erosion_leaves_the_top_slice_and_counts_the_border_as_outside():
    brain = np.ones((6, 6, 3), bool)
    eroded = postprocess.erode(brain, 2.0, SPACING, axial_only=True)
    np.testing.assert_array_equal(eroded, postprocess.erode_slices(brain, 1))
    assert eroded.sum() == 4 * 4 * 3
    assert postprocess.erode(brain, 2.0, SPACING, axial_only=False).sum() == 4 * 4 * 1
    assert postprocess.erode_slices(brain, 0).all()


def test_eroded_rim_is_zero_when_nothing_spreads_into_it():
    post = Postprocess(erode_mm=2.0, median=0)
    brain = np.ones((5, 5, 5), bool)
    result = post.apply(np.ones((5, 5, 5), np.float32), brain, SPACING)
    assert result.sum() == 27


def test_smoothing_keeps_the_sum_and_has_the_asked_width():
    point = np.zeros((41, 41, 41))
    point[20, 20, 20] = 1.0
    spread = postprocess.smooth(point, 8.0, SPACING)
    assert spread.sum() == pytest.approx(1, abs=1e-3)
    half_way = spread[22, 20, 20] / spread[20, 20, 20]  # 2 voxels = 4 mm = half of the width
    assert half_way == pytest.approx(0.5, abs=1e-3)
    flat = postprocess.smooth(point, 8.0, SPACING, axial_only=True)
    assert flat[:, :, 19].sum() == 0


@given(anomaly=maps, threshold=st.floats(0, 10))
@settings(max_examples=20, deadline=None)
def test_mask_is_strictly_above_the_threshold(anomaly, threshold):
    np.testing.assert_array_equal(OFF.mask(anomaly, threshold, SPACING), anomaly > threshold)


@given(mask=arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, False, True])))
@settings(max_examples=40, deadline=None)
def test_components_and_their_filter_equal_flooding(mask):
    voxel_ml = 0.008
    found = brute_components(mask)
    for least in (1, 2, 4):
        post = Postprocess(median=0, minimum_ml=least * voxel_ml)
        kept = post.mask(mask.astype(np.float32), 0.5, SPACING)
        expected = {v for c in found if len(c) >= least for v in c}
        assert {tuple(v) for v in np.argwhere(kept)} == expected
    rows = postprocess.components(mask, mask.astype(np.float32), np.eye(4), SPACING)
    assert sorted(r["volume_mm3"] for r in rows) == sorted(8.0 * len(c) for c in found)


def test_component_rows_tell_place_size_and_height():
    anomaly = np.zeros((8, 8, 8), np.float32)
    anomaly[1, 1, 1] = 5.0
    anomaly[4:6, 4, 4] = 1.0, 3.0
    affine = np.array([[2.0, 0, 0, -10], [0, 2, 0, 7], [0, 0, 2, 1], [0, 0, 0, 1]])
    first, second = postprocess.components(anomaly > 0, anomaly, affine, SPACING)
    assert first == {
        "index": 1,
        "volume_mm3": 16.0,
        "max": 3.0,
        "mean": 2.0,
        "centroid_x": -1.0,
        "centroid_y": 15.0,
        "centroid_z": 9.0,
    }
    assert (second["index"], second["volume_mm3"], second["max"]) == (2, 8.0, 5.0)
    assert postprocess.components(anomaly > 9, anomaly, affine, SPACING) == []


def test_filled_size_counts_holes():
    shell = np.ones((3, 3, 3), bool)
    shell[1, 1, 1] = False
    mask = np.pad(shell, 1)
    assert postprocess.drop_small(mask, 26).sum() == 0
    assert postprocess.drop_small(mask, 26, fill_holes=True).sum() == 26
    assert postprocess.drop_small(mask, 27, fill_holes=True).sum() == 0


def test_scan_score_is_the_mean_of_the_top_thousandth():
    anomaly = np.arange(20 * 20 * 10, dtype=np.float32).reshape(20, 20, 10)
    brain = np.ones_like(anomaly, dtype=bool)
    assert postprocess.scan_score(anomaly, brain) == pytest.approx(
        np.mean([3996, 3997, 3998, 3999])
    )
    brain[:] = False
    brain[0, 0, :3] = True
    assert postprocess.scan_score(anomaly, brain) == 2.0
    with pytest.raises(DataError, match="brain mask is empty"):
        postprocess.scan_score(anomaly, np.zeros_like(brain))


def test_every_field_changes_the_hash():
    changed = [
        Postprocess(erode_mm=2.0),
        Postprocess(median=5),
        Postprocess(smooth_mm=1.0),
        Postprocess(minimum_ml=0.1),
        Postprocess(axial_only=True),
        Postprocess(peak_drop=0.1),
        Postprocess(relative=0.5),
    ]
    hashes = {p.hash for p in [Postprocess(), *changed]}
    assert len(hashes) == 1 + len(changed)
    assert Postprocess().hash == Postprocess().hash


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("erode_mm", -1.0, "erode_mm: must be finite and >= 0, got -1.0"),
        ("smooth_mm", float("nan"), "smooth_mm: must be finite"),
        ("minimum_ml", float("inf"), "minimum_ml: must be finite"),
        ("relative", 1.0, "relative: must be >= 0 and < 1, got 1.0"),
        ("relative", -0.1, "relative: must be >= 0"),
        ("relative", float("nan"), "relative: must be >= 0"),
        ("median", 4, "median: must be odd or 0, got 4"),
        ("median", -3, "median: must be odd or 0, got -3"),
    ],
)
def test_impossible_settings_are_refused(field, value, match):
    with pytest.raises(UsageError, match=match):
        Postprocess(**{field: value})


@pytest.mark.parametrize(
    ("value", "match"), [(np.nan, "1 voxels are NaN"), (np.inf, "infinite"), (-1.0, "down to -1")]
)
def test_broken_maps_are_refused(value, match):
    anomaly = np.zeros(SHAPE, np.float32)
    anomaly[1, 2, 3] = value
    with pytest.raises(DataError, match=match):
        Postprocess().apply(anomaly, np.ones(SHAPE, bool), SPACING)


def test_map_and_brain_on_different_grids_are_refused():
    with pytest.raises(DataError, match=r"shape \(7, 6, 5\), its brain mask \(7, 6, 6\)"):
        Postprocess().apply(np.zeros(SHAPE, np.float32), np.ones((7, 6, 6), bool), SPACING)


@pytest.mark.golden
def test_golden_chain(golden):
    g = golden("postprocess")
    residual, brain = g["residual"], g["brain_mask"] > 0
    eroded = residual * postprocess.erode_slices(brain, residual.shape[1] // 25)
    np.testing.assert_array_equal(eroded, g["after_erode"])
    filtered = postprocess.median(eroded, 5)
    np.testing.assert_array_equal(filtered, g["after_median"])
    mask = OFF.mask(filtered, float(g["threshold"]), SPACING)
    np.testing.assert_array_equal(mask, g["after_threshold"] > 0)
    kept = postprocess.drop_small(mask, 7, fill_holes=True)
    np.testing.assert_array_equal(kept, g["after_components"] > 0)


@pytest.mark.golden
def test_golden_components(golden):
    g = golden("postprocess")
    kept = postprocess.drop_small(g["cc_in"] > 0, 7, fill_holes=True)
    np.testing.assert_array_equal(kept, g["cc_out"] > 0)


@given(arrays(np.float32, (5, 6, 4), elements=st.floats(0, 10, width=32)), st.floats(0.1, 5))
def test_slopes_become_steeper_and_peaks_stay(values, drop):
    found = steepen(values, drop)
    padded = np.pad(values, 1)
    for index in np.ndindex(values.shape):
        around = padded[tuple(slice(i, i + 3) for i in index)].max()
        wanted = max(0.0, values[index] - max(0.0, around - values[index] - drop))
        assert found[index] == pytest.approx(wanted, abs=1e-4)
    assert (found <= values).all()
    assert found.max() == values.max()


def test_slopes_within_slices_do_not_see_the_next_one():
    values = np.zeros((3, 3, 2), np.float32)
    values[..., 0], values[..., 1] = 9.0, 3.0
    assert (steepen(values, 1.0, axial_only=True) == values).all()
    assert (steepen(values, 1.0)[..., 1] == 0).all()


def test_a_later_step_that_is_off_leaves_the_hash_alone():
    before = {
        "erode_mm": 0.0, "median": 3, "smooth_mm": 0.0, "minimum_ml": 0.0, "axial_only": False,
    }  # fmt: skip
    assert Postprocess().hash == hash_of({"postprocess": before})
    assert Postprocess(peak_drop=1.0).hash != Postprocess().hash


@given(
    arrays(np.float32, (5, 6, 4), elements=st.floats(0, 10, width=16)),
    st.floats(0, 0.95),
    st.sampled_from([2.0, 8.0]),
)
def test_a_map_in_relation_to_its_score_keeps_orders_and_forgets_part_of_its_height(
    values, power, times
):
    brain = np.ones(values.shape, bool)
    brain[0] = False
    values = values * brain
    found = postprocess.in_relation(values, brain, power)
    ordered = values.ravel().argsort(kind="stable")
    assert (np.diff(found.ravel()[ordered]) >= 0).all()
    assert ((found > 0) == (values > 0)).all()
    higher = postprocess.in_relation(values * np.float32(times), brain, power)
    np.testing.assert_allclose(higher, found * times ** (1 - power), rtol=1e-4)
    score = postprocess.scan_score(values, brain)
    assert postprocess.scan_score(found, brain) == pytest.approx(score ** (1 - power), rel=1e-4)


def test_a_map_is_divided_by_the_power_of_its_scan_score():
    rng = np.random.default_rng(0)
    brain = np.ones((20, 20, 20), bool)
    post = Postprocess(median=0, relative=0.5)
    found = []
    # the score is the mean of 8 voxels here: a lone high voxel must not stand for them
    for highest in ([9.0, *[1.0] * 7], [3.0] * 8):
        raw = rng.uniform(0, 0.5, brain.shape).astype(np.float32)
        raw[:8, 0, 0] = highest
        found.append(post.apply(raw, brain, SPACING))
        np.testing.assert_allclose(found[-1], raw / np.sqrt(np.mean(highest)), rtol=1e-6)
    low, high = (postprocess.scan_score(m, brain) for m in found)
    assert low == pytest.approx(np.sqrt(2), rel=1e-6)
    assert high == pytest.approx(np.sqrt(3), rel=1e-6)


def test_a_map_of_the_lowest_values_stays_a_map():
    raw = np.zeros((20, 20, 20), np.float16)
    raw[0, 0, 0] = 6e-8
    brain = np.ones(raw.shape, bool)
    found = Postprocess(median=0, relative=0.95).apply(raw, brain, SPACING)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found > 0, raw > 0)


def test_no_brain_and_no_anomaly_have_no_relation():
    nothing = np.zeros(SHAPE, np.float32)
    for brain in (np.zeros(SHAPE, bool), np.ones(SHAPE, bool)):
        found = Postprocess(median=0, relative=0.5).apply(nothing, brain, SPACING)
        np.testing.assert_array_equal(found, nothing)


def test_what_stands_out_leaves_less_of_the_rest_in_the_mask():
    brain = np.ones(SHAPE, bool)
    weak = np.zeros(SHAPE, np.float32)
    weak[0] = 1.0
    strong = weak.copy()
    strong[-1] = 9.0
    post = Postprocess(median=0, relative=0.5)
    alone, beside = (post.apply(m, brain, SPACING) for m in (weak, strong))
    threshold = 0.9
    assert post.mask(alone, threshold, SPACING).sum() == weak.sum()
    np.testing.assert_array_equal(post.mask(beside, threshold, SPACING), strong > 1)
