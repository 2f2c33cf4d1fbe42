"""Blur and ghosts: what they do to a point, a constant and a spectrum."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.artefacts import blurred, ghosted, line_weights
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur


def images(*space: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 1, *space, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", [(24, 19), (12, 10, 9)])
def test_no_blur_and_no_ghosts_change_nothing(space):
    x, none = images(*space), torch.zeros(2)
    torch.testing.assert_close(blurred(x, none), x, atol=1e-6, rtol=0)
    found = ghosted(x, none, ghosts=(4, 10), rng=Rng([0, 1]))
    torch.testing.assert_close(found, x, atol=1e-6, rtol=0)


@given(sigma=st.floats(1.3, 3.0))
def test_blur_is_the_gaussian_that_it_says_away_from_the_border(sigma):
    x = torch.zeros(1, 1, 48, 44)
    x[0, 0, 24, 22] = 1
    wanted = gaussian_blur(x, sigma)
    found = blurred(x, torch.tensor([sigma]))
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=0)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)


def test_every_image_has_its_own_blur():
    x = images(20, 20)[:1].repeat(2, 1, 1, 1)
    found = blurred(x, torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(found[0], x[0], atol=1e-6, rtol=0)
    assert found[1].std() < 0.5 * x[1].std()


@pytest.mark.parametrize("count", [2, 4, 5])
def test_a_point_gets_equally_spaced_faint_copies(count):
    size = 40
    x = torch.zeros(1, 1, size, 1)
    x[0, 0, 7] = 1
    found = torch.fft.ifft(
        torch.fft.fft(x[0, 0, :, 0]) * line_weights(torch.Size([size]), 0, count, 0.6)
    ).real
    spared = 1  # the mean is kept, which spreads this much over the line
    copies = [(7 + size * n // count) % size for n in range(count)]
    level = 0.6 * spared / size
    for place in range(size):
        wanted = (place == 7) - (0.6 / count if place in copies else 0) + level
        assert found[place].item() == pytest.approx(wanted, abs=1e-5)


@given(seed=st.integers(0, 2**40), strength=st.floats(0.1, 1.0))
def test_ghosts_keep_the_mean_and_take_energy(seed, strength):
    x = images(32, 28, batch=1)
    found = ghosted(x, torch.tensor([strength]), ghosts=(4, 10), rng=Rng([seed]))
    assert found.mean().item() == pytest.approx(x.mean().item(), abs=1e-5)
    assert found.var() < x.var()
    assert math.isfinite(float(found.sum()))


def test_an_image_does_not_depend_on_its_batch():
    x, strength = images(16, 12, batch=3), torch.tensor([0.3, 0.6, 0.9])
    whole = ghosted(x, strength, ghosts=(4, 10), rng=Rng([3, 4, 5]))
    for n in range(3):
        one = ghosted(x[n : n + 1], strength[n : n + 1], ghosts=(4, 10), rng=Rng([3 + n]))
        torch.testing.assert_close(one[0], whole[n], atol=1e-6, rtol=0)
