"""Our use of LPIPS, with a stand-in for its network; the network itself where it is installed."""

import dataclasses
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import method_class, preset_options
from brainuad.perceptual import lpips_net, perceptual_map
from brainuad.smooth import gaussian_blur
from brainuad.types import UnavailableError, UsageError


class Stand(nn.Module):
    """A tenth of the difference of two colour images, as the package gives its distance."""

    def __init__(self, net, spatial, verbose):
        super().__init__()
        assert (net, spatial) == ("squeeze", True)

    def forward(self, a, b):
        assert a.shape[1] == 3
        assert min(a.min(), b.min()) >= -1
        return (a - b).abs().mean(1, keepdim=True) / 10


class Offline(nn.Module):
    def __init__(self, **_):
        raise OSError("no route to host")


class Paler(nn.Module):
    """Takes four fifths of these images for the clean ones, whatever it sees."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def forward(self, x, t):
        return 2 * 0.8 * self.x - 1


@pytest.fixture
def package(monkeypatch):
    def install(kind):
        lpips_net.cache_clear()
        module = None if kind is None else SimpleNamespace(LPIPS=kind)
        monkeypatch.setitem(sys.modules, "lpips", module)

    yield install
    lpips_net.cache_clear()


def made(name, x, **changes) -> Any:
    method = method_class(name)
    options = {**preset_options(name, "tiny"), "predict": "x0", "perceptual": "lpips", **changes}
    return ready(method(build(method.Options, options, where=name)), Paler(x))


def images(channels=1):
    return torch.rand(2, channels, 32, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_map_is_the_mean_over_the_channels_shown_as_grey_photographs(package, channels):
    package(Stand)
    x, y = images(channels), images(channels).flip(2)
    wanted = 2 * (x - y).abs().mean(1, keepdim=True) / 10
    torch.testing.assert_close(perceptual_map(x, y), wanted)


@pytest.mark.parametrize(
    ("kind", "match"),
    [(None, "lpips is not installed; .*pip install"), (Offline, "no route to host.*connect once")],
)
@pytest.mark.parametrize("name", ["thor", "autoddpm", "ddpm_ood"])
def test_what_is_missing_is_said_before_a_training(package, kind, match, name):
    package(kind)
    method = made(name, images())

    def never(*_, **__):
        pytest.fail("trained")

    with pytest.raises(UnavailableError, match=match):
        method.fit(testing.Blobs(4, "axial"), minimise=never)


@pytest.mark.parametrize("name", ["thor", "autoddpm", "ddpm_ood"])
def test_images_that_are_too_small_are_refused_before_a_training(package, name):
    package(Stand)

    class Small(testing.Blobs):
        def get(self, indices):
            batch = super().get(indices)
            return dataclasses.replace(
                batch, x=batch.x[..., :16, :], brain=batch.brain[..., :16, :]
            )

    def never(*_, **__):
        pytest.fail("trained")

    with pytest.raises(UsageError, match="16 x 48 pixels; give at least 17"):
        made(name, images()).fit(Small(4, "axial"), minimise=never)


def test_images_of_which_nothing_would_be_left_are_refused(package):
    package(Stand)
    x = torch.zeros(1, 1, 16, 40)
    with pytest.raises(UsageError, match="16 x 40 pixels; give at least 17"):
        perceptual_map(x, x)


def test_thor_multiplies_by_the_blurred_distance(package):
    package(Stand)
    batch = testing.Blobs(2, "axial").get(range(2))
    x = batch.x
    healthy = 0.8 * x
    found = made("thor", x, harmonise=[]).detect(x, batch.brain, rng=batch.rng(0)).anomaly
    distance = gaussian_blur(2 * (x - healthy).abs() / 10, 2.0)
    torch.testing.assert_close(found, (x - healthy) * distance, atol=1e-4, rtol=1e-3)


def test_autoddpm_multiplies_its_first_map(package):
    package(Stand)
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made("autoddpm", batch.x)
    healthy = 0.8 * batch.x
    plain = made("autoddpm", batch.x, perceptual="none").first_map(batch.x, healthy, batch.brain)
    found = method.first_map(batch.x, healthy, batch.brain)
    torch.testing.assert_close(found, plain * 2 * (batch.x - healthy).abs() / 10)


def test_ddpm_ood_adds_the_z_scores_of_both_distances(package):
    package(Stand)
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made("ddpm_ood", batch.x)
    plain = made("ddpm_ood", batch.x, perceptual="none")
    # Errors of two starts, the squared and the perceptual one of each side by side.
    method.healthy.mean.copy_(torch.tensor([0.01, 0.2, 0.03, 0.4]))
    method.healthy.deviation.copy_(torch.tensor([0.1, 0.3, 0.2, 0.5]))
    plain.healthy.mean.copy_(torch.tensor([0.01, 0.03]))
    plain.healthy.deviation.copy_(torch.tensor([0.1, 0.2]))
    both, squared = (
        m.detect(batch.x, batch.brain, rng=batch.rng(3, "detect")) for m in (method, plain)
    )
    torch.testing.assert_close(both.anomaly, squared.anomaly)
    for x, brain, one, other in zip(batch.x, batch.brain, both.score, squared.score, strict=True):
        distance = float(2 * 0.2 * x[brain].mean() / 10)
        wanted = ((distance - 0.2) / 0.3 + (distance - 0.4) / 0.5) / 2
        assert float(one - other) == pytest.approx(wanted, abs=1e-4)


def test_the_package_itself_finds_no_distance_between_equal_images():
    pytest.importorskip("lpips", reason="the optional package lpips is not installed")
    try:
        lpips_net()
    except UnavailableError as error:
        pytest.skip(str(error))
    x = images()
    changed = x.clone()
    changed[..., 12:20, 12:20] = 1 - changed[..., 12:20, 12:20]
    assert perceptual_map(x, x).max() < 1e-6
    found = perceptual_map(x, changed)
    assert found.min() >= 0
    assert found[..., 16, 16].min() > found[..., 16, 38].max()
