"""Shapes are distances, random fields have the promised moments, partial volumes add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad import anatomy

AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -40], [0, 0, 2, -40], [0, 0, 0, 1]])
POINTS = anatomy.millimetres((41, 41, 41), AFFINE)


def test_millimetres_apply_the_affine():
    affine = np.array([[0, 3.0, 0, 5], [2, 0, 0, -7], [0, 0, 1, 1], [0, 0, 0, 1]])
    points = anatomy.millimetres((4, 5, 6), affine)
    np.testing.assert_allclose(points[:, 3, 2, 4], affine[:3, :3] @ [3, 2, 4] + affine[:3, 3])


def test_ball_of_equal_radii_is_the_exact_distance_to_a_sphere():
    centre = np.array([4.0, -6, 2])
    gap = np.linalg.norm(POINTS - centre[:, None, None, None], axis=0)
    distance = anatomy.ball(POINTS, ((4, -6, 2), (15, 15, 15)))
    np.testing.assert_allclose(distance, 15 - gap, atol=1e-3)


def test_ellipsoid_has_the_volume_of_its_radii():
    inside = anatomy.ball(POINTS, ((0, 0, 0), (30, 20, 12))) > 0
    assert inside.sum() * 8 == pytest.approx(4 / 3 * np.pi * 30 * 20 * 12, rel=0.02)


def test_tube_between_equal_radii_is_a_capsule():
    distance = anatomy.tube(POINTS, (((-20, 0, 0), 6.0), ((20, 0, 0), 6.0)))
    x, y, z = POINTS
    gap = np.sqrt(np.maximum(np.abs(x) - 20, 0) ** 2 + y**2 + z**2)
    np.testing.assert_allclose(distance, 6 - gap, atol=1e-4)


def test_union_contains_its_parts_and_is_their_maximum_far_from_the_seam():
    left = anatomy.ball(POINTS, ((-12, 0, 0), (15, 15, 15)))
    right = anatomy.ball(POINTS, ((12, 0, 0), (15, 15, 15)))
    both = anatomy.union([left, right], 5.0)
    assert (both >= np.maximum(left, right)).all()
    far = np.abs(left - right) > 5
    np.testing.assert_array_equal(both[far], np.maximum(left, right)[far])


@given(half=st.floats(0.05, 5), voxel=st.floats(0.5, 4), shift=st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_partial_volumes_of_a_sheet_add_up_to_its_width(half: float, voxel: float, shift: float):
    centres = (np.arange(-40, 41) * voxel + shift * voxel).reshape(-1, 1, 1)
    shares = anatomy.sheet(np.abs(centres), half, voxel)
    assert shares.min() >= -1e-12
    assert shares.max() <= 1
    assert shares.sum() * voxel == pytest.approx(2 * half, rel=1e-6)


def test_gradient_is_in_millimetres_along_the_axes_of_the_person():
    turned = np.array([[0, 3.0, 0, 5], [-2, 0, 0, 7], [0, 0, 1, 1], [0, 0, 0, 1]])
    points = anatomy.millimetres((9, 8, 7), turned)
    slope = np.array([0.5, -2.0, 3.0], np.float32)
    found = anatomy.gradient(np.tensordot(slope, points, 1), turned)
    wanted = np.broadcast_to(slope[:, None, None, None], points.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_random_boxes_are_standardised_and_smooth():
    box = anatomy.noise_box(np.random.default_rng(1), step=5, smooth=15)
    assert abs(box.mean()) < 1e-4
    assert box.std() == pytest.approx(1, abs=1e-4)
    near = np.corrcoef(box[1:].ravel(), box[:-1].ravel())[0, 1]
    # a Gaussian filter of width s makes a Gaussian correlation exp(-d^2 / 4 s^2)
    assert near == pytest.approx(np.exp(-(5**2) / (4 * 15**2)), abs=0.02)


def test_look_up_at_the_nodes_is_the_box():
    box = anatomy.noise_box(np.random.default_rng(2), step=10, smooth=10)
    nodes = np.array([3, 7, 11], np.float32) * 10 + anatomy.BOX[0]
    assert anatomy.look_up(box, 10, nodes.reshape(3, 1, 1, 1)).item() == pytest.approx(
        box[3, 7, 11], abs=1e-5
    )


def test_hemispheres_of_the_mean_brain_mirror_each_other():
    flipped = POINTS * np.array([-1, 1, 1], np.float32)[:, None, None, None]
    for shape in (anatomy.cerebrum, anatomy.fissures, anatomy.folia):
        np.testing.assert_array_equal(shape(POINTS), shape(flipped))
