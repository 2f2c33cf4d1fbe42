"""Intervals against SciPy and simulated coverage, tests against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from brainuad.evaluate import statistics, voxel
from brainuad.types import DataError

RNG = np.random.default_rng(11)
SKEWED = RNG.gamma(1.0, 2.0, 30)


def test_interval_of_a_mean_equals_scipy():
    ours = statistics.mean_interval(SKEWED, seed=0, resamples=9999)
    theirs = stats.bootstrap((SKEWED,), np.mean, rng=np.random.default_rng(4)).confidence_interval
    assert ours.kind == "BCa"
    assert ours.value == pytest.approx(SKEWED.mean())
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_intervals_of_a_known_mean_cover_it():
    rng = np.random.default_rng(7)
    rounds, hits = 250, 0
    for number in range(rounds):
        sample = rng.normal(3.0, 1.0, 25)
        found = statistics.mean_interval(sample, seed=number, resamples=600)
        hits += found.low <= 3.0 <= found.high
    assert 0.89 <= hits / rounds <= 0.985  # nominal 0.95, spread of the simulation 0.014


def test_few_subjects_get_percentiles_and_say_so():
    found = statistics.mean_interval(SKEWED[:9], seed=0)
    assert found.kind == "percentile"
    assert found.low < found.value < found.high
    assert statistics.mean_interval(SKEWED[:10], seed=0).kind == "BCa"


def test_one_subject_has_no_interval_and_none_is_an_error():
    found = statistics.mean_interval([0.4], seed=0)
    assert (found.value, found.kind) == (0.4, "none")
    assert np.isnan([found.low, found.high]).all()
    with pytest.raises(DataError, match="no subjects"):
        statistics.mean_interval([], seed=0)


def test_equal_values_have_an_interval_of_no_width():
    found = statistics.mean_interval([0.25] * 12, seed=0)
    assert (found.low, found.high, found.kind) == (0.25, 0.25, "percentile")


def test_same_seed_same_interval_other_name_other_draws():
    first = statistics.mean_interval(SKEWED, seed=3, words=("a",))
    assert first == statistics.mean_interval(SKEWED, seed=3, words=("a",))
    assert first != statistics.mean_interval(SKEWED, seed=3, words=("b",))
    assert first != statistics.mean_interval(SKEWED, seed=4, words=("a",))


def test_pooled_share_weighs_subjects_by_size():
    parts, wholes = SKEWED, SKEWED * 2 + 1
    found = statistics.ratio_interval(parts, wholes, seed=0)
    assert found.value == pytest.approx(parts.sum() / wholes.sum())
    slow = stats.bootstrap(
        (parts, wholes),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.low == pytest.approx(slow.low, abs=0.1 * (slow.high - slow.low))
    assert found.high == pytest.approx(slow.high, abs=0.1 * (slow.high - slow.low))


def test_samples_without_a_value_are_left_out():
    found = statistics.ratio_interval([1.0, 0.0, 0.0], [2.0, 0.0, 0.0], seed=0)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_pooled_metric_is_resampled_by_subject():
    lesion = RNG.integers(0, 5, (12, 30))
    other = RNG.integers(0, 40, (12, 30))
    found = statistics.counts_interval(voxel.ap_of_counts, lesion, other, seed=0, resamples=300)
    assert found.value == pytest.approx(voxel.ap_of_counts(lesion.sum(0), other.sum(0)))
    assert found.low < found.value < found.high

    def slow(chosen):
        return float(voxel.ap_of_counts(lesion[chosen].sum(0), other[chosen].sum(0)))

    theirs = stats.bootstrap(
        (np.arange(12),), slow, vectorized=False, n_resamples=2000, rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.2 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.2 * width)


def test_a_method_against_itself_differs_by_nothing():
    found = statistics.paired_difference(SKEWED, SKEWED, seed=0)
    assert (found.value, found.low, found.high, found.p, found.n) == (0, 0, 0, 1, 30)


def test_a_clear_difference_is_found_and_has_its_sign():
    found = statistics.paired_difference(SKEWED + 1 + 0.1 * RNG.normal(size=30), SKEWED, seed=0)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(1, abs=0.1)
    assert found.low > 0
    assert found.p < 0.001


def test_unlike_subjects_cannot_be_paired():
    with pytest.raises(DataError, match="30 against 29 subjects"):
        statistics.paired_difference(SKEWED, SKEWED[1:], seed=0)
    with pytest.raises(DataError, match="no subjects"):
        statistics.permutation_test([], seed=0)


def test_permutation_test_is_exact_for_few_subjects():
    change = np.array([1.0, 2.0, 3.0, 4.0])  # only all plus and all minus are as extreme
    assert statistics.permutation_test(change, seed=0) == pytest.approx(2 / 16)
    assert statistics.permutation_test([5.0], seed=0) == 1.0


def test_permutation_test_keeps_its_level_without_a_difference():
    rng = np.random.default_rng(3)
    p = [statistics.permutation_test(rng.normal(size=12), seed=n, rounds=500) for n in range(150)]
    assert np.mean(np.array(p) <= 0.2) == pytest.approx(0.2, abs=0.1)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_holm_equals_its_definition(p):
    adjusted = statistics.holm(p)
    for level in (0.01, 0.05, 0.2, 0.5):
        # step down: go through p ascending, stop at the first that fails level / (left)
        rejected, order = set(), sorted(range(len(p)), key=lambda i: p[i])
        for rank, index in enumerate(order):
            if p[index] * (len(p) - rank) > level:
                break
            rejected.add(index)
        assert rejected == {i for i, a in enumerate(adjusted) if a <= level}
