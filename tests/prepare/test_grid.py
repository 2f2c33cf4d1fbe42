"""The canonical grid holds the whole template and is left-right symmetric."""

import numpy as np
import pytest

from brainuad.prepare.grid import MNI_2MM, Grid
from brainuad.prepare.resample import box
from brainuad.prepare.template import template, template_brain
from brainuad.types import UsageError


def test_the_whole_template_lies_inside():
    brain = template_brain(MNI_2MM.shape, MNI_2MM.affine)
    low, high = box(brain)
    assert low.min() >= 1
    assert (np.array(MNI_2MM.shape) - high).min() >= 1
    whole = template()
    assert brain.sum() * 8 == pytest.approx(whole.brain.sum(), rel=0.005)


def test_mirrored_voxels_have_mirrored_places():
    first, last = (MNI_2MM.affine @ [i, 0, 0, 1] for i in (0, MNI_2MM.shape[0] - 1))
    assert first[0] == -last[0]


def test_affine_has_spacing_and_origin():
    grid = Grid(shape=(2, 3, 4), spacing=(1.0, 2.0, 3.0), origin=(5.0, 6.0, 7.0))
    np.testing.assert_array_equal(grid.affine @ [1, 1, 1, 1], [6, 8, 10, 1])


@pytest.mark.parametrize(
    "wrong", [{"shape": (0, 2, 2)}, {"spacing": (1.0, 0.0, 1.0)}, {"spacing": (1.0, -1.0, 1.0)}]
)
def test_empty_grids_are_refused(wrong):
    with pytest.raises(UsageError, match="must be above 0"):
        Grid(**{"shape": (2, 2, 2), "origin": (0.0, 0.0, 0.0)} | wrong)
