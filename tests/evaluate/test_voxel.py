"""Ranking metrics against scikit-learn and brute force; binned ones within their stated bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from brainuad.evaluate import voxel
from brainuad.types import DataError

few = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])
fine = st.floats(0, 4, width=32)


@st.composite
def problems(draw, elements=few | fine, size=80):
    n = draw(st.integers(2, size))
    scores = np.array(draw(st.lists(elements, min_size=n, max_size=n)), np.float32)
    lesion = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    lesion[0], lesion[1] = True, False
    return scores, lesion


def brute_dice(scores, lesion, threshold):
    mask = scores > threshold
    return 2 * (mask & lesion).sum() / (mask.sum() + lesion.sum())


@given(problem=problems(elements=fine), bits=st.integers(2, 10))
@settings(max_examples=100, deadline=None)
def test_coarser_counts_are_those_of_the_scores_themselves(problem, bits):
    found = voxel.coarser(voxel.binned_counts(*problem), mantissa=bits)
    wanted = voxel.binned_counts(*problem, mantissa=bits)
    for name in ("scores", "lesion", "other"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@given(problem=problems())
@settings(max_examples=100, deadline=None)
def test_exact_metrics_equal_scikit_learn(problem):
    scores, lesion = problem
    ap = metrics.average_precision_score(lesion, scores)
    assert voxel.average_precision(scores, lesion) == pytest.approx(ap, abs=1e-9)
    auc = metrics.roc_auc_score(lesion, scores)
    assert voxel.auroc(scores, lesion) == pytest.approx(auc, abs=1e-9)


@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_oracle_dice_equals_trying_every_threshold(problem):
    scores, lesion = problem
    tried = [brute_dice(scores, lesion, t) for t in [-1.0, *np.unique(scores)[:-1]]]
    best = voxel.oracle_dice(scores, lesion)
    assert best.dice == pytest.approx(max(tried), abs=1e-12)
    assert brute_dice(scores, lesion, np.float32(best.threshold)) == pytest.approx(best.dice)


@given(problem=problems(elements=st.sampled_from(list(range(9)))))
@settings(max_examples=50, deadline=None)
def test_exact_metrics_do_not_change_under_monotone_maps(problem):
    scores, lesion = problem
    other = np.exp(scores.astype(np.float64)) * 3 + 1
    for metric in (voxel.average_precision, voxel.auroc):
        assert metric(other, lesion) == pytest.approx(metric(scores, lesion), abs=1e-12)
    assert voxel.oracle_dice(other, lesion).dice == voxel.oracle_dice(scores, lesion).dice


@pytest.mark.parametrize("mantissa", [4, 8, 10])
@given(problem=problems(elements=fine))
@settings(max_examples=50, deadline=None)
def test_binned_metrics_stay_within_their_bounds(mantissa, problem):
    scores, lesion = problem
    counts = voxel.binned_counts(scores, lesion, mantissa=mantissa)
    slack = 1e-9
    low, high = voxel.ap_bounds(counts)
    exact = metrics.average_precision_score(lesion, scores)
    assert low - slack <= exact <= high + slack
    assert low - slack <= voxel.ap_of_counts(counts.lesion, counts.other) <= high + slack
    low, high = voxel.auroc_bounds(counts)
    assert low - slack <= metrics.roc_auc_score(lesion, scores) <= high + slack
    low, high = voxel.max_dice_bounds(counts)
    assert low - slack <= voxel.oracle_dice(scores, lesion).dice <= high + slack


@given(problem=problems(elements=few))
@settings(max_examples=40, deadline=None)
def test_bins_are_exact_where_scores_are_edges(problem):
    scores, lesion = problem
    counts = voxel.binned_counts(scores, lesion)
    np.testing.assert_array_equal(counts.scores, np.unique(scores))
    ap = voxel.ap_of_counts(counts.lesion, counts.other)
    assert ap == pytest.approx(voxel.average_precision(scores, lesion), abs=1e-12)


def test_bounds_are_narrow_on_a_map_of_real_size():
    rng = np.random.default_rng(0)
    lesion = rng.random(200_000) < 0.01
    scores = rng.gamma(2.0, 1.0, lesion.size) + 2.0 * lesion
    fine_counts = voxel.binned_counts(scores, lesion)
    low, high = voxel.ap_bounds(fine_counts)
    assert high - low < 0.01
    ap = voxel.ap_of_counts(fine_counts.lesion, fine_counts.other)
    assert ap == pytest.approx(metrics.average_precision_score(lesion, scores), abs=1e-3)


def test_average_precision_of_noise_is_the_prevalence():
    rng = np.random.default_rng(1)
    lesion = rng.random(400_000) < 0.02
    ap = voxel.average_precision(rng.random(lesion.size), lesion)
    assert ap == pytest.approx(lesion.mean(), rel=0.05)


def test_a_map_of_one_value_scores_the_prevalence():
    lesion = np.arange(50) < 5
    flat = np.zeros(50)
    assert voxel.average_precision(flat, lesion) == pytest.approx(0.1)
    assert voxel.auroc(flat, lesion) == pytest.approx(0.5)
    assert voxel.oracle_dice(flat, lesion).dice == pytest.approx(2 * 5 / 55)


@pytest.mark.parametrize("count", [voxel.exact_counts, voxel.binned_counts])
@given(problem=problems(), cut=st.integers(0, 80))
@settings(max_examples=30, deadline=None)
def test_pooled_halves_equal_the_whole_in_any_order(count, problem, cut):
    scores, lesion = problem
    parts = [count(scores[:cut], lesion[:cut]), count(scores[cut:], lesion[cut:])]
    whole = count(scores, lesion)
    for pooled in (voxel.pool(parts), voxel.pool(parts[::-1])):
        np.testing.assert_array_equal(pooled.scores, whole.scores)
        np.testing.assert_array_equal(pooled.lesion, whole.lesion)
        np.testing.assert_array_equal(pooled.other, whole.other)
    groups, hit, rest = voxel.stack(parts)
    np.testing.assert_array_equal(groups, whole.scores)
    np.testing.assert_array_equal(hit.sum(0), whole.lesion)
    np.testing.assert_array_equal(rest.sum(0), whole.other)


def test_several_problems_at_once_equal_one_by_one():
    rng = np.random.default_rng(2)
    lesion, other = rng.integers(0, 4, (5, 9)), rng.integers(0, 9, (5, 9))
    for metric in (voxel.ap_of_counts, voxel.auroc_of_counts, voxel.max_dice_of_counts):
        single = [metric(a, b) for a, b in zip(lesion, other, strict=True)]
        np.testing.assert_allclose(metric(lesion, other), single)


def test_counts_without_lesion_have_no_value():
    none, some = np.zeros(4), np.ones(4)
    assert np.isnan(voxel.ap_of_counts(none, some))
    assert np.isnan(voxel.auroc_of_counts(none, some))
    assert np.isnan(voxel.auroc_of_counts(some, none))
    assert np.isnan(voxel.max_dice_of_counts(none, some))
    assert voxel.ap_of_counts(some, none) == 1


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (voxel.average_precision, "AUPRC"),
        (voxel.auroc, "AUROC"),
        (voxel.oracle_dice, "oracle Dice"),
    ],
)
def test_lesion_free_scans_are_refused(metric, name):
    with pytest.raises(DataError, match=f"{name}: no lesion voxel"):
        metric(np.arange(4.0), np.zeros(4, bool))


def test_auroc_needs_other_voxels():
    with pytest.raises(DataError, match="every voxel is lesion"):
        voxel.auroc(np.arange(4.0), np.ones(4, bool))


@given(problem=problems(), threshold=st.floats(0, 4))
@settings(max_examples=60, deadline=None)
def test_overlap_equals_scikit_learn(problem, threshold):
    scores, lesion = problem
    mask = scores > threshold
    found = voxel.overlap(mask, lesion)
    tn, fp, fn, tp = metrics.confusion_matrix(lesion, mask, labels=[False, True]).ravel()
    assert found == (tp, fp, fn, tn)
    assert found.dice == pytest.approx(metrics.f1_score(lesion, mask))
    assert found.recall == pytest.approx(metrics.recall_score(lesion, mask))
    assert found.false_positive_rate == pytest.approx(fp / (fp + tn))
    if mask.any():
        assert found.precision == pytest.approx(metrics.precision_score(lesion, mask))


def test_empty_masks_and_lesions_follow_the_stated_rules():
    none, some = np.zeros(6, bool), np.arange(6) < 2
    assert voxel.overlap(none, some).dice == 0
    assert voxel.overlap(some, none).dice == 0
    assert np.isnan(voxel.overlap(none, none).dice)
    assert np.isnan(voxel.overlap(none, some).precision)
    assert np.isnan(voxel.overlap(some, none).recall)
    assert np.isnan(voxel.overlap(some, ~none).false_positive_rate)


def test_bounds_do_not_overflow_in_the_small_numbers_of_coarser_counts():
    wide = voxel.Counts(
        scores=np.array([1.0], np.float32), lesion=np.array([70_000]), other=np.array([5_000_000])
    )
    assert voxel.auroc_bounds(voxel.coarser(wide, mantissa=4)) == pytest.approx((0, 1))
