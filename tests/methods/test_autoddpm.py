import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.autoddpm import Autoddpm, AutoddpmOptions, percentile
from brainuad.types import UsageError


class Knows(nn.Module):
    """Takes these images in [-1, 1] for the clean ones."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, x, t):
        return self.x0


def made(healthy, **changes):
    options = {**preset_options("autoddpm", "tiny"), "predict": "x0", **changes}
    method = Autoddpm(build(AutoddpmOptions, options, where="autoddpm"))
    return ready(method, Knows(2 * healthy - 1))


def lesioned():
    """Healthy blobs, and the same with a dark square."""
    batch = testing.Blobs(2, "axial").get(range(2))
    x = batch.x.clone()
    x[..., 14:18, 22:26] *= 0.2
    return batch, x


def test_a_perfect_net_finds_next_to_nothing():
    batch, _ = lesioned()
    found = made(batch.x).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.max() < 1e-4
    torch.testing.assert_close(found.healthy, batch.x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("resamples", [1, 3])
def test_a_net_that_knows_the_healthy_image_finds_the_lesion_alone(resamples):
    batch, x = lesioned()
    found = made(batch.x, resamples=resamples).detect(x, batch.brain, rng=batch.rng(0))
    torch.testing.assert_close(found.healthy, batch.x, atol=1e-3, rtol=0)
    square = torch.zeros_like(batch.brain)
    square[..., 14:18, 22:26] = True
    assert found.anomaly[square & batch.brain].min() > 0.1
    assert found.anomaly[~square].max() < 1e-3


def test_what_is_not_masked_stays_bit_for_bit():
    batch, x = lesioned()
    method = made(torch.full_like(x, 0.5))
    mask = torch.zeros_like(batch.brain)
    mask[..., 10:12, 20:24] = True
    painted = method.painted(x, batch.x, mask, rng=batch.rng(1))
    assert torch.equal(painted[~mask], x[~mask])
    torch.testing.assert_close(painted[mask], torch.full_like(painted[mask], 0.5))


def test_the_mask_holds_the_top_of_the_brain_and_its_neighbours():
    method = made(torch.zeros(1, 1, 20, 20))
    brain = torch.ones(1, 1, 20, 20, dtype=torch.bool)
    weight = torch.zeros(1, 1, 20, 20)
    weight[..., 5, 5] = 1.0
    mask = method.mask(weight, brain)
    assert mask.sum() == 9
    assert mask[..., 4:7, 4:7].all()
    assert not method.mask(0 * weight, brain).any()
    strict = made(torch.zeros(1, 1, 20, 20), threshold=0.5)
    assert not strict.mask(0.4 * weight, brain).any()


def test_the_percentile_is_that_of_the_brain():
    values = torch.arange(101.0).reshape(1, 1, 1, 101).repeat(2, 1, 2, 1)
    brain = torch.zeros(2, 1, 2, 101, dtype=torch.bool)
    brain[0, :, 0] = True
    assert percentile(values, brain).tolist() == [95.0, 0.0]


@pytest.mark.parametrize(("sign", "seen"), [("dark", True), ("bright", False)])
def test_only_differences_of_the_asked_sign_count(sign, seen):
    batch, x = lesioned()
    anomaly = made(batch.x, sign=sign).detect(x, batch.brain, rng=batch.rng(0)).anomaly
    assert bool((anomaly > 0.1).any()) == seen


def test_a_painting_from_beyond_the_schedule_is_refused():
    with pytest.raises(UsageError, match="paint_level 1200 of 1000 steps"):
        AutoddpmOptions(paint_level=1200)
