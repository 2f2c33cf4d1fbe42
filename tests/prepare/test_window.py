"""A fixed window of intensity."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prepare.heads import simple

from brainuad.prepare import recipe
from brainuad.prepare.pipeline import prepare_scan
from brainuad.prepare.window import Window
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import UsageError


@given(low=st.floats(-1000, 1000), width=st.floats(1, 3000), value=st.floats(-5000, 5000))
def test_ends_of_the_window_become_0_and_1_and_nothing_lies_beyond(low, width, value):
    scan = simple()
    brain = np.ones(scan.voxels.shape, bool)
    voxels = np.full(scan.voxels.shape, value, np.float32)
    voxels[0, 0, 0], voxels[0, 0, 1] = low, low + width
    work = Work.start(replace(scan, voxels=voxels, brain=brain))
    out = Window(low=low, high=low + width)(work).scan.voxels
    assert out[0, 0, 0] == pytest.approx(0, abs=1e-3)
    assert out[0, 0, 1] == pytest.approx(1, abs=1e-3)
    assert out[1, 1, 1] == pytest.approx(min(max((value - low) / width, 0), 1), abs=1e-3)


def test_outside_the_brain_is_0():
    scan = simple()
    out = Window(low=-1.0, high=1e6)(Work.start(scan)).scan
    assert not out.voxels[~scan.brain].any()
    assert out.voxels[scan.brain].all()


def test_a_window_that_does_not_ascend_is_refused():
    with pytest.raises(UsageError, match=r"window: 5.0 to 5.0 must ascend"):
        Window(low=5.0, high=5.0)


def test_the_slices_recipe_keeps_every_pixel_of_a_single_slice():
    image = np.arange(256, dtype=np.float32).reshape(16, 16, 1)
    scan = Scan(voxels=image, affine=np.eye(4), modality="CT", subject="slice")
    prepared = prepare_scan(scan, recipe("slices")).scan
    assert prepared.brain is not None
    assert prepared.brain.all()
    np.testing.assert_allclose(prepared.voxels, image / 255, atol=1e-6)
