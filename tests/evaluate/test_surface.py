"""Distances of outlines against loops over all pairs of outline voxels."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad.evaluate.lesion import match
from brainuad.evaluate.surface import hausdorff95, surface_dice, surface_of
from brainuad.postprocess import label_components
from brainuad.types import DataError

SHAPE = (6, 5, 4)
SPACING = (1.0, 1.5, 2.5)
masks = arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, True]))


def outline(mask):
    """Places in mm of the voxels that have a face neighbour outside, by looking at each."""
    places = []
    for voxel in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                beside = voxel.copy()
                beside[axis] += step
                inside = 0 <= beside[axis] < mask.shape[axis]
                if not inside or not mask[tuple(beside)]:
                    places.append(tuple(voxel))
    return np.array(sorted(set(places))) * SPACING


def nearest(one, two):
    """Distance of each outline voxel of one to the nearest of the other."""
    apart = outline(one)[:, None] - outline(two)[None]
    return np.sqrt((apart**2).sum(-1)).min(1)


@given(mask=masks, lesion=masks, tolerance=st.sampled_from([0.0, 1.2, 2.0, 3.1]))
@settings(max_examples=50, deadline=None)
def test_surface_dice_equals_a_loop(mask, lesion, tolerance):
    assume(mask.any() and lesion.any())
    both = np.concatenate([nearest(mask, lesion), nearest(lesion, mask)])
    found = surface_dice(mask, lesion, SPACING, tolerance_mm=tolerance)
    assert found == pytest.approx((both <= tolerance).mean(), abs=1e-6)


@given(mask=masks, lesion=masks)
@settings(max_examples=50, deadline=None)
def test_hausdorff_equals_a_loop(mask, lesion):
    assume(mask.any() and lesion.any())
    ends = [np.percentile(nearest(*pair), 95) for pair in ((mask, lesion), (lesion, mask))]
    assert hausdorff95(mask, lesion, SPACING) == pytest.approx(max(ends), abs=1e-5)


def test_a_shift_is_measured_in_mm():
    one, two = np.zeros((2, 12, 12, 12), bool)
    one[2:5, 2:5, 2:5] = two[2:5, 2:5, 4:7] = True
    assert hausdorff95(one, two, (1.0, 1.0, 3.0)) == pytest.approx(6)
    assert hausdorff95(one, two, (1.0, 1.0, 0.5)) == pytest.approx(1)
    assert surface_dice(one, two, (1.0, 1.0, 0.5), tolerance_mm=1.0) == 1
    assert surface_dice(one, two, (9.0, 9.0, 9.0)) < 1


@given(mask=masks, lesion=masks)
@settings(max_examples=30, deadline=None)
def test_surface_dice_is_symmetric_and_does_not_see_the_grid(mask, lesion):
    assume(mask.any() and lesion.any())
    found = surface_dice(mask, lesion, SPACING)
    assert found == surface_dice(lesion, mask, SPACING)
    wide = [np.pad(m, ((3, 1), (0, 2), (5, 4))) for m in (mask, lesion)]
    assert found == surface_dice(wide[0], wide[1], SPACING)


def test_empty_masks_follow_the_stated_rules():
    none, some = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert surface_dice(none, some, SPACING) == surface_dice(some, none, SPACING) == 0
    assert np.isnan(surface_dice(none, none, SPACING))
    with pytest.raises(DataError, match="an empty mask has no outline"):
        hausdorff95(none, some, SPACING)
    with pytest.raises(DataError, match="tolerance -1 mm"):
        surface_dice(some, some, SPACING, tolerance_mm=-1)


def test_only_matched_lesions_have_a_distance_and_the_others_are_counted():
    lesion = np.zeros((20, 8, 8), bool)
    lesion[1:4, 1:4, 1:4] = lesion[8:11, 1:4, 1:4] = lesion[16, 6, 6] = True
    mask = np.zeros_like(lesion)
    mask[2:5, 1:4, 1:4] = True  # one lesion, one voxel beside it
    mask[8, 1, 1] = True  # touches the second one with an IoU of 1/27
    found = surface_of(match(mask, label_components(lesion), (2.0, 1.0, 1.0)), (2.0, 1.0, 1.0))
    assert found.hd95 == pytest.approx((2.0,))
    assert found.mean_hd95 == pytest.approx(2.0)
    assert found.unmatched == 2


def test_a_scan_without_a_match_has_no_distance():
    lesion = np.ones(SHAPE, bool)
    missed = match(np.zeros(SHAPE, bool), label_components(lesion), SPACING)
    found = surface_of(missed, SPACING)
    assert (found.dice, found.hd95, found.unmatched) == (0, (), 1)
    assert np.isnan(found.mean_hd95)


@given(mask=masks, lesion=masks)
@settings(max_examples=30, deadline=None)
def test_each_distance_is_that_of_its_own_pair(mask, lesion):
    assume(lesion.any())
    matched = match(mask, label_components(lesion), SPACING)
    expected = [
        hausdorff95(matched.found == p.component, matched.true == p.lesion, SPACING)
        for p in matched.pairs
    ]
    assert surface_of(matched, SPACING).hd95 == pytest.approx(expected)
