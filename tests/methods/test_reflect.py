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


# The second stage


class Curved(nn.Module):
    """A velocity that depends on place and time."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.8))

    def forward(self, z, t):
        return self.rate * z.cos() * (0.2 + t / 1000).reshape(-1, 1, 1, 1)


def by_hand(net, z, steps):
    for step in range(steps):
        time = torch.full((len(z),), 1000.0 * step / steps)
        z = z + net(z, time) / steps
    return z


def test_the_second_stage_learns_the_line_to_where_the_first_net_leads():
    z, cells = latents()
    batch = Batch(x=torch.cat([z, torch.full_like(z, -30.0)], 1), brain=cells, keys=("a", "b", "c"))
    method, first = made(second=True, second_steps=5), Curved()
    rng = batch.rng(5)
    healthy = z + torch.exp(torch.tensor(-15.0)) * rng.fork("z").normal_like(z)
    sick = corrupted(CorruptionLaw(), healthy, cells, rng=rng.fork("corrupt"))
    end = by_hand(first, sick, 5).detach()

    class Knows(nn.Module):
        def forward(self, z, t):
            time = (t / 1000).reshape(-1, 1, 1, 1)
            torch.testing.assert_close(z, sick + time * (end - sick))
            return end - sick

    method.net = Knows()
    assert method.second_loss(first, batch, batch.rng(5)).max() < 1e-10
    # and one Euler step now goes as far as five did
    torch.testing.assert_close(sick + method.net(sick, torch.zeros(3)), end)
    assert (end - by_hand(first, sick, 1)).abs().max() > 1e-3


def test_the_second_stage_starts_from_the_first_and_leaves_it_as_it_is():
    options = build(
        ReflectOptions, {**preset_options("reflect", "tiny"), "second": True}, where="reflect"
    )
    torch.manual_seed(0)
    method, seen, frozen = Reflect(options), [], {}

    def note(stage, module, loss, batches):
        seen.append(stage)
        first = loss.args[0] if stage == "second" else module
        if stage == "second":
            same = zip(module.parameters(), first.parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in same)
            assert not any(p.requires_grad for p in first.parameters())
            frozen.update({n: p.clone() for n, p in first.named_parameters()})
        testing.few_steps(stage, module, loss, batches)
        if stage == "second":
            moved = dict(module.named_parameters())
            assert any(not torch.equal(p, moved[n]) for n, p in frozen.items())
            assert all(torch.equal(p, frozen[n]) for n, p in first.named_parameters())

    method.fit(testing.Blobs(8, "axial"), minimise=note)
    assert seen == [*Reflect.stages_with(method.options)] == ["autoencoder", "flow", "second"]


def test_without_a_second_stage_the_time_is_shared_as_before():
    options = build(ReflectOptions, preset_options("reflect", "tiny"), where="reflect")
    assert Reflect.stages_with(options) == Reflect.stages


def test_the_second_stage_keeps_the_contract():
    def factory():
        options = {**preset_options("reflect", "tiny"), "second": True}
        torch.manual_seed(0)
        return Reflect(build(ReflectOptions, options, where="reflect"))

    for check in (testing.map_is_valid, testing.weights_carry_everything):
        check(factory, view="axial")


@pytest.mark.parametrize(("preset", "shape"), [("paper", (4, 8, 12)), ("paper-f4", (3, 16, 24))])
def test_published_latents_have_their_channels_and_cells(preset, shape):
    with torch.device("meta"):
        method = Reflect(build(ReflectOptions, preset_options("reflect", preset)))
        mean, _ = method.autoencoder.encode(torch.zeros(1, 1, 64, 96))
        velocity = method.net(mean, torch.zeros(1))
    assert mean.shape == velocity.shape == (1, *shape)


def test_preset_of_the_second_stage_differs_in_nothing_else():
    first, second = (preset_options("reflect", p) for p in ("paper", "paper-2"))
    assert second == {**first, "second": True}
