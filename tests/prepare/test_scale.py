"""Normalisations: what a linear change of the scanner does to the result, and what it must not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prepare.heads import person

from brainuad.detect import in_own_intensity
from brainuad.prepare import Recipe, prepare_scan
from brainuad.prepare.brain import Brain
from brainuad.prepare.scale import (
    InnerMedian,
    Landmarks,
    TissueMode,
    ZScore,
    learn_landmarks,
    own_landmarks,
    tissue_mode,
)
from brainuad.prepare.work import Work
from brainuad.types import DataError, UsageError


def work(gain=1.0, offset=0.0):
    found = Brain(how="background")(Work.start(person()[0]))
    voxels = (gain * found.scan.voxels + offset) * np.asarray(found.scan.brain)
    return found.with_scan(voxels=voxels.astype(np.float32))


STANDARD = learn_landmarks([work().scan])
STEPS = [ZScore(), TissueMode(), STANDARD]


@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
@given(gain=st.floats(0.1, 50), offset=st.floats(-100, 1000))
def test_the_unit_of_the_scanner_does_not_matter(step, gain, offset):
    wanted, found = step(work()).scan, step(work(gain, offset)).scan
    np.testing.assert_allclose(found.voxels, wanted.voxels, atol=2e-3 + 2e-5 * abs(offset) / gain)
    assert found.voxels.min() >= 0
    assert found.voxels.max() <= 1
    assert not found.voxels[~found.brain].any()


def test_the_mean_becomes_a_half_and_a_deviation_its_share():
    found = ZScore(clip=4.0)(work()).scan
    inside = found.voxels[found.brain]
    assert inside.mean() == pytest.approx(0.5, abs=0.01)
    assert inside.std() == pytest.approx(1 / 8, abs=0.01)


def test_the_mode_becomes_what_it_should():
    found = TissueMode(at=0.6)(work()).scan
    assert tissue_mode(found.voxels[found.brain]) == pytest.approx(0.6, abs=0.02)


def test_percentiles_become_those_of_the_standard():
    other = work().scan
    bent = replace(other, voxels=np.sqrt(np.maximum(other.voxels, 0)).astype(np.float32))
    found = STANDARD(Work.start(bent)).scan
    np.testing.assert_allclose(
        own_landmarks(found, STANDARD.percentiles), STANDARD.values, atol=2e-3
    )


@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
def test_the_healthy_image_goes_back_to_the_scanners_unit(step):
    scan = person()[0]
    recipe = Recipe(name="own", steps=(Brain(how="background"), step))
    prepared = prepare_scan(scan, recipe)
    back = in_own_intensity(prepared, prepared.scan.voxels)
    inside = prepared.original.brain & (prepared.scan.voxels > 0.01) & (prepared.scan.voxels < 0.99)
    np.testing.assert_allclose(back[inside], scan.voxels[inside], rtol=1e-3, atol=0.5)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="landmarks: no scan to learn them from"):
        learn_landmarks([])


def test_a_brain_without_contrast_is_named():
    flat = work(gain=0.0, offset=5.0)
    with pytest.raises(DataError, match="sub-01: the brain has no contrast"):
        ZScore()(flat)
    steps = flat.scan.voxels.copy()
    steps[np.nonzero(flat.scan.brain)[0][0]] = 9
    with pytest.raises(DataError, match="percentiles .* do not rise; use another"):
        STANDARD(flat.with_scan(voxels=steps))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ZScore(clip=0.0), "zscore: clip 0.0 must be above 0"),
        (lambda: TissueMode(at=1.0), "tissue_mode: at 1.0 must lie between"),
        (lambda: InnerMedian(at=1.0), "inner_median: at 1.0 must lie between 0 and 1"),
        (lambda: InnerMedian(depth_mm=-1.0), "depth_mm -1.0 must be >= 0"),
        (lambda: Landmarks(values=(0.0, 1.0)), "give as many of each"),
        (lambda: Landmarks(values=(0.5, 0.2), percentiles=(1.0, 99.0)), "rising"),
    ],
)
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(UsageError, match=match):
        make()


@given(gain=st.floats(0.1, 50), fat=st.floats(1, 500))
def test_inner_median_sees_no_rim_and_no_gain(gain, fat):
    """A head whose rim of 3 voxels (6 mm) is fat; within the slice 8 mm are 4 voxels."""
    rng = np.random.default_rng(0)
    brain = np.zeros((21, 19, 2), bool)
    brain[1:20, 1:18] = True
    inner = np.zeros_like(brain)
    inner[5:16, 5:14] = True
    voxels = np.where(brain, 10 + rng.random(brain.shape), 0)
    voxels[brain & ~np.pad(np.ones((13, 11, 2), bool), ((4, 4), (4, 4), (0, 0)))] *= fat
    scan = replace(
        work().scan,
        voxels=(gain * voxels).astype(np.float32),
        affine=np.diag([2.0, 2, 5, 1]),
        brain=brain,
    )
    found = InnerMedian(depth_mm=8.0, at=0.25)(Work.start(scan)).scan
    expected = np.clip(0.25 * voxels / np.median(voxels[inner]), 0, 1)
    np.testing.assert_allclose(found.voxels, expected, rtol=1e-4)


def test_inner_median_of_a_thin_or_empty_head_is_refused():
    with pytest.raises(DataError, match="sub-01: the median deeper than 500 mm is 0; check"):
        InnerMedian(depth_mm=500.0)(work())
