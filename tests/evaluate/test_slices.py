"""MAD-AD's slice Dice against a loop over thresholds and slices, and against golden numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad.evaluate import slices, voxel

SHAPE = (3, 4, 5)


def loop(maps, lesion):
    means = []
    for threshold in slices.THRESHOLDS:
        dice = []
        for image, truth in zip(maps.astype(np.float64), lesion, strict=True):
            mask = (image > threshold) | (image >= 1)
            both = 2 * (mask & truth).sum() / (mask.sum() + truth.sum() + 1e-6)
            dice.append(both if truth.any() else float(not mask.any()))
        means.append(np.mean(dice))
    return np.array(means)


@given(
    maps=arrays(
        np.float32,
        SHAPE,
        elements=st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]),
    ),
    lesion=arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, True])),
)
@settings(max_examples=60, deadline=None)
def test_every_threshold_equals_the_loop(maps, lesion):
    expected = loop(maps, lesion)
    np.testing.assert_allclose(slices.mean_dice_per_threshold(maps, lesion), expected, atol=1e-12)
    best, threshold = slices.max_dice(maps, lesion)
    assert best == pytest.approx(expected.max())
    assert threshold == slices.THRESHOLDS[np.argmax(expected >= expected.max() - 1e-12)]


def test_scores_on_a_threshold_are_not_above_it():
    maps = np.full((1, 1, 1), 0.5, np.float32)
    marked = slices.mean_dice_per_threshold(maps, np.ones_like(maps, bool)) > 0
    np.testing.assert_array_equal(slices.THRESHOLDS[marked], slices.THRESHOLDS[:100])


def test_predicting_nothing_earns_the_share_of_empty_slices():
    lesion = np.zeros((4, 3, 3), bool)
    lesion[0, 1, 1] = True
    assert slices.max_dice(np.zeros((4, 3, 3), np.float32), lesion)[0] == 0.75


@pytest.mark.golden
def test_golden_metrics(golden):
    g = golden("madad_metrics")
    names = sorted(key[: -len("_map")] for key in g if key.endswith("_map"))
    assert names
    for name in names:
        maps, lesion = g[f"{name}_map"], g[f"{name}_gt"] > 0
        means = slices.mean_dice_per_threshold(maps, lesion)
        np.testing.assert_allclose(means, g[f"{name}_mean_dice_per_threshold"], atol=1e-6)
        best, threshold = slices.max_dice(maps, lesion)
        assert best == pytest.approx(float(g[f"{name}_max_dice"]), abs=1e-6)
        assert threshold == pytest.approx(float(g[f"{name}_best_threshold"]), abs=1e-12)
        dice = voxel.oracle_dice(maps, lesion).dice
        assert dice == pytest.approx(float(g[f"{name}_global_max_dice"]), abs=1e-5)
        auroc = voxel.auroc(maps, lesion)
        assert auroc == pytest.approx(float(g[f"{name}_auroc"]), abs=1e-5)
        ap = voxel.average_precision(maps, lesion)
        assert ap == pytest.approx(float(g[f"{name}_ap"]), abs=1e-6)
