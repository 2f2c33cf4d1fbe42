import math

import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.vae import Vae, VaeOptions
from brainuad.rng import Rng
from brainuad.types import UsageError


class Copy(nn.Module):
    """The image itself as the mean of its code, with the same log-variance everywhere."""

    def __init__(self, logvar):
        super().__init__()
        self.logvar = logvar

    def encode(self, x):
        return torch.cat([x, torch.full_like(x, self.logvar)], dim=1)

    def decode(self, code, space):
        return code


def made(net, **changes):
    method = Vae(build(VaeOptions, {**preset_options("vae", "tiny"), **changes}, where="vae"))
    method.net = net
    method.mark_fitted()
    return method


def test_a_perfect_copy_finds_nothing_whatever_its_variance():
    batch = testing.Blobs(3, "axial").get(range(3))
    for logvar in (-30.0, 0.0):
        found = made(Copy(logvar)).detect(batch.x, batch.brain, rng=batch.rng(0))
        assert (found.anomaly == 0).all()


def test_the_error_of_a_sampled_copy_is_that_of_its_noise():
    """E|N(0, s)| = s sqrt(2 / pi)."""
    batch = testing.Blobs(8, "axial").get(range(8))
    sd = 0.1
    loss = made(Copy(2 * math.log(sd)), beta=0.0).loss(batch, batch.rng(0))
    assert loss.mean().item() == pytest.approx(sd * math.sqrt(2 / math.pi), rel=0.03)


def test_the_divergence_enters_with_its_weight():
    batch = testing.Blobs(2, "axial").get(range(2))
    without, with_it = (made(Copy(0.0), beta=b).loss(batch, batch.rng(0)) for b in (0.0, 2.0))
    # log-variance 0: half the mean square of the mean is left
    torch.testing.assert_close(with_it - without, batch.x.square().flatten(1).mean(1))


def test_a_negative_weight_is_refused():
    with pytest.raises(UsageError, match=r"beta.*greater than or equal to 0"):
        build(VaeOptions, {"beta": -1.0}, where="vae")


def test_detection_draws_nothing():
    batch = testing.Blobs(1, "axial").get([0])
    method = testing.fitted(lambda: testing.small("vae"), "axial")
    maps = [method.detect(batch.x, batch.brain, rng=Rng([s])).anomaly for s in (1, 2)]
    assert torch.equal(*maps)


@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    class Grey(Copy):
        def decode(self, code, space):
            return torch.full_like(code, 0.5)

    batch = testing.Blobs(2, "axial").get(range(2))
    found = made(Grey(0.0), sign=sign).detect(batch.x, batch.brain, rng=batch.rng(0))
    d = (batch.x - 0.5) * batch.brain
    torch.testing.assert_close(found.anomaly, (-d if sign == "dark" else d).clamp(min=0))
