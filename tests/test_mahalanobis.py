"""Parts of the Mahalanobis distance against a full inverse of the covariance."""

import numpy as np
import pytest
import torch

from brainuad.mahalanobis import RIDGE, unexplained


def case(draws=5, batch=3, channels=1, seed=0):
    """Images, draws that vary together, and brains of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    space = (7, 6)
    x = torch.rand(batch, channels, *space, generator=generator)
    modes = torch.randn(2, batch, channels, *space, generator=generator)
    much = torch.randn(draws, 2, generator=generator)
    own = 0.05 * torch.randn(draws, batch, channels, *space, generator=generator)
    every = x + 0.1 + torch.einsum("dm,mbcij->dbcij", 0.2 * much, modes) + own
    brain = torch.rand(batch, 1, *space, generator=generator) > 0.3
    return x, every, brain


def brute(x, draws, brain, ridge):
    """The definition, with the inverse of a matrix of all brain pixels."""
    found = np.zeros(x.shape)
    for n in range(len(x)):
        inside = brain[n].expand(x.shape[1:]).numpy()
        rows = np.stack([draw[n].double().numpy()[inside] for draw in draws])
        sigma = np.cov(rows, rowvar=False) + ridge * np.eye(inside.sum())
        d = x[n].double().numpy()[inside] - rows.mean(0)
        found[n][inside] = ridge * d * (np.linalg.inv(sigma) @ d)
    return found


@pytest.mark.parametrize("draws", [2, 5, 10])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("ridge", [RIDGE, 1e-4, 1.0])
def test_parts_equal_those_by_a_full_inverse(draws, channels, ridge):
    x, every, brain = case(draws, channels=channels)
    found = unexplained(x, every, brain, ridge=ridge)
    np.testing.assert_allclose(found, brute(x, every, brain, ridge), rtol=1e-4, atol=1e-6)


def test_the_published_ridge_is_the_default():
    x, every, brain = case()
    assert torch.equal(unexplained(x, every, brain), unexplained(x, every, brain, ridge=0.01))


def test_draws_that_agree_explain_nothing():
    x, every, brain = case()
    alike = every[:1].expand(4, *every.shape[1:])
    wanted = (x - every[0]).square() * brain
    torch.testing.assert_close(unexplained(x, alike, brain), wanted)


def test_a_difference_along_which_the_draws_vary_counts_less_than_one_across():
    x, _, _ = case(batch=1)
    brain = torch.ones_like(x) > 0
    mode = torch.zeros_like(x)
    mode[..., :3, :] = 0.2
    draws = torch.stack([x + s * mode for s in (-1.5, -0.5, 0.5, 1.5)])
    across = mode.flip(2)
    assert not (mode * across).any()
    along, other = (unexplained(x + m, draws, brain).sum() for m in (mode, across))
    # along the mode v the squared distance is |v|^2 / (variance |v|^2 + ridge), times the ridge
    length, variance = float(mode.square().sum()), 5 / 3
    assert float(along) == pytest.approx(length * RIDGE / (variance * length + RIDGE), rel=1e-4)
    assert float(other) == pytest.approx(length, rel=1e-4)


def test_neither_the_order_of_draws_nor_other_images_nor_what_is_outside_count():
    x, every, brain = case()
    found = unexplained(x, every, brain)
    torch.testing.assert_close(unexplained(x, every.flip(0), brain), found)
    torch.testing.assert_close(unexplained(x[1:2], every[:, 1:2], brain[1:2]), found[1:2])
    changed = torch.where(brain, x, 9.0), torch.where(brain, every, -9.0)
    assert torch.equal(unexplained(*changed, brain), found)
    assert (found[~brain] == 0).all()
    assert (found.flatten(1).sum(1) > 0).all()


def test_without_brain_all_is_zero():
    x, every, brain = case()
    assert (unexplained(x, every, torch.zeros_like(brain)) == 0).all()
