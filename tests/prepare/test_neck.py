"""Neck below the brain is left out of a mask that was found; what a person gave stays."""

from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import person, places

from brainuad.prepare import prepare_scan
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.neck import neck
from brainuad.prepare.recipe import Recipe
from brainuad.prepare.register import Register
from brainuad.scan import Scan

STEPS = (Brain(), Register(), Checks(strict=False))


def with_neck() -> tuple[Scan, np.ndarray, np.ndarray]:
    """A person with 160 ml of muscle below the brainstem, where that is, and the true matrix."""
    scan, to_mni = person()
    x, y, z = np.moveaxis(places(scan.voxels.shape, to_mni @ scan.affine), -1, 0)
    column = (((x / 30) ** 2 + ((y + 38) / 26) ** 2) < 1) & (z < -50) & (z > -110)
    column &= scan.voxels == 0
    texture = 90 + 40 * np.sin(x / 3) * np.cos(z / 4)
    voxels = np.where(column, texture, scan.voxels).astype(np.float32)
    return replace(scan, voxels=voxels), column, to_mni


def test_the_neck_is_taken_out_and_the_fit_is_that_of_the_brain():
    scan, column, to_mni = with_neck()
    prepared = prepare_scan(scan, Recipe(name="t", steps=STEPS))
    brain = prepared.original.brain
    assert (brain & column).sum() < 0.35 * column.sum()
    alone = person()[0].voxels > 0
    assert (brain & alone).sum() > 0.999 * alone.sum()
    assert prepared.report["neck_ml"] == pytest.approx(
        (column & ~brain).sum() * 0.027, rel=0.05, abs=2
    )
    corners = np.array([[40, 40, 40, 1], [-40, -60, 40, 1], [0, 30, -20, 1]]).T
    off = np.array(prepared.report["matrix"]) @ np.linalg.inv(to_mni) @ corners - corners
    assert np.linalg.norm(off[:3], axis=0).max() < 2.5


@pytest.mark.parametrize("way", ["given", "kept"])
def test_what_a_person_decides_stays(way):
    scan, column, _ = with_neck()
    steps = STEPS if way == "given" else (STEPS[0], Register(neck_mm=None), STEPS[2])
    if way == "given":
        scan = replace(scan, brain=scan.voxels > 0)
    prepared = prepare_scan(scan, Recipe(name="t", steps=steps))
    assert (prepared.original.brain & column).sum() > 0.99 * column.sum()
    assert "neck_ml" not in prepared.report


def test_a_brain_without_a_neck_is_whole():
    scan, to_mni = person((8, 3, -5), 1.1)
    there = replace(scan, affine=to_mni @ scan.affine, brain=scan.voxels > 0)
    assert not neck(there).any()
    above = replace(there, affine=np.diag([1, 1, 1, 1.0]) @ there.affine)
    above.affine[2, 3] += 60
    assert not neck(above).any()


def test_far_below_is_neck_even_beyond_what_was_measured():
    scan, to_mni = person()
    far = replace(scan, affine=to_mni @ scan.affine, brain=scan.voxels > 0)
    far.affine[2, 3] -= 300
    np.testing.assert_array_equal(neck(far), far.brain)
