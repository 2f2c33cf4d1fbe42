import numpy as np
import pytest
import torch
from tests.family import Stand, ready

from brainuad import testing
from brainuad.config import build
from brainuad.diffusion import TINY, Start
from brainuad.method import preset_options
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.rng import Rng
from brainuad.types import UsageError


def made(preset="tiny", **changes):
    return Ddpm(build(DdpmOptions, {**preset_options("ddpm", preset), **changes}, where="ddpm"))


@pytest.mark.golden
def test_published_presets_have_the_published_parameters(golden):
    counts = golden("parameter_counts")
    known = dict(zip(counts["names"].tolist(), counts["counts"].tolist(), strict=True))
    # The paper has one net for all methods; the released baseline has another.
    for preset, name in (("paper", "pddpm_mddpm_film"), ("code", "ddpm_additive")):
        assert sum(p.numel() for p in made(preset).net.parameters()) == known[name]


WIDTH = 128


def block(a, b):
    """Parameters of a residual block: norm, convolution, time, norm, convolution, skip."""
    skip = a * b + b if a != b else 0
    return 2 * a + 9 * a * b + b + 4 * WIDTH * b + b + 2 * b + 9 * b * b + b + skip


def attention(channels):
    """Parameters of an attention: norm, queries, keys, values, projection."""
    return 2 * channels + 4 * (channels * channels + channels)


def stated_parameters(multipliers, attended):
    """Weights and biases of AnoDDPM's net with two blocks per level, by its rules."""
    widths = [WIDTH * m for m in multipliers]
    extra = [attention(w) if n in attended else 0 for n, w in enumerate(widths)]
    time = WIDTH * 4 * WIDTH + 4 * WIDTH + (4 * WIDTH) ** 2 + 4 * WIDTH
    total, channels, skips = time + 10 * WIDTH, WIDTH, [WIDTH]
    for level, width in enumerate(widths):
        if level:
            total += block(channels, channels)
            skips.append(channels)
        total += block(channels, width) + block(width, width) + 2 * extra[level]
        channels = width
        skips += [width] * 2
    total += 2 * block(channels, channels) + attention(channels)
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(3):
            total += block(channels + skips.pop(), width) + extra[level]
            channels = width
        total += block(channels, channels) if level else 0
    return total + 2 * channels + 9 * channels + 1


def test_the_net_for_256_pixels_has_six_levels_by_the_published_rules():
    with torch.device("meta"):
        method = made("anoddpm-256")
        image = torch.zeros(1, 1, 256, 256)
        guess = method.net(image, torch.zeros(1))
        assert guess.shape == image.shape
    wanted = stated_parameters((1, 1, 2, 2, 4, 4), attended=(4, 5))
    assert sum(p.numel() for p in method.net.parameters()) == wanted


def test_the_two_anoddpm_presets_differ_in_the_net_alone():
    small, large = (preset_options("ddpm", p) for p in ("anoddpm", "anoddpm-256"))
    assert {k: v for k, v in small.items() if k != "net"} == {
        k: v for k, v in large.items() if k != "net"
    }


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    batch = testing.Blobs(2, "axial").get(range(2))
    found = ready(made(sign=sign), Stand()).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.healthy is not None
    d = (batch.x - found.healthy) * batch.brain
    expected = {"absolute": d.abs(), "dark": (-d).clamp(min=0), "bright": d.clamp(min=0)}[sign]
    torch.testing.assert_close(found.anomaly, expected)


def test_squared_maps_are_the_squares_of_plain_ones():
    batch = testing.Blobs(2, "axial").get(range(2))
    plain, squared = (
        ready(made(residual=r), Stand()).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
        for r in ("l1", "squared")
    )
    torch.testing.assert_close(squared, plain.square())


def test_a_walk_of_more_calls_than_steps_is_refused():
    with pytest.raises(UsageError, match="a walk of 30 calls from level 20"):
        DdpmOptions(levels=(20,), walk=30)


def test_fresh_noise_in_a_single_call_is_refused():
    with pytest.raises(UsageError, match="eta 0.5 with a walk of one call.*give the walk more"):
        DdpmOptions(eta=0.5)


def test_anoddpm_walks_with_all_the_fresh_noise_of_ddpm():
    options = build(DdpmOptions, preset_options("ddpm", "anoddpm"), where="ddpm")
    assert (options.eta, options.walk, options.noise.kind) == (1.0, 250, "simplex")


BETAS = np.linspace(1e-4, 0.02, 1000)  # the linear schedule, by hand


class Gaussian(torch.nn.Module):
    """The best guess of images whose every pixel is normal, from white noise."""

    mean, spread = 0.3, 0.2

    def __init__(self):
        super().__init__()
        self.abar = torch.tensor(np.cumprod(1 - BETAS))

    def forward(self, x, t):
        abar = self.abar[t].reshape(-1, 1, 1, 1)
        signal, rest = abar.sqrt(), 1 - abar
        k = signal * self.spread**2 / (abar * self.spread**2 + rest)
        return (self.mean + k * (x - signal * self.mean)).to(x)


def ancestral_spread():
    """Standard deviation that the perfect net ends at, by the posterior of Ho et al. 2020, Eq. 7.

    The net's guess is a straight line, so the variance can be carried along. It falls short of
    that of the images (0.2), because the fixed variance of a step leaves out what the net is
    unsure of.
    """
    variance, abar = 1.0, np.cumprod(1 - BETAS)
    for t in reversed(range(1000)):
        before = abar[t - 1] if t else 1.0
        k = np.sqrt(abar[t]) * 0.04 / (abar[t] * 0.04 + 1 - abar[t])
        on_x0 = np.sqrt(before) * BETAS[t] / (1 - abar[t])
        on_x = np.sqrt(1 - BETAS[t]) * (1 - before) / (1 - abar[t])
        fresh = BETAS[t] * (1 - before) / (1 - abar[t])
        variance = (on_x0 * k + on_x) ** 2 * variance + fresh
    return np.sqrt(variance)


@pytest.mark.parametrize(("eta", "spread"), [(0.0, 0.2), (1.0, ancestral_spread())])
def test_a_walk_with_the_perfect_net_gives_images_of_the_right_kind(eta, spread):
    """From the whole of the noise, whatever the scan was: mean and spread within 1 %."""
    method = made(schedule="linear", levels=[1000], walk=1000, eta=eta, noise={"kind": "gaussian"})
    ready(method, Gaussian())
    rng = Rng([3])
    eps = rng.normal(1, 160, 160)[None].double()
    eps = (eps - eps.mean()) / eps.std()
    end = method.walked(torch.zeros_like(eps), Start(1000, eps, rng.fork("fresh")))
    assert end.mean().item() == pytest.approx(0.3, rel=0.01)
    assert end.std().item() == pytest.approx(spread, rel=0.01)


def test_fresh_noise_is_that_of_the_image_alone():
    batch = testing.Blobs(3, "axial").get(range(3))
    method = ready(made(levels=[400], walk=5, eta=1.0), Stand())
    together = method.detect(batch.x, batch.brain, rng=batch.rng(0)).healthy
    alone = method.detect(batch.x[1:2], batch.brain[1:2], rng=Rng(batch.rng(0).seeds[1:2])).healthy
    torch.testing.assert_close(together[1:2], alone)
    still = ready(made(levels=[400], walk=5), Stand())
    assert not torch.allclose(
        together, still.detect(batch.x, batch.brain, rng=batch.rng(0)).healthy
    )


def test_the_walk_ends_where_the_exact_flow_ends():
    """Images that are all one value: the best net says that value, and so must any walk."""
    batch = testing.Blobs(2, "axial").get(range(2))

    class Flat(torch.nn.Module):
        def forward(self, x, t):
            return torch.full_like(x, 0.2)

    method = ready(made(net=TINY, levels=[400], walk=10), Flat())
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0)).healthy
    torch.testing.assert_close(found, 0.6 * batch.brain.float(), atol=1e-5, rtol=0)
