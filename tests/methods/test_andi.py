import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.andi import Andi, AndiOptions
from brainuad.types import UsageError


class Knows(nn.Module):
    """Knows a clean image and says the noise that must have been added to it."""

    def __init__(self, x0, schedule):
        super().__init__()
        self.x0, self.schedule = x0, schedule

    def forward(self, x, t):
        abar = self.schedule.abar[t].reshape(-1, 1, 1, 1).float()
        return (x - abar.sqrt() * self.x0) / (1 - abar).sqrt()


def made(**changes):
    options = {**preset_options("andi", "tiny"), **changes}
    return Andi(build(AndiOptions, options, where="andi"))


def knowing(healthy, **changes):
    """A method whose net takes these images in [0, 1] for the clean ones."""
    method = made(**changes)
    return ready(method, Knows(2 * healthy - 1, method.schedule))


def test_a_net_that_knows_the_image_finds_next_to_nothing():
    batch = testing.Blobs(3, "axial").get(range(3))
    found = knowing(batch.x).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.max() < 1e-6
    torch.testing.assert_close(found.healthy, batch.x, atol=1e-4, rtol=0)


def test_the_map_is_the_geometric_mean_of_the_errors_of_the_posterior_mean():
    """For a net that is wrong by d everywhere, eps - eps_hat = sqrt(abar / (1 - abar)) 2 d."""
    batch = testing.Blobs(2, "axial").get(range(2))
    d = 0.1
    method = knowing(batch.x + d)
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    s = method.schedule
    t = torch.tensor(method.options.scorer.steps(s))
    alpha, abar = 1 - s.betas[t], s.abar[t]
    error = s.betas[t] ** 2 / (alpha * (1 - abar)) * (abar / (1 - abar)) * (2 * d) ** 2
    expected = float(error.log().mean().exp().sqrt())
    torch.testing.assert_close(found, expected * batch.brain, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("predict", ["x0", "eps", "v"])
def test_the_guess_of_the_noise_does_not_depend_on_what_the_net_says(predict):
    batch = testing.Blobs(2, "axial").get(range(2))
    x0, eps = 2 * batch.x - 1, batch.rng(1).normal_like(batch.x)
    method = made(predict=predict)
    t = torch.tensor([80, 190])

    class Says(nn.Module):
        def forward(self, x, t):
            return method.target(x0, eps, t)

    guess = ready(method, Says()).noise_in(method.schedule.add_noise(x0, eps, t), t)
    torch.testing.assert_close(guess, eps, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sign", "seen"), [("bright", False), ("dark", True)])
def test_only_differences_of_the_asked_sign_count(sign, seen):
    batch = testing.Blobs(2, "axial").get(range(2))
    # darker than what the net takes for clean
    method = knowing(batch.x + 0.1, sign=sign)
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    inside = batch.brain & (batch.x < 0.85)
    assert ((anomaly > 0)[inside] == seen).all()


def test_the_published_window_is_asked_step_by_step():
    steps = AndiOptions().scorer.steps(made().schedule)
    assert steps == tuple(range(75, 200))


def test_a_window_beyond_the_schedule_is_refused_before_any_training():
    with pytest.raises(UsageError, match="window up to step 2000 of 1000; the last step is 999"):
        build(AndiOptions, {"scorer": {"window": (75, 2000)}}, where="andi")
