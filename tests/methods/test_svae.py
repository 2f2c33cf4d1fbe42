import numpy as np
import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.detector import Detector
from brainuad.method import preset_options
from brainuad.methods.svae import Svae, SvaeOptions
from brainuad.phantom import phantom
from brainuad.prepare import prepare_scan, recipe
from brainuad.store import Store
from brainuad.train_settings import TrainSettings


class Copy(nn.Module):
    """The slice itself as the mean of its code, almost without variance."""

    def encode(self, x):
        own = x[:, 1:2]
        return torch.cat([own, torch.full_like(own, -30.0)], dim=1)

    def decode(self, code, space):
        return code


def made(net=None, **changes):
    plain = {**preset_options("svae", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = Svae(build(SvaeOptions, plain, where="svae"))
    if net is not None:
        method.net = net
        method.mark_fitted()
    return method


def fitted() -> Svae:
    return testing.fitted(made, "axial3")  # pyright: ignore[reportReturnType]


def test_the_slice_alone_is_judged_and_learnt():
    """A perfect copy of the middle slice finds nothing and costs nothing, whatever lies around."""
    batch = testing.Blobs(3, "axial3").get(range(3))
    method = made(Copy(), beta=0.0)
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert (found.anomaly == 0).all()
    assert torch.equal(found.healthy, batch.x[:, 1:2])
    assert method.loss(batch, batch.rng(1)) == pytest.approx(torch.zeros(3), abs=1e-6)


@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_the_residual_is_that_of_the_slice_with_the_asked_sign(sign):
    class Grey(Copy):
        def decode(self, code, space):
            return torch.full_like(code, 0.5)

    batch = testing.Blobs(2, "axial3").get(range(2))
    found = made(Grey(), sign=sign).detect(batch.x, batch.brain, rng=batch.rng(0))
    d = (batch.x[:, 1:2] - 0.5) * batch.brain
    torch.testing.assert_close(found.anomaly, (-d if sign == "dark" else d).clamp(min=0))


@pytest.mark.parametrize("channel", [0, 2])
def test_the_copy_depends_on_both_neighbours(channel):
    method, batch = fitted(), testing.Blobs(2, "axial3").get(range(2))
    x = batch.x.clone()
    x[:, channel] = 0
    assert ((method.copied(x) - method.copied(batch.x)).abs() > 1e-6).flatten(1).any(1).all()


def test_training_lowers_the_loss():
    method, batch = made(beta=0.0), testing.Blobs(4, "axial3").get(range(4))
    adam = torch.optim.Adam(method.net.parameters(), lr=5e-3)
    seen = []
    for step in range(40):
        loss = method.loss(batch, batch.rng(0, step)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen.append(loss.item())
    assert seen[-1] < 0.6 * seen[0]


def test_a_detector_fits_and_detects_with_neighbours(tmp_path):
    affine = np.array([[8.0, 0, 0, -76], [0, 8, 0, -109], [0, 0, 8, -71], [0, 0, 0, 1]])
    shape, as_is = (20, 24, 20), recipe("phantom")

    def prepared(name):
        return prepare_scan(phantom(name, shape=shape, affine=affine), as_is)

    store = Store.create(
        tmp_path / "store", recipe_hash=as_is.hash, affine=affine, shape=shape, modality="T1w"
    )
    store.add(prepared("healthy-0").scan)
    detector = Detector.create("svae", preset="tiny", recipe=as_is)
    assert detector.config.view == "axial3"
    settings = TrainSettings(steps=2, batch_size=4)
    detector.fit(store, settings, work=tmp_path / "work", progress=False)
    scan = prepared("sub-01")
    found = [detector.detect_prepared(scan, batch_size=size) for size in (16, 3)]
    assert found[0].anomaly.shape == found[0].healthy.shape == shape
    assert (found[0].anomaly[scan.original.brain] > 0).mean() > 0.9
    np.testing.assert_allclose(found[0].anomaly, found[1].anomaly, atol=1e-5)
