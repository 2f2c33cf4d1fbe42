"""Bins of scores: order, edges, exact counts above an edge, merging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad.histogram import (
    COARSE_MANTISSA,
    FINE_MANTISSA,
    MANTISSA,
    Histogram,
    bin_count,
    bin_of,
    upper_edge,
)
from brainuad.types import DataError

scores = arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.floats(0, 2.0**127, width=32) | st.floats(0, 2, width=16),
)


@pytest.mark.parametrize("mantissa", [COARSE_MANTISSA, MANTISSA, FINE_MANTISSA])
@given(values=scores)
@settings(max_examples=30, deadline=None)
def test_bins_keep_order_and_hold_their_scores(mantissa, values):
    bins = bin_of(values, mantissa)
    assert bins.min() >= 0
    assert bins.max() < bin_count(mantissa)
    order = np.argsort(values)
    assert (np.diff(bins[order]) >= 0).all()
    assert (values <= upper_edge(bins, mantissa)).all()
    above_zero = values > 0
    lower = upper_edge(bins[above_zero] - 1, mantissa)
    assert (values[above_zero] > lower).all()
    normal = values >= np.finfo(np.float32).tiny
    tops = upper_edge(bins, mantissa)[normal].astype(np.float64)
    finite = np.isfinite(tops)
    assert (tops[finite] / values[normal][finite] <= 1 + 2.0**-mantissa).all()


def test_stated_numbers_of_bins_and_zero():
    assert [bin_count(m) for m in (4, 8, 10, 12)] == [4081, 65281, 261121, 1044481]
    np.testing.assert_array_equal(bin_of(np.array([0.0, -0.0, 1e-45])), [0, 0, 1])
    assert upper_edge(0) == 0


@given(values=scores)
@settings(max_examples=20, deadline=None)
def test_coarse_bins_are_unions_of_fine_bins(values):
    fine, coarse = bin_of(values, 12), bin_of(values, 8)
    np.testing.assert_array_equal(-(-fine // 16), coarse)


@given(values=scores, rate=st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_share_above_the_threshold_is_exact_and_within_one_bin_of_the_rate(values, rate):
    histogram = Histogram(8)
    histogram.add(values)
    threshold, share = histogram.threshold_at(rate)
    assert share == pytest.approx((values > np.float32(threshold)).mean())
    assert share <= rate + 1e-12
    if threshold > 0:
        chosen = bin_of(np.array([threshold]), 8)[0]
        in_bin = (bin_of(values, 8) == chosen).mean()
        assert share > rate - in_bin - 1e-12


@given(values=scores, cut=st.integers(0, 60))
@settings(max_examples=20, deadline=None)
def test_halves_merge_to_the_whole(values, cut):
    whole, left, right = Histogram(8), Histogram(8), Histogram(8)
    whole.add(values)
    left.add(values[:cut])
    right.add(values[cut:])
    right.merge(left)
    np.testing.assert_array_equal(right.counts, whole.counts)
    assert right.highest == whole.highest
    assert right.total == values.size


def test_unlike_bins_and_empty_histograms_are_refused():
    with pytest.raises(DataError, match="cannot merge bins of 8 mantissa bits into bins of 12"):
        Histogram(12).merge(Histogram(8))
    with pytest.raises(DataError, match="holds no scores"):
        Histogram(8).threshold_at(0.01)
