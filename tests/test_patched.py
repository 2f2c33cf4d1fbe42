"""Noise in one box, the rest as context: the published numbers, and what a box may not change."""

import numpy as np
import pytest
import torch
from tests.family import Copy, Stand, ready
from torch import nn

from brainuad import testing
from brainuad.boxes import inside
from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.methods.pddpm import Pddpm
from brainuad.patched import PatchedOptions


def made(net=None, **changes):
    method = Pddpm(build(PatchedOptions, {"net": TINY, **changes}, where="pddpm"))
    return ready(method, net or Stand())


@pytest.mark.golden
def test_stitched_restoration_equals_the_published_one(golden):
    g = golden("patch_reconstruction")
    x = torch.from_numpy(g["image"])[:, None]
    eps = torch.from_numpy(g["noise_f16"].astype(np.float32)).expand_as(x)
    found = made().restored(x, torch.ones_like(x, dtype=torch.bool), 500, eps)
    np.testing.assert_allclose(found, g["recon_pddpm_tidx499"], atol=1e-5)


@pytest.mark.golden
def test_loss_in_a_box_equals_the_published_one(golden):
    g = golden("patch_reconstruction")
    x0 = 2 * torch.from_numpy(g["image"])[:, None] - 1
    eps = torch.from_numpy(g["noise_f16"].astype(np.float32)).expand_as(x0)
    t, boxes = (torch.from_numpy(g[k]) for k in ("train_t", "train_box_xyxy"))
    loss = made().patch_loss(x0, x0, t, eps, boxes)
    np.testing.assert_allclose(loss, g["train_loss_pddpm_per_sample"], atol=1e-6)
    np.testing.assert_allclose(loss.mean().item(), g["train_loss_pddpm"], atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"overlap": True}, {"stride": 0.5}])
@pytest.mark.parametrize("patches", [1, 2, 3])
def test_a_net_that_copies_gives_back_the_image_where_there_is_no_noise(patches, how):
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made(Copy(), patches=patches, **how)
    x0 = method.restored(batch.x, batch.brain, 1, torch.zeros_like(batch.x))
    scale = method.schedule.abar[0].sqrt().float()
    torch.testing.assert_close(2 * x0 - 1, (2 * batch.x - 1) * scale, atol=1e-5, rtol=0)


class Count(nn.Module):
    """A net that gives each image of a batch its number."""

    def forward(self, x, t):
        return torch.arange(len(x)).float()[:, None, None, None].expand(x.shape)


def test_a_stride_below_the_box_takes_the_mean_of_what_overlaps():
    method = made(Count(), patches=2, stride=0.5)
    x = torch.rand(1, 1, 16, 16)
    assert len(method.boxes(x)) == 9
    found = 2 * method.restored(x, x > -1, 1, torch.zeros_like(x))[0, 0] - 1
    # The net gives every box its number, so a pixel in four boxes gets the mean of four numbers.
    assert found[0, 0].item() == pytest.approx(0)
    assert found[5, 5].item() == pytest.approx((0 + 1 + 3 + 4) / 4)
    assert method.passes((16, 16)) == 9


def test_no_gradient_outside_the_box():
    batch = testing.Blobs(2, "axial").get(range(2))
    output = torch.zeros_like(batch.x, requires_grad=True)

    class Given(nn.Module):
        def forward(self, x, t):
            return output

    method = made(Given())
    boxes = method.boxes(batch.x)[[0, 3]]
    eps = batch.rng(0).normal_like(batch.x)
    x0 = 2 * batch.x - 1
    method.patch_loss(x0, x0, torch.tensor([10, 500]), eps, boxes).sum().backward()
    chosen = inside(boxes, batch.x)
    assert output.grad is not None
    assert (output.grad[~chosen] == 0).all()
    assert (output.grad[chosen] != 0).all()


def test_noise_stays_in_the_box():
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made()
    boxes = method.boxes(batch.x)[[1, 2]]
    eps = batch.rng(0).normal_like(batch.x)
    noised = method.noised_in(2 * batch.x - 1, torch.tensor([499, 499]), eps, boxes)
    changed = noised != 2 * batch.x - 1
    assert torch.equal(changed, inside(boxes, batch.x))


def test_every_box_of_the_grid_is_drawn_and_random_ones_stay_inside():
    x = torch.zeros(64, 1, 20, 30)
    rng = testing.Blobs(64, "axial").get(range(64)).rng(0)
    drawn = {tuple(box) for box in made().drawn_boxes(x, rng).tolist()}
    assert drawn == {tuple(box) for box in made().boxes(x).tolist()}
    anywhere = made(random_boxes=True).drawn_boxes(x, rng.fork("again"))
    assert (anywhere[:, :2] >= 0).all()
    assert (anywhere[:, 2:] <= torch.tensor([30, 20])).all()
    assert len(anywhere.unique(dim=0)) > 10
