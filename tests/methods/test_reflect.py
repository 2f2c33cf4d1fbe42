import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import Batch, preset_options
from brainuad.methods.reflect import CorruptionLaw, Reflect, ReflectOptions, corrupted
from brainuad.rng import Rng


class Constant(nn.Module):
    """The same velocity everywhere."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def forward(self, z, t):
        assert t.shape == (len(z),)
        return torch.full_like(z, self.velocity)


class Pixels(nn.Module):
    """Latents are the pixels."""

    factor, latent_channels = 1, 1

    def encode(self, x):
        return x, torch.full_like(x, -30.0)

    def decode(self, z):
        return z


def made(velocity=0.0, **changes):
    options = {**preset_options("reflect", "tiny"), **changes}
    method = Reflect(build(ReflectOptions, options, where="reflect"))
    method.net, method.autoencoder = Constant(velocity), Pixels()
    method.mark_fitted()
    return method


def latents(count=3):
    z = Rng(range(count)).normal(2, 12, 14)
    return z, torch.ones(count, 1, 12, 14, dtype=torch.bool)


def test_no_velocity_means_no_anomaly_and_a_perfect_copy():
    batch = testing.Blobs(3, "axial").get(range(3))
    found = made().detect(batch.x, batch.brain, rng=batch.rng(0))
    assert (found.anomaly == 0).all()
    torch.testing.assert_close(found.healthy, batch.x)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_constant_velocity_is_followed_exactly_whatever_the_steps(steps):
    z, _ = latents()
    torch.testing.assert_close(made(0.3, steps=steps).corrected(z), z + 0.3)


def test_the_target_leads_from_the_corrupted_to_the_healthy_latent_in_one_euler_step():
    """A net that says the target at time 0 restores the latent exactly, and costs nothing."""
    z, cells = latents()
    batch = Batch(x=torch.cat([z, torch.full_like(z, -30.0)], 1), brain=cells, keys=("a", "b", "c"))
    seen = []

    class Watch(nn.Module):
        def forward(self, z, t):
            seen.append((z, t / 1000))
            return torch.zeros_like(z)

    method = made()
    method.net = Watch()
    rng = batch.rng(5)
    loss = method.loss(batch, rng)
    ((between, time),) = seen
    # the streams say which latents and which corruption were used
    healthy = z + torch.exp(torch.tensor(-15.0)) * rng.fork("z").normal_like(z)
    sick = corrupted(CorruptionLaw(), healthy, cells, rng=rng.fork("corrupt"))
    velocity = healthy - sick
    torch.testing.assert_close(loss, velocity.square().flatten(1).mean(1))
    torch.testing.assert_close(between, sick + time.reshape(-1, 1, 1, 1) * velocity)

    class Knows(nn.Module):
        def forward(self, z, t):
            return velocity

    method.net = Knows()
    torch.testing.assert_close(method.corrected(sick), healthy)
    assert method.loss(batch, batch.rng(5)).max() == 0


def test_corruption_stays_inside_and_happens_as_often_as_asked():
    z, cells = torch.zeros(400, 1, 8, 8), torch.zeros(400, 1, 8, 8, dtype=torch.bool)
    cells[..., 2:6, 2:6] = True
    law = CorruptionLaw(probability=0.9, textured=0.0)
    changed = corrupted(law, z, cells, rng=Rng(range(400))) != 0
    assert not (changed & ~cells).any()
    assert changed.flatten(1).any(1).float().mean().item() == pytest.approx(0.9, abs=0.05)
    never = CorruptionLaw(probability=0.0)
    assert torch.equal(corrupted(never, z, cells, rng=Rng(range(400))), z)


def test_noise_keeps_the_variance_of_unit_latents():
    z = Rng(range(300)).normal(1, 8, 8)
    cells = torch.ones(300, 1, 8, 8, dtype=torch.bool)
    law = CorruptionLaw(probability=1.0, textured=0.0)
    assert corrupted(law, z, cells, rng=Rng(range(1000, 1300))).var() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(("sign", "velocity", "seen"), [
    ("dark", 0.2, True), ("dark", -0.2, False), ("bright", -0.2, True), ("absolute", 0.2, True),
])  # fmt: skip
def test_the_map_has_the_asked_sign(sign, velocity, seen):
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made(velocity, map={"sign": sign})
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    # both halves of the map are 0.2 / 0.4 everywhere
    expected = 0.5 * batch.brain.float() if seen else torch.zeros_like(anomaly)
    torch.testing.assert_close(anomaly, expected)
