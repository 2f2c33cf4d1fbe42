"""Volumes in millilitres, overlaps in [0, 1]."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prepare.heads import simple

from brainuad.prepare.measure import brain_ml, dice, known_brain
from brainuad.types import DataError


def test_volume_of_an_ellipsoid():
    assert brain_ml(simple()) == pytest.approx(4 / 3 * np.pi * 28 * 38 * 28 / 1000, rel=0.01)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_dice_is_symmetric_and_one_for_equal_masks(pairs):
    a, b = (np.array(side).reshape(-1, 1, 1) for side in zip(*pairs, strict=True))
    assert dice(a, b) == dice(b, a)
    assert 0 <= dice(a, b) <= 1
    assert dice(a, a) == 1
    assert (dice(a, b) == 0) == (not (a & b).any() and (a | b).any())


def test_half_of_two_equal_boxes():
    a = np.zeros((4, 1, 1), bool)
    b = a.copy()
    a[:2], b[1:3] = True, True
    assert dice(a, b) == 0.5


def test_a_missing_brain_is_said():
    with pytest.raises(DataError, match="egg: no brain mask yet"):
        known_brain(replace(simple(), brain=None))
