"""The whole road: file to canonical grid and back, with its report."""

from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import person, places, simple

from brainuad.manifest import plain
from brainuad.nifti import read_scan, write_volume
from brainuad.prepare import MNI_2MM, prepare_alike, prepare_scan, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.measure import known_brain
from brainuad.prepare.recipe import Recipe
from brainuad.prepare.resample import Crop
from brainuad.types import DataError


def marked():
    """A person of another pose, with a bright ball in the right hemisphere."""
    scan, to_mni = person((-15, 6, 8), 0.9)
    there = places(scan.voxels.shape, to_mni @ scan.affine)
    ball = ((there - (30, -20, 20)) ** 2).sum(-1) < 12**2
    return replace(scan, voxels=np.where(ball, 1500, scan.voxels).astype(np.float32)), ball


WHOLE_RANGE = Recipe(
    name="whole",
    steps=tuple(
        Intensity(low=0.0, high=100.0) if isinstance(step, Intensity) else step
        for step in recipe("default-t1").steps
    ),
)
"""Cuts nothing off, so that what is brightest stays brightest."""


@pytest.fixture(scope="module")
def prepared():
    return prepare_scan(marked()[0], WHOLE_RANGE)


def test_intensities_are_normalised_in_the_brain_and_zero_outside(prepared):
    scan = prepared.scan
    assert scan.voxels.shape == MNI_2MM.shape
    np.testing.assert_array_equal(scan.affine, MNI_2MM.affine)
    inside = scan.voxels[scan.brain]
    assert (inside.min(), inside.max()) == (0, 1)
    assert not scan.voxels[~scan.brain].any()
    assert scan.voxels.dtype == np.float32


def test_a_mark_on_the_right_is_found_on_the_right(prepared):
    bright = prepared.scan.voxels >= 0.75
    centre = places(MNI_2MM.shape, MNI_2MM.affine)[bright].mean(0)
    np.testing.assert_allclose(centre, (30, -20, 20), atol=3)


def test_the_mark_comes_home(prepared):
    scan, ball = marked()
    bright = prepared.mask_to_original(prepared.scan.voxels >= 0.75)
    away = places(scan.voxels.shape, scan.affine)
    assert np.linalg.norm(away[bright].mean(0) - away[ball].mean(0)) < 1
    assert bright.sum() == pytest.approx(ball.sum(), rel=0.15)
    back = prepared.to_original(prepared.scan.voxels)
    assert back[ball].mean() > 0.9
    assert not back[~prepared.original.brain].any()


def test_the_report_says_what_was_done(prepared):
    report = prepared.report
    assert plain(report) == report
    assert report["recipe_hash"] == WHOLE_RANGE.hash
    assert report["brain"] == "background"
    assert set(report["seconds"]) == {"brain", "register", "resample", "intensity", "checks"}
    assert report["status"] == "pass"
    assert report["checks"]["overlap"]["value"] > 0.93
    placed = np.array(report["matrix"]) @ prepared.original.affine
    np.testing.assert_allclose(placed, prepared.placed)


def test_the_way_of_storing_changes_nothing(tmp_path):
    scan, _ = person((-15, 6, 8), 0.9)
    for name in ("a.nii", "a.nii.gz"):
        write_volume(tmp_path / name, scan.voxels, like=scan, kind="image")
    steps = (Brain(), Crop(shape=(64, 80, 64), spacing=3.0), Intensity())
    own = Recipe(name="own", steps=steps)
    one, two = (prepare_scan(read_scan(tmp_path / n), own).scan for n in ("a.nii", "a.nii.gz"))
    assert one.voxels.tobytes() == two.voxels.tobytes()


def test_a_scan_on_the_grid_already_is_only_stretched():
    scan = simple()
    found = prepare_scan(scan, recipe("phantom"))
    np.testing.assert_array_equal(found.scan.brain, scan.brain)
    np.testing.assert_array_equal(found.scan.affine, scan.affine)
    inside = scan.voxels[scan.brain]
    low, high = np.percentile(inside, (0, 99.5))
    expected = np.clip((inside - low) / (high - low), 0, 1)
    np.testing.assert_allclose(found.scan.voxels[scan.brain], expected, atol=1e-6)
    noise = np.random.default_rng(0).random(scan.voxels.shape).astype(np.float32)
    np.testing.assert_array_equal(found.to_original(noise), np.where(known_brain(scan), noise, 0))


def test_volumes_of_another_shape_are_refused(prepared):
    with pytest.raises(DataError, match=r"the volume has shape \(2, 2, 2\), the prepared scan"):
        prepared.to_original(np.zeros((2, 2, 2), np.float32))


def test_a_recipe_without_a_brain_is_refused():
    bare = Recipe(name="bare", steps=())
    with pytest.raises(DataError, match="the recipe bare finds no brain"):
        prepare_scan(simple(brain=False), bare)


def test_an_implausible_brain_is_rejected_or_reported():
    with pytest.raises(DataError, match="egg: volume ml is .*, expected 700 to 2200"):
        prepare_scan(simple(), recipe("native"))
    loose = Recipe(name="loose", steps=(Brain(), Crop(), Checks(overlap=None, strict=False)))
    assert prepare_scan(simple(), loose).report["status"] == "reject"


def test_the_input_is_not_changed():
    scan = simple()
    before = scan.voxels.copy(), scan.brain.copy(), scan.affine.copy()
    prepare_scan(scan, recipe("phantom"))
    for was, now in zip(before, (scan.voxels, scan.brain, scan.affine), strict=True):
        np.testing.assert_array_equal(was, now)


def test_a_changed_scan_keeps_its_brain_and_its_place(prepared):
    done, steps = prepared, WHOLE_RANGE
    again = prepare_alike(done.original, done, steps)
    np.testing.assert_allclose(again.scan.voxels, done.scan.voxels, atol=1e-6)
    np.testing.assert_array_equal(again.scan.brain, done.scan.brain)
    np.testing.assert_allclose(again.placed, done.placed)
    voxels = done.original.voxels.copy()
    voxels[:20] *= 1.5
    changed = prepare_alike(replace(done.original, voxels=voxels), done, steps)
    np.testing.assert_array_equal(changed.scan.brain, done.scan.brain)
    assert changed.report["matrix"] == done.report["matrix"]
    assert np.abs(changed.scan.voxels - done.scan.voxels).max() > 0.05
    with pytest.raises(DataError, match=r"the changed scan has shape \(4, 4, 4\), before it had"):
        prepare_alike(replace(done.original, voxels=voxels[:4, :4, :4], brain=None), done, steps)
