import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brainuad.encoding import LEVELS, decode, encode
from brainuad.scan import Scan
from brainuad.types import DataError

SHAPE = (3, 4, 5)


def make(voxels, brain) -> Scan:
    return Scan(voxels=voxels, affine=np.eye(4), modality="T1w", subject="sub-01", brain=brain)


@given(arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)))
def test_intensity_comes_back_within_half_a_level_and_the_brain_exactly(voxels):
    brain = np.random.default_rng(0).random(SHAPE) < 0.7
    voxels = voxels * brain
    found, inside = (np.moveaxis(a, 0, 2) for a in decode(encode(make(voxels, brain))))
    np.testing.assert_allclose(found, voxels, rtol=0, atol=0.5 / LEVELS + 1e-7)
    np.testing.assert_array_equal(inside, brain)
    assert found[~brain].max() == 0


@given(arrays.arrays(np.uint16, SHAPE, elements=st.integers(0, LEVELS + 1)))
def test_what_was_stored_once_is_stored_again_without_loss(codes):
    codes[0, 0, 0] = LEVELS + 1
    voxels, brain = (np.ascontiguousarray(np.moveaxis(a, 0, 2)) for a in decode(codes))
    np.testing.assert_array_equal(encode(make(voxels, brain)), codes)


@pytest.mark.parametrize(
    ("value", "inside", "words"),
    [
        (1.5, True, r"sub-01: intensities go from 0\.5 to 1\.5; they must be in \[0, 1\]"),
        (-0.1, True, r"go from -0\.1 to 0\.5"),
        (np.nan, True, "go from nan to nan"),
        (0.5, False, r"to 0\.5, also outside the brain; they must"),
    ],
)
def test_intensities_that_are_not_prepared_are_refused(value, inside, words):
    voxels, brain = np.full(SHAPE, 0.5, np.float32), np.ones(SHAPE, bool)
    voxels[1, 1, 1], brain[1, 1, 1] = value, inside
    with pytest.raises(DataError, match=words):
        encode(make(voxels, brain))


def test_a_scan_without_brain_is_refused():
    voxels = np.zeros(SHAPE, np.float32)
    for brain in (None, np.zeros(SHAPE, bool)):
        with pytest.raises(DataError, match="no brain mask, or an empty one; prepare it first"):
            encode(make(voxels, brain))
