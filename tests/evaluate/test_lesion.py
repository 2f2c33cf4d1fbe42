"""Lesion-wise counting against brute force over component sets."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from brainuad.evaluate.froc import (
    FROC_RATES,
    Candidates,
    candidates,
    froc,
    froc_curve,
    mean_froc,
    together,
)
from brainuad.evaluate.lesion import Lesions, match, match_lesions
from brainuad.postprocess import label_components

SPACING = (2.0, 2.0, 2.5)
SHAPE = (6, 5, 4)
masks = arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, False, True]))
maps = arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]))


def sets(mask):
    """Components as sets of voxel numbers, by another library's labelling."""
    labels = np.asarray(label(mask, connectivity=3))
    return [set(np.flatnonzero(labels.ravel() == n)) for n in range(1, labels.max() + 1)]


def most_pairs(edges, used=frozenset()):
    """Largest matching by trying every choice for the first lesion; only for small problems."""
    if not edges:
        return 0
    first, rest = edges[0], edges[1:]
    taken = [1 + most_pairs(rest, used | {c}) for c in first if c not in used]
    return max([most_pairs(rest, used), *taken])


@given(mask=masks, lesion=masks)
@settings(max_examples=80, deadline=None)
def test_matching_equals_brute_force(mask, lesion):
    found, true = sets(mask), sets(lesion)
    result = match_lesions(mask, lesion, SPACING)
    assert sorted(result.volumes_ml) == pytest.approx(sorted(len(t) * 0.01 for t in true))
    assert len(result.hit) == len(true)
    assert sum(result.hit) == sum(any(t & f for f in found) for t in true)
    assert result.components == len(found)
    assert result.false_components == sum(not any(t & f for t in true) for f in found)
    edges = [[n for n, f in enumerate(found) if len(t & f) / len(t | f) >= 0.1] for t in true]
    assert result.matched == most_pairs(edges)


def test_perfect_and_empty_masks():
    lesion = np.zeros(SHAPE, bool)
    lesion[0, 0, 0] = lesion[4, 4, 3] = True
    perfect = match_lesions(lesion, lesion, SPACING)
    assert (perfect.sensitivity, perfect.f1, perfect.f1_matched) == (1, 1, 1)
    missed = match_lesions(np.zeros(SHAPE, bool), lesion, SPACING)
    assert (missed.sensitivity, missed.f1, missed.f1_matched) == (0, 0, 0)
    nothing = match_lesions(np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), SPACING)
    assert np.isnan([nothing.sensitivity, nothing.f1, nothing.f1_matched]).all()


def test_one_component_may_hit_two_lesions_but_match_only_one():
    lesion = np.zeros((7, 3, 3), bool)
    lesion[1, 1, 1] = lesion[5, 1, 1] = True
    mask = np.zeros((7, 3, 3), bool)
    mask[1:6, 1, 1] = True
    result = match_lesions(mask, lesion, SPACING)
    assert (result.hit, result.false_components, result.matched) == ((True, True), 0, 1)


def test_scans_add_up_and_sizes_select():
    one = Lesions(volumes_ml=(0.05, 0.5), hit=(False, True), components=3, false_components=1)
    both = one + Lesions(volumes_ml=(0.1, 7.0), hit=(True, True), components=2, matched=2)
    assert (both.components, both.false_components, both.matched) == (5, 1, 2)
    assert both.sensitivity == 0.75
    assert both.f1 == pytest.approx(6 / 8)
    assert both.of_size(0.1, 1.0).volumes_ml == (0.5, 0.1)
    assert both.of_size(0.0, 0.1).sensitivity == 0


@given(mask=masks, anomaly=maps, lesion=masks)
@settings(max_examples=60, deadline=None)
def test_confidence_is_the_peak_of_the_component(mask, anomaly, lesion):
    found, true, values = sets(mask), sets(lesion), anomaly.ravel()
    result = candidates(match(mask, label_components(lesion), SPACING), anomaly)
    peaks = [max(values[list(f)]) for f in found]
    best = [
        max([p for p, f in zip(peaks, found, strict=True) if f & t], default=-np.inf) for t in true
    ]
    assert sorted(result.lesions) == sorted(best)
    everything = set().union(*true)
    false = [p for p, f in zip(peaks, found, strict=True) if not f & everything]
    assert sorted(result.false) == sorted(false)


@st.composite
def some_candidates(draw):
    values = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0])
    lesions = draw(st.lists(values | st.just(-np.inf), min_size=1, max_size=5))
    return {"lesions": tuple(lesions), "false": tuple(draw(st.lists(values, max_size=12)))}


def brute_froc(found, rate):
    """Best sensitivity over all cuts that keep the rate."""
    cuts = [*sorted({*found.lesions, *found.false}), np.inf]
    allowed = [c for c in cuts if sum(f >= c for f in found.false) <= rate * found.scans + 1e-9]
    cut = max(min(allowed), -1e9)
    return sum(v >= cut for v in found.lesions) / len(found.lesions)


@given(found=some_candidates(), scans=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_froc_equals_trying_every_cut(found, scans):
    found = Candidates(**found, scans=scans)
    result = froc(found)
    for rate in FROC_RATES:
        assert result[rate] == pytest.approx(brute_froc(found, rate))
    assert (np.diff(list(result.values())) >= 0).all()


@given(parts=st.lists(some_candidates(), min_size=1, max_size=4), data=st.data())
@settings(max_examples=60, deadline=None)
def test_drawn_scans_count_as_often_as_they_are_drawn(parts, data):
    draws = data.draw(arrays(np.int64, (3, len(parts)), elements=st.integers(0, 3)))
    draws[:, 0] += 1
    parts = [Candidates(**part) for part in parts]
    expected = []
    for row in draws:
        repeated = [p for p, times in zip(parts, row, strict=True) for _ in range(times)]
        expected.append(np.mean(list(froc(together(repeated)).values())))
    np.testing.assert_allclose(mean_froc(parts)(draws * 1.0), expected)


def test_many_candidates_in_blocks_equal_all_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    parts = [
        Candidates(lesions=tuple(rng.random(3)), false=tuple(rng.random(40).round(2)))
        for _ in range(6)
    ]
    draws = np.vstack([np.eye(6)[0], rng.integers(0, 4, (20, 6))])
    draws[draws.sum(1) == 0] = 1
    whole = mean_froc(parts)(draws)
    for size in (1, 7, 39):
        monkeypatch.setattr("brainuad.evaluate.froc.FROC_BLOCK", size)
        np.testing.assert_array_equal(mean_froc(parts)(draws), whole)


@given(parts=st.lists(some_candidates(), min_size=1, max_size=4))
def test_the_curve_is_what_counting_at_every_cut_gives(parts):
    found = together([Candidates(**part) for part in parts])
    assert found.scans == len(parts)
    alarms, sensitivity = froc_curve(found)
    for number in range(len(found.false) + 1):
        cut = [*sorted(found.false, reverse=True), -math.inf][number]
        share = sum(c > cut for c in found.lesions) / max(1, len(found.lesions))
        assert alarms[number] == pytest.approx(number / found.scans)
        assert sensitivity[number] == pytest.approx(share)
    assert (np.diff(sensitivity) >= 0).all()
    if found.lesions:
        for rate, value in froc(found).items():
            last = np.flatnonzero(alarms <= rate + 1e-9)[-1]
            assert sensitivity[last] == pytest.approx(value)
