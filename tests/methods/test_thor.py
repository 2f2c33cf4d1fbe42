import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.thor import Thor, ThorOptions, harmonic_mean, scaled, widened
from brainuad.types import UsageError


class Knows(nn.Module):
    """Takes these images in [-1, 1] for the clean ones."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, x, t):
        return self.x0


def made(healthy, **changes):
    options = {**preset_options("thor", "tiny"), "predict": "x0", **changes}
    return ready(Thor(build(ThorOptions, options, where="thor")), Knows(2 * healthy - 1))


@pytest.mark.parametrize("normalise", [False, True])
def test_a_perfect_net_finds_next_to_nothing(normalise):
    batch = testing.Blobs(2, "axial").get(range(2))
    found = made(batch.x).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.max() < 1e-5
    torch.testing.assert_close(found.healthy, batch.x, atol=1e-5, rtol=0)


def test_equal_differences_along_the_walk_are_their_own_harmonic_mean():
    batch = testing.Blobs(2, "axial").get(range(2))
    healthy = (batch.x * 0.8).clamp(0, 1)
    found = made(healthy, harmonise=[]).detect(batch.x, batch.brain, rng=batch.rng(0))
    torch.testing.assert_close(found.anomaly, batch.x - healthy, atol=1e-4, rtol=0)


def test_one_zero_makes_a_harmonic_mean_zero():
    maps = torch.tensor([1.0, 1.0, 0.5]).reshape(3, 1, 1, 1, 1).repeat(1, 1, 1, 1, 2)
    maps[1, ..., 1] = 0
    torch.testing.assert_close(harmonic_mean(maps).flatten(), torch.tensor([0.75, 0.0]))


def test_a_level_of_harmony_takes_the_image_where_nothing_differs():
    batch = testing.Blobs(1, "axial").get([0])
    x, x0 = batch.x, 2 * batch.x - 1
    method = made(x)
    torch.testing.assert_close(method.blend(x, x0 * 0.5, torch.zeros_like(x)), x0)
    whole = torch.ones_like(x)
    torch.testing.assert_close(method.blend(x, x0 * 0.5, whole), x0 * 0.5)


def test_the_released_cut_lifts_dark_tissue():
    x = torch.full((1, 1, 8, 8), 0.2)
    zero = torch.zeros_like(x)
    assert made(x).blend(x, 2 * x - 1, zero) == pytest.approx(torch.full_like(x, -0.6))
    assert (made(x, faithful=True).blend(x, 2 * x - 1, zero) == 0).all()


def test_what_is_anomalous_is_closed_and_widened():
    anomaly = torch.zeros(1, 1, 31, 31)
    anomaly[..., 15, 13] = anomaly[..., 15, 17] = 1
    region = widened(anomaly, 5)
    assert region[..., 15, 13] == 1
    assert region[..., 15, 15] == 0.5
    assert region.max() <= 1
    assert (region[..., :8, :] == 0).all()


def test_maps_are_scaled_by_their_own_largest_value():
    maps = torch.tensor([0.0, 0.2, 0.1]).reshape(1, 1, 1, 3)
    torch.testing.assert_close(scaled(maps).flatten(), torch.tensor([0.0, 1.0, 0.5]))
    assert torch.equal(scaled(0 * maps), 0 * maps)


@pytest.mark.parametrize(("sign", "seen"), [("dark", True), ("bright", False)])
def test_only_differences_of_the_asked_sign_count(sign, seen):
    batch = testing.Blobs(2, "axial").get(range(2))
    brighter = (batch.x + 0.2) * batch.brain
    method = made(brighter.clamp(0, 1), sign=sign, harmonise=[])
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    assert ((anomaly > 0.1)[batch.brain & (batch.x < 0.8)] == seen).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"harmonise": (400,)}, "level 350 in steps of 1 never comes by level 400"),
        ({"harmonise": (120,), "stride": 50}, "in steps of 50 never comes by level 120"),
        ({"reach_px": 4}, "reach_px 4"),
    ],
)
def test_walks_that_miss_their_levels_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        ThorOptions(**wrong)
