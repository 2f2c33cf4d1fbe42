import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.methods.autoddpm import Autoddpm, AutoddpmOptions
from brainuad.reverse import PUBLISHED, Reverse, noise_by
from brainuad.rng import Rng
from brainuad.unet import UNetOptions


class Flat(nn.Module):
    """Takes images of one value for the clean ones, whatever it sees."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, t):
        return torch.full_like(x, self.value)


class Sure(nn.Module):
    """Takes these images for the clean ones, whatever it sees."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, x, t):
        return self.x0


def made(value=0.0, **changes) -> Reverse:
    options = {"net": TINY, "predict": "x0", **changes}
    return ready(Autoddpm(build(AutoddpmOptions, options, where="autoddpm")), Flat(value))


@pytest.mark.parametrize("stride", [1, 7, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_walk_with_a_sure_net_ends_at_what_it_is_sure_of(stride, eta):
    method, rng = made(0.3, stride=stride, eta=eta), Rng([1, 2])
    end = method.walk(rng.normal(1, 6, 6), 100, rng=rng)
    torch.testing.assert_close(end, torch.full_like(end, 0.3), atol=1e-5, rtol=0)


def to_one(method, x, x0, levels, rng):
    """One step between two levels of a walk whose net is sure of ``x0``."""
    method.net = Sure(x0)
    return method.down(x, levels, eta=method.options.eta, rng=rng)


def test_without_fresh_noise_a_step_keeps_the_noise_and_lowers_its_level():
    method, rng = made(eta=0.0), Rng([1])
    x0, eps = rng.normal(1, 5, 5).clamp(-1, 1), rng.normal(1, 5, 5)
    stepped = to_one(method, method.noised(x0, eps, 400), x0, (400, 350), rng)
    torch.testing.assert_close(stepped, method.noised(x0, eps, 350), atol=1e-5, rtol=0)


def test_fresh_noise_keeps_the_variance_of_the_level():
    method, rng = made(eta=1.0), Rng([1])
    eps = rng.normal(1, 300, 300)
    zero = torch.zeros_like(eps)
    stepped = to_one(method, method.noised(zero, eps, 400), zero, (400, 300), rng)
    assert stepped.var().item() == pytest.approx(1 - method.left(300), rel=0.02)
    # and it is not the old noise alone
    correlation = torch.corrcoef(torch.stack([stepped.flatten(), eps.flatten()]))[0, 1]
    assert 0.3 < correlation < 0.95


def test_estimates_beyond_the_range_of_images_are_cut():
    method = made(7.0, stride=50)
    end = method.walk(torch.zeros(1, 1, 4, 4), 100, rng=Rng([1]))
    torch.testing.assert_close(end, torch.ones_like(end))


def test_a_change_is_gone_on_from_at_every_level_of_the_walk():
    method, seen = made(0.5, stride=30), []

    def change(now, x0, then):
        seen.append((now, then))
        return torch.full_like(x0, 0.1) if then == 0 else None

    end = method.walk(torch.zeros(1, 1, 4, 4), 100, rng=Rng([1]), change=change)
    assert seen == [(100, 70), (70, 40), (40, 10), (10, 0)]
    assert torch.equal(end, torch.full_like(end, 0.1))


def test_the_noise_that_belongs_to_a_clean_image():
    method, rng = made(), Rng([1, 2])
    x0, eps, t = rng.normal(1, 5, 5), rng.normal(1, 5, 5), torch.tensor([30, 700])
    guess = noise_by(lambda x, t: x0, method.schedule)(method.schedule.add_noise(x0, eps, t), t)
    torch.testing.assert_close(guess, eps, atol=1e-4, rtol=0)


def test_the_published_net_can_be_built():
    options = build(UNetOptions, PUBLISHED, where="net")
    assert [options.heads_at(level) for level in options.attended()] == [1, 1]
