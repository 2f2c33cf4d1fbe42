"""Adapters around exact networks: all kinds must say the same clean image."""

import pytest
import torch
from tests.flow import euler, path
from torch import nn

from brainuad.denoiser import EpsDenoiser, SigmaDenoiser, VDenoiser, X0Denoiser, targets
from brainuad.schedule import Cosine, LinearBeta, Schedule

KINDS: dict[str, type[SigmaDenoiser]] = {"x0": X0Denoiser, "eps": EpsDenoiser, "v": VDenoiser}
MEAN, SPREAD = 0.3, 0.5


class Exact(nn.Module):
    """The best network for images N(MEAN, SPREAD^2), asked in integer steps."""

    def __init__(self, kind: str, schedule: Schedule):
        super().__init__()
        self.kind, self.schedule = kind, schedule
        self.told: list[int] = []

    def forward(self, x_vp, t):
        self.told += t.tolist()
        abar = self.schedule.abar[t].reshape(-1, 1, 1, 1).to(x_vp)
        gain = SPREAD**2 * abar.sqrt() / (SPREAD**2 * abar + 1 - abar)
        x0 = MEAN + gain * (x_vp - abar.sqrt() * MEAN)
        eps = (x_vp - abar.sqrt() * x0) / (1 - abar).sqrt()
        return {"x0": x0, "eps": eps, "v": abar.sqrt() * eps - (1 - abar).sqrt() * x0}[self.kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [Cosine(steps=100), LinearBeta(steps=100)])
def test_every_kind_gives_the_best_clean_estimate(kind, schedule):
    net = Exact(kind, schedule)
    steps = [3, 40, 90]
    sigma = schedule.sigmas[steps]
    x = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * sigma.reshape(-1, 1, 1, 1)
    s2 = sigma.square().reshape(-1, 1, 1, 1)
    wanted = (SPREAD**2 * x + s2 * MEAN) / (SPREAD**2 + s2)
    torch.testing.assert_close(KINDS[kind](net, schedule)(x, sigma), wanted)
    assert net.told == steps


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_through_any_adapter_gives_the_spread_of_the_images(kind):
    schedule = LinearBeta()
    sigmas = path(schedule, start=990, count=991)
    start = torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(0)).double()
    start = (start - start.mean()) / start.std()
    x = MEAN + start * torch.hypot(sigmas[0], torch.tensor(SPREAD).double())
    out = euler(KINDS[kind](Exact(kind, schedule), schedule), x, sigmas)
    assert out.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert out.std().item() == pytest.approx(SPREAD, rel=0.01)


def test_targets_fit_together():
    schedule, gen = Cosine(steps=10), torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(4, 1, 3, 3, generator=gen, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 3, 6, 9])
    made = targets(x0, eps, schedule.abar[t])
    abar = schedule.abar[t].reshape(-1, 1, 1, 1)
    x_t = schedule.add_noise(x0, eps, t)
    torch.testing.assert_close(abar.sqrt() * x_t - (1 - abar).sqrt() * made["v"], made["x0"])
    torch.testing.assert_close((1 - abar).sqrt() * x_t + abar.sqrt() * made["v"], made["eps"])


def test_a_level_between_steps_goes_to_the_nearer_one_by_ratio():
    schedule = LinearBeta(steps=50)
    denoiser = X0Denoiser(nn.Identity(), schedule)
    between = (schedule.sigmas[:-1] * schedule.sigmas[1:]).sqrt()
    assert denoiser.timestep(0.999 * between).tolist() == list(range(49))
    assert denoiser.timestep(1.001 * between).tolist() == list(range(1, 50))
