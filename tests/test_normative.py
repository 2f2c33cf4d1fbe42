from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.normative import NormativeOptions, normer, split_state
from brainuad.normative_place import PlaceNormative, PlaceNormer
from brainuad.scan import Scan
from brainuad.types import DataError, UsageError

SHAPE = (5, 4, 3)
PLAIN = NormativeOptions(median=0, smooth_px=0.0, floor=1e-6, minimum_count=2, scans=30)


def scan(voxels, brain=None):
    brain = np.ones(voxels.shape, bool) if brain is None else brain
    return Scan(
        voxels=voxels.astype(np.float32),
        affine=np.eye(4),
        modality="T1w",
        subject="s",
        brain=brain,
    )


def model(values, options=PLAIN, brains=None):
    normer = PlaceNormer(options, values[0].shape)
    for n, value in enumerate(values):
        normer.add(value[None], scan(np.abs(value), None if brains is None else brains[n]))
    return normer.finish()


def changed(**options):
    given = {f: getattr(PLAIN, f) for f in PLAIN.__dataclass_fields__}
    return NormativeOptions(**{**given, **options})


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_mean_and_deviation_are_those_of_the_brains_that_cover_a_voxel(seed, n):
    rng = np.random.default_rng(seed)
    values = rng.normal(0.1, 0.3, (n, *SHAPE)).astype(np.float32)
    brains = rng.random((n, *SHAPE)) < 0.8
    brains[:2] = True
    made = model(list(values), brains=list(brains))
    inside = np.ma.masked_array(values, ~brains)
    assert np.allclose(made.mean, inside.mean(0).filled(), atol=2e-3)
    assert np.allclose(made.deviation, inside.std(0).filled(), atol=2e-3)


@pytest.mark.parametrize(("sign", "direction"), [("dark", -1), ("bright", 1), ("absolute", 0)])
def test_the_map_counts_standard_deviations_of_the_wanted_sign(sign, direction):
    rng = np.random.default_rng(0)
    residuals = list(rng.normal(0.02, 0.1, (20, *SHAPE)).astype(np.float32))
    made = model(residuals, changed(sign=sign))
    healthy = np.full(SHAPE, 0.5, np.float32)
    new = rng.normal(0, 0.3, SHAPE).astype(np.float32)
    z = (new - np.mean(residuals, 0)) / np.std(residuals, 0)
    expected = np.abs(z) if direction == 0 else np.maximum(direction * z, 0)
    found = made.map(scan(healthy + new), np.zeros(SHAPE, np.float32), healthy)
    assert np.allclose(found, expected, rtol=0.01, atol=0.02)


def test_of_a_map_only_values_above_the_healthy_ones_count():
    rng = np.random.default_rng(1)
    maps = list(rng.uniform(0, 1, (20, *SHAPE)).astype(np.float32))
    made = model(maps, changed(of="map"))
    new = np.linspace(0, 2, np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    expected = np.maximum((new - np.mean(maps, 0)) / np.std(maps, 0), 0)
    found = made.map(scan(np.ones(SHAPE)), new, None)
    assert np.allclose(found, expected, rtol=0.01, atol=0.02)


def test_places_that_few_healthy_brains_cover_are_never_called_anomalous():
    values = list(np.random.default_rng(2).normal(0, 1, (4, *SHAPE)).astype(np.float32))
    brains = [np.ones(SHAPE, bool) for _ in values]
    for brain in brains[:2]:
        brain[0, 0, 0] = False
    made = model(values, changed(minimum_count=3), brains=brains)
    found = made.map(scan(np.full(SHAPE, 9.0)), np.zeros(SHAPE, np.float32), np.zeros(SHAPE))
    assert found[0, 0, 0] == 0
    assert (found > 0).sum() == found.size - 1


def test_nothing_is_said_outside_the_brain():
    brain = np.random.default_rng(3).random(SHAPE) < 0.5
    values = list(np.random.default_rng(4).normal(0, 1, (4, *SHAPE)).astype(np.float32))
    voxels = np.full(SHAPE, 5.0) * brain
    found = model(values).map(scan(voxels, brain), np.zeros(SHAPE, np.float32), np.zeros(SHAPE))
    assert (found[~brain] == 0).all()
    assert (found[brain] > 0).all()


def test_a_high_floor_keeps_the_order_of_the_residuals_themselves():
    rng = np.random.default_rng(5)
    values = list(rng.normal(0, rng.uniform(0.01, 0.1, SHAPE), (30, *SHAPE)).astype(np.float32))
    values = [v - np.mean(values, 0) for v in values]
    new = rng.normal(0, 1, SHAPE).astype(np.float32)
    found = model(values, changed(floor=1000.0)).map(
        scan(new), np.zeros(SHAPE, np.float32), np.zeros(SHAPE)
    )
    assert (np.argsort(found.ravel()) == np.argsort(np.abs(new).ravel())).all()


def test_smoothing_shares_deviation_among_neighbours_and_keeps_a_constant():
    rng = np.random.default_rng(6)
    shape = (9, 9, 9)
    values = list((0.3 + rng.normal(0, 0.2, (40, *shape))).astype(np.float32))
    rough, smooth = (
        model(values, changed(scans=40)),
        model(values, changed(smooth_px=1.5, scans=40)),
    )
    assert smooth.deviation.astype(float).std() < 0.6 * rough.deviation.astype(float).std()
    assert abs(smooth.deviation.astype(float).mean() - 0.2) < 0.01
    constant = model([np.full(shape, 0.25, np.float32)] * 3, changed(smooth_px=2.0))
    assert np.allclose(constant.mean, 0.25, atol=1e-3)
    assert np.allclose(constant.deviation, 0, atol=1e-3)


def test_a_blur_keeps_what_shifts_together_and_takes_grain_away():
    rng = np.random.default_rng(11)
    shape = (15, 15, 15)
    grain = rng.choice([-0.3, 0.3], shape).astype(np.float32)
    lesion = np.zeros(shape, np.float32)
    lesion[4:11, 4:11, 4:11] = 0.3
    options = changed(blur_px=1.5)
    noisy, shifted = (
        options.compared(scan(np.full(shape, 0.5) + v), np.zeros(shape), np.full(shape, 0.5))[0]
        for v in (grain, lesion)
    )
    assert np.abs(noisy[3:12, 3:12, 3:12]).max() < 0.1
    assert shifted[7, 7, 7] > 0.25


def test_against_nearest_slices_nothing_is_blurred_from_one_slice_into_another():
    values = np.zeros((7, 7, 3), np.float32)
    values[:, :, 1] = 1
    options = changed(blur_px=2.0, nearest=5)
    found = options.compared(scan(values), values, np.zeros_like(values))[0]
    assert (found[:, :, [0, 2]] == 0).all()
    assert found[3, 3, 1] > 0.8


def test_the_scans_are_chosen_evenly():
    names = tuple(f"{i:02d}" for i in range(10))
    assert changed(scans=5).chosen(names) == ("00", "02", "04", "06", "08")
    assert changed(scans=30).chosen(names) == names


def test_its_arrays_travel_among_the_weights():
    made = model(list(np.random.default_rng(7).normal(0, 1, (3, *SHAPE)).astype(np.float32)))
    own, back = split_state(made.state(), PLAIN)
    assert own == {}
    assert isinstance(back, PlaceNormative)
    assert np.array_equal(back.mean, made.mean)
    assert np.array_equal(back.deviation, made.deviation)
    assert np.array_equal(back.image, made.image)
    assert back.likeness == made.likeness


def test_weights_that_do_not_fit_the_settings_are_refused():
    made = model(list(np.random.default_rng(8).normal(0, 1, (3, *SHAPE)).astype(np.float32)))
    with pytest.raises(DataError, match="the settings have none, the weights"):
        split_state(made.state(), None)
    with pytest.raises(DataError, match="the settings ask for a model, the weights hold none"):
        split_state({}, PLAIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"median": 4}, "must be odd or 0, got 4"),
        ({"floor": 0.0}, "normative.floor: is 0.0"),
        ({"floor": float("nan")}, "normative.floor: is nan"),
        ({"smooth_px": -1.0}, "normative.smooth_px: is -1.0"),
        ({"ridge": 0.0}, "normative.ridge: is 0.0"),
        ({"blur_px": float("nan")}, "normative.blur_px: is nan"),
        ({"minimum_count": 1}, "minimum_count 1 of 60"),
        ({"minimum_count": 61}, "minimum_count 61 of 60"),
        ({"scan_weight": 0.2}, "normative.scan_weight: is 0.2, but of is residual"),
        ({"of": "conditional", "scan_weight": -1.0}, "normative.scan_weight: is -1.0"),
        ({"of": "map", "sign": "dark"}, "has no meaning for a map"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        NormativeOptions(**options)


def test_too_few_scans_are_refused():
    with pytest.raises(DataError, match="made of 1 healthy scans, but minimum_count is 2"):
        model([np.zeros(SHAPE, np.float32)])


def test_another_grid_is_refused():
    made = model([np.zeros(SHAPE, np.float32)] * 2)
    with pytest.raises(DataError, match=r"has shape \(2, 2, 2\), healthy people are known on"):
        made.map(scan(np.ones((2, 2, 2))), np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2)))


def test_a_method_without_counterparts_cannot_give_residuals():
    made = model([np.zeros(SHAPE, np.float32)] * 2)
    with pytest.raises(DataError, match="gives no healthy counterpart; set normative.of to map"):
        made.map(scan(np.ones(SHAPE)), np.zeros(SHAPE, np.float32), None)


# Contrast


def people(n, rng):
    """Scans that share their anatomy."""
    anatomy = np.linspace(0.1, 0.9, np.prod(SHAPE)).reshape(SHAPE)
    return [scan(anatomy + rng.normal(0, 0.05, SHAPE)) for _ in range(n)]


def test_the_mean_image_and_the_least_likeness_are_those_of_the_scans():
    scans = people(8, np.random.default_rng(9))
    normer = PlaceNormer(PLAIN, SHAPE)
    for one in scans:
        normer.add(np.zeros((1, *SHAPE), np.float32), one)
    made = normer.finish()
    mean = np.mean([s.voxels for s in scans], 0)
    assert np.allclose(made.image, mean, atol=1e-3)
    found = [np.corrcoef(s.voxels.ravel(), mean.ravel())[0, 1] for s in scans]
    assert made.likeness == pytest.approx(min(found), abs=1e-3)


def test_another_contrast_is_refused_and_the_same_is_not():
    rng = np.random.default_rng(10)
    normer = PlaceNormer(PLAIN, SHAPE)
    for one in people(8, rng):
        normer.add(np.zeros((1, *SHAPE), np.float32), one)
    made = normer.finish()
    same = people(1, rng)[0]
    assert made.check_contrast(same, "d") > made.likeness - 0.1
    with pytest.raises(DataError, match=r"does not look like the T1w scans that detector d knows"):
        made.check_contrast(scan(1 - same.voxels), "d")
    with pytest.raises(DataError, match=r"correlation 0\.00"):
        made.check_contrast(scan(np.full(SHAPE, 0.5)), "d")


# The scan given its healthy counterpart

GIVEN = NormativeOptions(
    of="conditional", median=0, smooth_px=0.0, floor=1e-6, minimum_count=2, scans=400
)


def given_model(slope, noise, n=400, options=GIVEN):
    """Scans that are ``slope`` times their counterpart, and noise."""
    rng = np.random.default_rng(12)
    made = normer(options, SHAPE)
    for _ in range(n):
        healthy = rng.normal(0.5, 0.1, SHAPE)
        x = 0.2 + slope * healthy + rng.normal(0, noise, SHAPE)
        made.add(np.stack([x, healthy]).astype(np.float32), scan(x))
    return made.finish()


@pytest.mark.parametrize("slope", [0.0, 0.4, 0.8])
def test_what_the_counterpart_explains_is_not_unusual_and_the_rest_counts_in_its_own_unit(slope):
    made = given_model(slope, noise=0.05)
    healthy = np.full(SHAPE, 0.9, np.float32)  # four standard deviations from the mean
    for off in (0.0, 3.0):
        x = (0.2 + slope * healthy - off * 0.05).astype(np.float32)
        found = made.map(scan(x), np.zeros(SHAPE, np.float32), healthy)
        # Slope and deviation are estimated from 400: errors of some per cent, times four.
        assert abs(float(np.median(found)) - off) < 0.35
    assert np.median(made.slope) == pytest.approx(slope, abs=0.05)


def test_slopes_stay_between_nothing_and_the_whole_counterpart():
    assert (given_model(-0.7, noise=0.01).slope == 0).all()
    assert (given_model(1.8, noise=0.01).slope == 1).all()


def test_where_all_counterparts_are_alike_the_scan_itself_is_compared():
    rng = np.random.default_rng(13)
    scans = rng.normal(0.5, 0.1, (20, *SHAPE)).astype(np.float32)
    options = changed(of="conditional")
    made = normer(options, SHAPE)
    for x in scans:
        made.add(np.stack([x, np.full(SHAPE, 0.3, np.float32)]), scan(x))
    new = rng.normal(0.5, 0.2, SHAPE).astype(np.float32)
    found = made.finish().map(scan(new), np.zeros(SHAPE, np.float32), np.full(SHAPE, 0.6))
    assert np.allclose(found, np.abs(new - scans.mean(0)) / scans.std(0), rtol=0.02, atol=0.02)


def test_a_large_ridge_leaves_the_scan_itself():
    huge = NormativeOptions(**{**vars_of(GIVEN), "ridge": 1e6})
    assert (given_model(0.8, noise=0.05, options=huge).slope < 1e-3).all()


@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize("level", [0.3, 0.9])
def test_what_is_dark_in_itself_counts_by_its_weight_even_where_its_counterpart_is_too(
    weight, level
):
    made = given_model(0.8, 0.05, options=replace(GIVEN, scan_weight=weight, sign="dark"))
    healthy = np.full(SHAPE, level, np.float32)
    x = (0.2 + 0.8 * healthy - 0.1).astype(np.float32)  # two deviations below what it should be
    # Of the scans alone: mean .2 + .8 x .5, deviation of .8 x .1 and .05 together.
    # At the higher level it is brighter than they are, which is not wanted: nothing is taken off.
    alone = max((0.6 - x[0, 0, 0]) / np.hypot(0.08, 0.05), 0)
    found = made.map(scan(x), np.zeros(SHAPE, np.float32), healthy)
    assert float(np.median(found)) == pytest.approx(2 + weight * alone, rel=0.1)


def test_a_scan_alone_that_counts_travels_among_the_weights():
    options = replace(GIVEN, scan_weight=0.3)
    made = given_model(0.5, noise=0.05, n=20, options=options)
    _, back = split_state(made.state(), options)
    assert np.array_equal(back.alone, made.alone)
    assert "normative.alone" not in given_model(0.5, noise=0.05, n=20).state()


def vars_of(options):
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def test_a_slope_travels_among_the_weights_and_only_where_there_is_one():
    made = given_model(0.5, noise=0.05, n=20)
    _, back = split_state(made.state(), GIVEN)
    assert np.array_equal(back.slope, made.slope)
    with pytest.raises(DataError, match="settings ask for a model, the weights hold"):
        split_state(made.state(), PLAIN)


def test_a_scan_cannot_be_compared_given_a_counterpart_that_is_not_there():
    with pytest.raises(DataError, match="normative.of is conditional, but this method gives no"):
        GIVEN.compared(scan(np.ones(SHAPE)), np.zeros(SHAPE, np.float32), None)
