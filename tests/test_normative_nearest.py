"""Comparison with the healthy slices most like each slice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.normative import NormativeOptions, normer, split_state
from brainuad.normative_nearest import NearestNormative
from brainuad.scan import Scan
from brainuad.types import DataError, UsageError

SIDE = 6
PLAIN = NormativeOptions(
    median=0, smooth_px=0.0, floor=1e-3, minimum_count=2, nearest=4, components=5
)
KINDS = {
    "ramp": np.linspace(0.2, 0.9, SIDE * SIDE).reshape(SIDE, SIDE),
    "bowl": 0.9 - 0.6 * np.hypot(*np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]) / 1.5,
}


def stack(slices, subject="s", brain=None):
    voxels = np.stack(slices, axis=2).astype(np.float32)
    brain = np.ones(voxels.shape, bool) if brain is None else brain
    return Scan(
        voxels=voxels * brain, affine=np.eye(4), modality="FLAIR", subject=subject, brain=brain
    )


def fitted(residuals, options=PLAIN, order=("ramp", "bowl")):
    """Model of one stack per residual: each holds one slice of each kind, with this residual."""
    rng = np.random.default_rng(0)
    made = normer(options, (SIDE, SIDE, len(order)))
    for number, values in enumerate(residuals):
        names = order if number % 2 else order[::-1]
        slices = [KINDS[name] + rng.normal(0, 0.01, (SIDE, SIDE)) for name in names]
        value = np.stack([values[name] for name in names], axis=2).astype(np.float32)
        made.add(value[None], stack(slices, f"s{number}"))
    return made.finish()


def residuals_of(n, seed):
    """Kinds differ in mean and deviation of their residuals."""
    rng = np.random.default_rng(seed)
    return [
        {
            "ramp": rng.normal(0.1, 0.02, (SIDE, SIDE)),
            "bowl": rng.normal(-0.2, 0.1, (SIDE, SIDE)),
        }
        for _ in range(n)
    ]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_a_slice_is_compared_with_slices_like_it_wherever_they_lie(seed):
    residuals = residuals_of(4, seed)
    made = fitted(residuals)
    new = np.random.default_rng(seed + 1).normal(0, 0.2, (SIDE, SIDE, 2))
    scan = stack([KINDS["ramp"], KINDS["bowl"]])
    found = made.map(scan, np.zeros_like(scan.voxels), (scan.voxels - new).astype(np.float32))
    for k, name in enumerate(("ramp", "bowl")):
        of_kind = np.stack([r[name] for r in residuals])
        z = (new[:, :, k] - of_kind.mean(0)) / np.hypot(of_kind.std(0, ddof=1), PLAIN.floor)
        # Kept in half precision: the deviation of four is good to a few per cent where it is small.
        assert np.allclose(found[:, :, k], np.abs(z), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_slice_can_be_taken_given_its_counterpart(weight):
    """Healthy scans follow their counterparts with slope 0.5; who does so too is not unusual.

    With a weight the scan alone counts as well: mean .35, deviation of .05 and .02 together.
    """
    rng = np.random.default_rng(8)
    options = changed(of="conditional", nearest=200, minimum_count=100, scan_weight=weight)
    made = normer(options, (SIDE, SIDE, 1))
    for number in range(200):
        healthy = rng.normal(0.5, 0.1, (SIDE, SIDE, 1))
        x = 0.1 + 0.5 * healthy + rng.normal(0, 0.02, healthy.shape)
        made.add(np.stack([x, healthy]).astype(np.float32), stack([x[:, :, 0]], f"s{number}"))
    model = made.finish()
    healthy = np.full((SIDE, SIDE, 1), 0.8, np.float32)
    for off in (0.0, 4.0):
        level = 0.1 + 0.5 * 0.8 + off * 0.02
        found = model.map(stack([np.full((SIDE, SIDE), level)]), np.zeros_like(healthy), healthy)
        expected = off + weight * (level - 0.35) / np.hypot(0.05, 0.02)
        assert abs(float(np.median(found)) - expected) < 0.5


def test_one_slice_does_not_depend_on_another():
    made = fitted(residuals_of(6, 0))
    both = stack([KINDS["ramp"], KINDS["bowl"]])
    healthy = np.full(both.voxels.shape, 0.5, np.float32)
    whole = made.map(both, np.zeros_like(healthy), healthy)
    alone = stack([KINDS["bowl"]])
    one = made.map(alone, np.zeros_like(healthy[:, :, :1]), healthy[:, :, :1])
    assert np.array_equal(whole[:, :, 1:], one)


@pytest.mark.parametrize(("sign", "direction"), [("dark", -1), ("bright", 1)])
def test_only_the_wanted_sign_counts(sign, direction):
    made = fitted(residuals_of(6, 1), changed(sign=sign))
    scan = stack([KINDS["ramp"]])
    for shift in (-3.0, 3.0):
        healthy = (scan.voxels - shift).astype(np.float32)
        found = made.map(scan, np.zeros_like(scan.voxels), healthy)
        assert (found > 0).all() == (shift * direction > 0)
        assert (found == 0).all() == (shift * direction < 0)


def changed(**options):
    given = {f: getattr(PLAIN, f) for f in PLAIN.__dataclass_fields__}
    return NormativeOptions(**{**given, **options})


def test_heads_of_other_sizes_cover_each_other_and_nothing_is_said_outside():
    """The same slice in a smaller box of the grid is as healthy as in the large one."""
    made = normer(changed(smooth_px=0.7), (12, 12, 1))
    rng = np.random.default_rng(2)
    pattern = np.kron(rng.random((3, 3)), np.ones((4, 4)))
    for number in range(6):
        scan = stack([pattern + rng.normal(0, 0.01, (12, 12))], f"s{number}")
        made.add(rng.normal(0, 0.05, (1, 12, 12, 1)).astype(np.float32), scan)
    brain = np.zeros((12, 12, 1), bool)
    brain[3:9, 2:8] = True
    voxels = np.zeros((12, 12, 1))
    voxels[3:9, 2:8, 0] = pattern[::2, ::2]
    scan = stack([voxels[:, :, 0]], brain=brain)
    residual = np.zeros((12, 12, 1), np.float32)
    residual[3:6, 2:5] = 1.0
    found = made.finish().map(scan, residual, scan.voxels - residual)
    assert (found[~brain] == 0).all()
    assert found[3:6, 2:5].min() > 5 * found[6:9, 5:8].max()


def test_places_that_few_of_the_nearest_cover_are_never_called_anomalous():
    made = normer(changed(minimum_count=4), (SIDE, SIDE, 1))
    for number in range(4):
        brain = np.ones((SIDE, SIDE, 1), bool)
        brain[2, 2] = number > 0
        made.add(np.zeros((1, SIDE, SIDE, 1), np.float32), stack([KINDS["ramp"]], "s", brain))
    scan = stack([KINDS["ramp"]])
    found = made.finish().map(scan, np.zeros_like(scan.voxels), np.zeros_like(scan.voxels))
    assert found[2, 2, 0] == 0
    assert (found > 0).sum() == SIDE * SIDE - 1


def test_its_arrays_travel_among_the_weights():
    made = fitted(residuals_of(6, 3))
    own, back = split_state(made.state(), PLAIN)
    assert own == {}
    assert isinstance(back, NearestNormative)
    scan = stack([KINDS["bowl"]])
    empty = np.zeros_like(scan.voxels)
    assert np.array_equal(made.map(scan, empty, empty), back.map(scan, empty, empty))
    assert back.likeness == made.likeness


def test_a_model_of_the_other_kind_is_refused():
    made = fitted(residuals_of(6, 4))
    with pytest.raises(DataError, match="settings ask for a model, the weights hold"):
        split_state(made.state(), changed(nearest=None))


def test_another_contrast_is_refused_and_the_same_is_not():
    made = fitted(residuals_of(6, 5))
    same = stack([KINDS["ramp"], KINDS["bowl"]])
    assert made.check_contrast(same, "d") > 0.9
    other = stack([1 - KINDS["ramp"], 1 - KINDS["bowl"]])
    with pytest.raises(DataError, match="does not look like the FLAIR scans that detector d knows"):
        made.check_contrast(other, "d")


def test_slices_of_another_size_are_refused():
    made = fitted(residuals_of(4, 6))
    scan = stack([np.ones((SIDE, SIDE + 1))])
    empty = np.zeros_like(scan.voxels)
    with pytest.raises(DataError, match=r"slices of \(6, 7\), those of healthy people are"):
        made.map(scan, empty, empty)
    with pytest.raises(DataError, match="prepare it with the detector's recipe"):
        made.check_contrast(scan, "d")


def test_too_few_slices_are_refused():
    with pytest.raises(DataError, match="made of 2 healthy slices, but nearest is 4"):
        fitted(residuals_of(1, 7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nearest": 5}, "normative.nearest: is 5, below minimum_count 10"),
        ({"nearest": 30, "components": 0}, "normative.components: is 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        NormativeOptions(**options)
