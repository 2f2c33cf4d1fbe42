"""What a header says of itself is judged by the numbers alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad import gate
from brainuad.types import DataError, UsageError

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (10, 12, 14)


@pytest.mark.parametrize(
    ("words", "asked", "found"),
    [
        (["sub-01", "T1w"], None, "T1w"),
        (["p", "FLAIR"], None, "FLAIR"),
        (["p", "t2"], None, "T2w"),
        (["head"], None, "unknown"),
        (["head"], "unknown", "unknown"),
        (["head"], "flair", "FLAIR"),
        (["T1w"], "t1", "T1w"),
        (["T1", "T2"], None, "T2w"),
        (["T1", "T2"], "T1w", "T1w"),
    ],
)
def test_modality_comes_from_the_argument_or_the_name(words, asked, found):
    assert gate.checked_modality("scan", words, asked) == found


def test_unknown_modality_lists_the_choices():
    with pytest.raises(UsageError, match="modality 'xray': unknown; choose from T1w, T1ce, T2w"):
        gate.checked_modality("scan", [], "xray")


def test_name_and_argument_must_agree():
    with pytest.raises(UsageError, match="the name says T1w, the modality given is FLAIR"):
        gate.checked_modality("scan", ["T1w"], "FLAIR")


@pytest.mark.parametrize(
    ("dim", "message"),
    [
        ([0, 1, 1, 1, 1, 1, 1, 1], "says 0 axes"),
        ([9, 1, 1, 1, 1, 1, 1, 1], "says 9 axes"),
        ([3, -5, 4, 4, 1, 1, 1, 1], "sizes .-5, 4, 4."),
        ([3, 0, 4, 4, 1, 1, 1, 1], "sizes .0, 4, 4."),
        ([2, 4, 4, 1, 1, 1, 1, 1], "has 2 axes; give a 3-D scan"),
        ([4, 4, 4, 4, 2, 1, 1, 1], "several volumes"),
        ([3, 32000, 32000, 32000, 1, 1, 1, 1], "more than 536870912 voxels"),
    ],
)
def test_impossible_shapes_are_refused(dim, message):
    with pytest.raises(DataError, match=message):
        gate.checked_shape("scan", np.array(dim))


def test_singleton_axes_are_dropped():
    assert gate.checked_shape("scan", np.array([5, 4, 5, 6, 1, 1, 1, 1])) == (4, 5, 6)


def test_a_file_must_be_as_long_as_it_says():
    gate.checked_bytes("scan", 10, 10)
    with pytest.raises(DataError, match="promises 11 bytes, the file holds 10"):
        gate.checked_bytes("scan", 11, 10)


@pytest.mark.parametrize("edge", [0.0, -2.0, np.nan, np.inf])
def test_spacing_must_be_a_positive_number(edge):
    with pytest.raises(DataError, match="must be above 0"):
        gate.checked_spacing("scan", np.array([2.0, edge, 2.0]), 2)


@pytest.mark.parametrize(("edge", "unit"), [(2000.0, 2), (2.0, 3), (2.0, 1)])
def test_spacing_in_a_wrong_unit_is_refused(edge, unit):
    with pytest.raises(DataError, match="the unit in the header is probably wrong"):
        gate.checked_spacing("scan", np.full(3, edge), unit)


@pytest.mark.parametrize(("scale", "unit"), [(1.0, 2), (1.0, 0), (1e-3, 1), (1e3, 3)])
def test_affine_comes_back_in_millimetres(scale, unit):
    stored = np.diag([scale] * 3 + [1.0]) @ AFFINE
    np.testing.assert_allclose(gate.checked_affine("scan", stored, unit, name="sform"), AFFINE)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.full((4, 4), np.nan), "not finite"),
        (np.diag([2.0, np.inf, 2.0, 1.0]), "not finite"),
        (np.diag([0.0, 0.0, 0.0, 1.0]), "singular"),
        (np.diag([2.0, 0.0, 2.0, 1.0]), "singular"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_affine_must_be_finite_and_invertible(affine, message):
    with pytest.raises(DataError, match=message):
        gate.checked_affine("scan", affine, 2, name="sform")


def moved(affine: np.ndarray, mm: float) -> np.ndarray:
    out = affine.copy()
    out[0, 3] += mm
    return out


def test_two_affines_of_one_space_must_agree():
    gate.check_agreement("scan", SHAPE, (AFFINE, 1), (moved(AFFINE, 0.9), 1))
    with pytest.raises(DataError, match=r"place a corner 1.5 mm apart"):
        gate.check_agreement("scan", SHAPE, (AFFINE, 1), (moved(AFFINE, 1.5), 1))


@pytest.mark.parametrize("code", [3, 4])
def test_sform_in_a_standard_space_may_differ_from_the_scanner(code):
    gate.check_agreement("scan", SHAPE, (AFFINE, code), (moved(AFFINE, 50), 1))
    with pytest.raises(DataError, match="place a corner 50 mm apart"):
        gate.check_agreement("scan", SHAPE, (AFFINE, code), (moved(AFFINE, 50), code))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_voxels_must_be_finite_as_float32(wrong):
    values = np.zeros((3, 3, 3))
    values[1, 1, 1] = wrong
    with pytest.raises(DataError, match="1 of 27 voxels are NaN or infinite"):
        gate.checked_voxels("scan", values)


def test_voxels_become_float32():
    assert gate.checked_voxels("scan", np.arange(8, dtype=np.int16)).dtype == np.float32


def test_a_mask_holds_only_0_and_1():
    gate.check_mask("mask", np.array([0.0, 1.0]), empty=False)
    with pytest.raises(DataError, match=r"2 other voxels, such as 0\.3"):
        gate.check_mask("mask", np.array([0.0, 0.3, 2.0]), empty=False)


def test_an_empty_mask_is_refused_unless_allowed():
    gate.check_mask("mask", np.zeros(4), empty=True)
    with pytest.raises(DataError, match="the mask is empty"):
        gate.check_mask("mask", np.zeros(4), empty=False)


@given(st.tuples(*[st.floats(-100, 100)] * 3))
def test_distance_of_a_shifted_grid_is_the_length_of_the_shift(shift):
    other = AFFINE.copy()
    other[:3, 3] += shift
    length = float(np.linalg.norm(shift))
    assert gate.grid_distance(SHAPE, AFFINE, other) == pytest.approx(length, abs=1e-9)


def test_corners_are_the_outermost_voxels():
    found = gate.corners((2, 3, 4), AFFINE)
    assert found.min(0).tolist() == [0, 0, 0]
    assert found.max(0).tolist() == [2, 4, 6]
