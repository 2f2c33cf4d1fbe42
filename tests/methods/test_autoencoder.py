import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.autoencoder import Autoencoder, AutoencoderOptions


class Copy(nn.Module):
    def encode(self, x):
        return x

    def decode(self, code, space):
        return code


class Grey(Copy):
    def decode(self, code, space):
        return torch.full_like(code, 0.5)


def made(preset="tiny", **changes):
    options = {**preset_options("autoencoder", preset), **changes}
    return Autoencoder(build(AutoencoderOptions, options, where="autoencoder"))


def with_net(net, **changes):
    method = made(**changes)
    method.net = net
    method.mark_fitted()
    return method


def test_a_perfect_copy_finds_nothing_and_costs_nothing():
    batch = testing.Blobs(3, "axial").get(range(3))
    method = with_net(Copy())
    assert (method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly == 0).all()
    assert (method.loss(batch, batch.rng(1)) == 0).all()


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    batch = testing.Blobs(2, "axial").get(range(2))
    found = with_net(Grey(), sign=sign).detect(batch.x, batch.brain, rng=batch.rng(0))
    d = (batch.x - 0.5) * batch.brain
    expected = {"absolute": d.abs(), "dark": (-d).clamp(min=0), "bright": d.clamp(min=0)}[sign]
    torch.testing.assert_close(found.anomaly, expected)
    torch.testing.assert_close(found.healthy, 0.5 * batch.brain.float())


@pytest.mark.parametrize("latent", ["dense", "spatial"])
def test_training_lowers_the_loss(latent):
    torch.manual_seed(0)
    method, batch = made(latent=latent), testing.Blobs(4, "axial").get(range(4))
    adam = torch.optim.Adam(method.net.parameters(), lr=5e-3)
    seen = []
    for step in range(40):
        loss = method.loss(batch, batch.rng(0, step)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]


def test_a_spatial_code_sees_only_what_is_near_and_a_dense_one_everything():
    """Far from a change a spatial code stays as it was; every number of a dense one may move."""
    x = torch.rand(1, 1, 64, 64)
    changed = x.clone()
    changed[..., :4, :4] += 1
    spatial, dense = made(latent="spatial"), made(latent="dense")
    # The group norms look at the whole image; without them only the convolutions are left.
    for method in (spatial, dense):
        for name, layer in list(method.net.encoder.named_children()):
            if isinstance(layer, nn.GroupNorm):
                setattr(method.net.encoder, name, nn.Identity())
    moved = (spatial.net.encode(changed) - spatial.net.encode(x)).abs()
    assert moved[..., 0, 0].max() > 1e-4
    assert moved[..., -1, -1].max() == 0
    assert ((dense.net.encode(changed) - dense.net.encode(x)).abs() > 0).all()
