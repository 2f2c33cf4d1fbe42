import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.methods.dae import Dae, DaeOptions
from brainuad.rng import Rng


class Identity(nn.Module):
    def forward(self, x):
        return x


class Constant(nn.Module):
    def forward(self, x):
        return torch.full_like(x, 0.5)


def made(net, **options):
    method = Dae(DaeOptions(**options))
    method.net = net
    method.mark_fitted()
    return method


def test_a_perfect_copy_finds_nothing_and_pays_the_noise():
    batch = testing.Blobs(6, "axial").get(range(6))
    method = made(Identity(), noise_std=0.2)
    assert (method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly == 0).all()
    # the error is the noise itself: interpolation between nodes lowers its variance
    share = batch.brain.float().flatten(1).mean(1)
    loss = method.loss(batch, batch.rng(1))
    assert (loss > 0).all()
    assert (loss.mean() / share.mean()) < 1.5 * 0.2**2


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    batch = testing.Blobs(2, "axial").get(range(2))
    found = made(Constant(), sign=sign).detect(batch.x, batch.brain, rng=batch.rng(0))
    d = (batch.x - 0.5) * batch.brain
    expected = {"absolute": d.abs(), "dark": (-d).clamp(min=0), "bright": d.clamp(min=0)}[sign]
    assert found.anomaly == pytest.approx(expected, abs=1e-6)
    assert found.healthy is not None
    assert found.healthy == pytest.approx(0.5 * batch.brain.float(), abs=1e-6)


def test_background_costs_nothing():
    batch = testing.Blobs(1, "axial").get([0])

    class Wrong(nn.Module):
        def forward(self, x):
            return torch.where(batch.brain, x, 7.0)

    outside_only = made(Wrong(), noise_std=1e-9).loss(batch, batch.rng(0))
    assert outside_only == pytest.approx(torch.zeros(1), abs=1e-9)


def test_detection_adds_no_noise():
    batch = testing.Blobs(1, "axial").get([0])
    method = testing.fitted(lambda: testing.small("dae"), "axial")
    maps = [method.detect(batch.x, batch.brain, rng=Rng([s])).anomaly for s in (1, 2)]
    assert torch.equal(*maps)
