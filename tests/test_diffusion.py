"""What the pixel-space diffusion methods share, with analytic nets."""

import numpy as np
import pytest
import torch
from tests.family import Copy, Stand, ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.detector_config import configured, new_method
from brainuad.diffusion import SMALL, TINY, DiffusionOptions, Noise
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.prepare import recipe
from brainuad.rng import Rng
from brainuad.types import UsageError


def options(**changes):
    return build(DdpmOptions, {"net": TINY, **changes}, where="ddpm")


@pytest.mark.golden
def test_whole_image_restoration_and_loss_equal_the_published_ones(golden):
    g = golden("patch_reconstruction")
    x = torch.from_numpy(g["image"])[:, None]
    eps = torch.from_numpy(g["noise_f16"].astype(np.float32)).expand_as(x)
    method = ready(Ddpm(options()), Stand())
    brain = torch.ones_like(x, dtype=torch.bool)
    found = method.restored(x, brain, 500, eps)
    np.testing.assert_allclose(found, g["recon_ddpm_tidx499"], atol=1e-5)
    loss = method.loss_at(2 * x - 1, brain, torch.from_numpy(g["train_t"]), eps).mean()
    np.testing.assert_allclose(loss.item(), g["train_loss_ddpm"], atol=1e-6)


class Perfect(nn.Module):
    """Knows the clean image, and says it in the language asked for."""

    def __init__(self, x0, predict, schedule):
        super().__init__()
        self.x0, self.predict, self.schedule = x0, predict, schedule

    def forward(self, x, t):
        abar = self.schedule.abar[t].reshape(-1, 1, 1, 1).float()
        eps = (x - abar.sqrt() * self.x0) / (1 - abar).sqrt()
        v = abar.sqrt() * eps - (1 - abar).sqrt() * self.x0
        return {"x0": self.x0, "eps": eps, "v": v}[self.predict]


@pytest.mark.parametrize("predict", ["x0", "eps", "v"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "scaled_linear"])
@pytest.mark.parametrize("walk", [1, 5])
def test_a_perfect_net_restores_exactly_and_pays_nothing(predict, schedule, walk):
    batch = testing.Blobs(3, "axial").get(range(3))
    method = Ddpm(options(predict=predict, schedule=schedule, levels=[300], walk=walk))
    method = ready(method, Perfect(2 * batch.x - 1, predict, method.schedule))
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    torch.testing.assert_close(found.healthy, batch.x, atol=2e-4, rtol=0)
    assert (found.anomaly <= 2e-4).all()
    t = torch.tensor([0, 300, 700])
    eps = Rng([1, 2, 3]).normal_like(batch.x)
    assert method.loss_at(2 * batch.x - 1, batch.brain, t, eps).max() < 1e-3


def test_several_levels_give_the_mean_of_single_restorations_with_the_same_noise():
    batch = testing.Blobs(2, "axial").get(range(2))
    several = ready(Ddpm(options(levels=[250, 500, 750])), Stand())
    found = several.detect(batch.x, batch.brain, rng=batch.rng(4)).healthy
    singles = [
        ready(Ddpm(options(levels=[n])), Stand()).detect(batch.x, batch.brain, rng=batch.rng(4))
        for n in (250, 500, 750)
    ]
    expected = torch.stack([s.healthy for s in singles]).mean(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("error", "power"), [("l1", 1), ("l2", 2)])
def test_the_loss_is_a_mean_over_all_pixels(error, power):
    x0 = torch.zeros(2, 1, 8, 8)
    brain = torch.ones_like(x0, dtype=torch.bool)
    method = ready(Ddpm(options(error=error)), Copy())
    eps, t = torch.full_like(x0, 2.0), torch.tensor([0, 999])
    size = 2 * (1 - method.schedule.abar[t]).sqrt()
    loss = method.loss_at(x0, brain, t, eps)
    np.testing.assert_allclose(loss, size**power, rtol=1e-5)


@pytest.mark.parametrize("kind", ["simplex", "gaussian", "coarse", "pyramid"])
def test_noise_of_an_image_does_not_depend_on_its_batch(kind):
    x = torch.zeros(3, 1, 16, 24)
    whole = Noise(kind=kind).like(x, rng=Rng([1, 2, 3]))
    alone = Noise(kind=kind).like(x[:1], rng=Rng([2]))
    assert torch.equal(whole[1:2], alone)
    assert whole.std() > 0.1


def test_shared_noise_is_one_image_for_the_batch():
    x = torch.zeros(3, 1, 16, 24)
    noise = Noise(shared=True).of_batch(x, rng=Rng([1, 2, 3]))
    assert torch.equal(noise[0], noise[2])
    own = Noise().of_batch(x, rng=Rng([1, 2, 3]))
    assert not torch.equal(own[0], own[2])


def test_noise_of_detection_is_shared_within_a_scan_and_hangs_on_the_seed_of_the_run():
    x, keys = torch.zeros(4, 1, 16, 24), ["a/axial-001", "a/axial-002", "b/axial-001", "c"]
    shared = Noise(shared=True)
    drawn = shared.like(x, rng=shared.stream(Rng.named(0, keys, "detect")).fork("noise", 500))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[2], drawn[3])
    other = shared.like(x, rng=shared.stream(Rng.named(1, keys, "detect")).fork("noise", 500))
    assert not torch.equal(drawn[0], other[0])


@pytest.mark.parametrize("levels", [[], [1001], [500, 1200]])
def test_levels_beyond_the_schedule_are_refused(levels):
    with pytest.raises(UsageError, match="levels: .* of 1000 steps; give at least one level"):
        DiffusionOptions(levels=tuple(levels))


def test_a_level_of_zero_is_refused():
    with pytest.raises(UsageError, match="levels"):
        options(levels=[0])


def test_training_lowers_the_loss():
    method = Ddpm(build(DdpmOptions, {"net": {**SMALL, "width": 8, "head_channels": 8}}, where=""))
    batch = testing.Blobs(4, "axial").get(range(4))
    adam = torch.optim.Adam(method.net.parameters(), lr=5e-3)
    seen = []
    for step in range(25):
        loss = method.loss(batch, batch.rng(0, step)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen.append(loss.item())
    assert np.mean(seen[-5:]) < 0.6 * np.mean(seen[:3])


@pytest.mark.parametrize("draws", [0, 3])
@pytest.mark.parametrize("name", ["ddpm", "pddpm", "cddpm", "mddpm"])
def test_noise_that_slices_share_does_not_hang_on_the_batch(name, draws):
    torch.manual_seed(0)
    changes = {"noise": {"shared": True}, "mahalanobis": draws}
    config = configured(name, "tiny", changes, recipe=recipe("phantom"))
    method = new_method(config)
    method.mark_fitted()
    method.eval()
    x = torch.rand(3, 1, 32, 32)
    brain = torch.ones_like(x) > 0
    whole = method.detect(x, brain, rng=Rng([5, 6, 7])).anomaly
    for n, seed in enumerate((5, 6, 7)):
        alone = method.detect(x[n : n + 1], brain[n : n + 1], rng=Rng([seed])).anomaly
        torch.testing.assert_close(alone, whole[n : n + 1], atol=1e-5, rtol=0)
