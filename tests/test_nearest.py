"""Likeness and spread of healthy images, against loops and numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad import nearest


def images(seed: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, 5, 4, generator=rng)
    brain = torch.rand(count, 1, 5, 4, generator=rng) > 0.3
    return x * brain, brain


@given(seed=st.integers(0, 50), count=st.integers(1, 12))
def test_closest_are_those_of_a_sorted_list_of_distances(seed: int, count: int):
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 3, (12, 2)).astype(np.float32)  # many are equally far
    place = rng.integers(0, 3, 2).astype(np.float32)
    wanted = sorted(range(12), key=lambda n: (float(((places[n] - place) ** 2).sum()), n))
    found = nearest.closest(torch.from_numpy(place), torch.from_numpy(places), count)
    assert found.tolist() == wanted[:count]


@given(seed=st.integers(0, 50))
def test_mean_and_deviation_are_those_of_the_covering_brains(seed: int):
    x, brain = images(seed)
    found = nearest.around(x, brain)
    for i in range(5):
        for j in range(4):
            own = x[brain[:, 0, i, j], 0, i, j].numpy()
            assert found.count[0, i, j] == len(own)
            mean = own.mean() if len(own) else 0.0
            spread = own.std(ddof=1) if len(own) > 1 else 0.0
            assert float(found.mean[0, i, j]) == pytest.approx(mean, abs=1e-6)
            assert float(found.deviation[0, i, j]) == pytest.approx(spread, abs=1e-6)


@pytest.mark.parametrize("count", [3, 50])
def test_axes_span_what_the_singular_vectors_span(count: int):
    x, _ = images(0)
    centre, axes = nearest.principal_axes(x, count)
    flat = x.flatten(1).numpy()
    assert centre.numpy() == pytest.approx(flat.mean(0), abs=1e-6)
    right = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][: min(count, 11)]
    assert axes.shape == (min(count, 11), 20)
    assert axes.T.numpy() @ axes.numpy() == pytest.approx(right.T @ right, abs=1e-4)
    found = nearest.coordinates(x, centre, axes).numpy()
    assert found == pytest.approx((flat - flat.mean(0)) @ axes.numpy().T, abs=1e-5)


def test_a_box_of_another_size_and_place_stretches_to_the_same_image():
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 16), torch.linspace(0, 1, 12), indexing="ij"
    )
    large, small = torch.zeros(1, 1, 40, 30), torch.zeros(1, 1, 40, 30)
    large[..., 4:36, 3:27] = (0.2 + rows.repeat_interleave(2, 0).repeat_interleave(2, 1))[
        :, :24
    ] + columns.repeat_interleave(2, 0).repeat_interleave(2, 1)[:32]
    small[..., 20:36, 1:13] = 0.2 + rows + columns
    one, two = (nearest.stretched(x, x > 0) for x in (large, small))
    assert one[1].all()
    assert two[1].all()
    assert (one[0] - two[0]).abs().max() < 0.08


def test_a_smooth_image_comes_back_from_the_stretch_and_nothing_lies_outside_the_box():
    axis = torch.linspace(0, 3, 40)
    x = torch.sin(axis)[:, None] + torch.cos(axis)[None, :]
    brain = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    brain[..., 8:33, 10:30] = True
    frame, _ = nearest.stretched((x * brain).float(), brain)
    back = nearest.returned(frame, brain[0])
    assert (back[~brain] == 0).all()
    inner = (..., slice(10, 31), slice(12, 28))
    assert (back[inner] - x[10:31, 12:28]).abs().max() < 5e-3


def test_a_box_that_is_the_whole_image_changes_nothing_and_no_brain_is_no_error():
    x = torch.rand(2, 1, 6, 7)
    brain = torch.ones_like(x, dtype=torch.bool)
    brain[1] = False
    frames, covered = nearest.stretched(x, brain)
    assert torch.equal(frames[0], x[0])
    assert not frames[1].any()
    assert not covered[1].any()
