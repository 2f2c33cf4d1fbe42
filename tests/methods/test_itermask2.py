import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brainuad import testing
from brainuad.config import build
from brainuad.latents import split
from brainuad.method import preset_options
from brainuad.methods.itermask2 import (
    Itermask2,
    Itermask2Options,
    scaled,
    shrunk,
    structure,
    worst,
)
from brainuad.rng import Rng
from brainuad.scatter import scattered
from brainuad.types import UsageError

HALF = {"first_share": 0.5}


class Seen(nn.Module):
    """Gives back its first channel: the noise where the image is hidden, the image elsewhere."""

    def forward(self, x, t):
        return x[:, :1]


class Blurred(nn.Module):
    """A blur of its first channel; counts the images that it is given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, x, t):
        self.given.append(len(x))
        return 0.6 * x[:, :1] + 0.4 * F.avg_pool2d(x[:, :1], 5, stride=1, padding=2)


def made(net=None, threshold=0.0, **changes):
    plain = {**preset_options("itermask2", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = Itermask2(build(Itermask2Options, plain, where="itermask2"))
    if net is not None:
        method.net = net
        method.threshold.fill_(threshold)
        method.mark_fitted()
    return method.eval()


# The hint


@pytest.mark.parametrize("space", [(32, 48), (31, 20)])
@pytest.mark.parametrize("radius", [0, 4, 15.0])
def test_low_frequencies_keep_their_phase_and_get_amplitude_one(space, radius):
    x = np.random.default_rng(0).random(space)
    spectrum = np.fft.fftshift(np.fft.fft2(x))
    for i in range(space[0]):
        for j in range(space[1]):
            if np.hypot(i - space[0] // 2, j - space[1] // 2) < radius:
                spectrum[i, j] = np.exp(1j * np.angle(spectrum[i, j]))
    wanted = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
    found = structure(torch.from_numpy(x).float()[None, None], radius)
    np.testing.assert_allclose(found[0, 0], wanted, atol=1e-5)


def test_the_hint_tells_edges_but_not_brightness():
    """Two images that differ by a smooth shade have nearly the same hint."""
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    shade = torch.linspace(0, 2 * torch.pi, 65)[:-1].cos()[:, None].expand(64, 64)
    a, b = structure(x, 15), structure(x + 0.3 * shade, 15)
    assert (a - b).abs().max() < 0.002
    assert a.std() > 0.15


# The masks


def test_the_first_mask_is_the_share_of_the_brain_with_the_largest_error():
    batch = testing.Blobs(4, "axial").get(range(4))
    error = batch.rng(0).uniforms(1, 32, 48)
    mask = worst(error, batch.brain, 0.6)
    for m, e, b in zip(mask, error, batch.brain, strict=True):
        hidden = int(0.6 * int(b.sum()))
        assert m.sum() == hidden
        assert torch.equal(m, b & (e >= e[b].sort(descending=True).values[hidden - 1]))


def test_masks_go_on_while_they_lose_their_share():
    before = torch.zeros(5, 1, 10, 20, dtype=torch.bool)
    after = before.clone()
    for row, (n, left) in enumerate([(200, 198), (200, 199), (200, 200), (0, 0), (1, 0)]):
        before[row].view(-1)[:n] = True
        after[row].view(-1)[:left] = True
    assert shrunk(before, after, 0.01).tolist() == [True, False, False, False, True]


@torch.no_grad()
def alone(method, x, brain, seed):
    """The refinement of one image, written as a plain loop."""
    hint = method.hint(x)
    mask = worst((method.guessed(hint) - x).square(), brain, method.options.first_share)
    number = 0
    while True:
        noise = Rng([seed]).fork("noise", number)
        restored = method.filled(x, hint, mask, rng=noise)
        smaller = mask & ((restored - x).square() > method.threshold)
        lost = int(mask.sum()) - int(smaller.sum())
        number += 1
        done = not mask.any() or lost < method.options.shrink * int(mask.sum())
        if done or number == method.options.rounds:
            return restored, mask, number
        mask = smaller


@pytest.mark.parametrize("rounds", [2, 50])
def test_every_image_stops_by_itself(rounds):
    count = 8
    batch = testing.Blobs(count, "axial").get(range(count))
    net = Blurred()
    method = made(net, threshold=0.004, rounds=rounds, shrink=0.1)
    rng = batch.rng(0)
    restored, mask = method.refined(batch.x, batch.brain, rng=rng)
    together = list(net.given)
    ends = []
    for n in range(count):
        one = slice(n, n + 1)
        wanted, hidden, steps = alone(method, batch.x[one], batch.brain[one], rng.seeds[n])
        torch.testing.assert_close(restored[one], wanted)
        assert torch.equal(mask[one], hidden)
        ends.append(steps)
    assert together == [sum(end > k for end in ends) for k in range(max(ends))]
    if rounds > 2:
        assert len(set(ends)) > 1, "images should stop in different rounds to show anything"
        assert max(ends) < rounds


def test_a_net_that_fills_in_the_truth_leaves_nothing():
    batch = testing.lesioned("axial")

    class Truth(nn.Module):
        def forward(self, x, t):
            return 6 * batch.x - 3

    found = made(Truth(), threshold=1e-6).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.max() < 1e-10


def test_what_stays_hidden_is_where_the_map_is():
    batch = testing.lesioned("axial")
    method = made(Seen(), threshold=0.0)  # noise is never as good as healthy: nothing is shown
    _, mask = method.refined(batch.x, batch.brain, rng=batch.rng(0))
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert (found.anomaly[mask] > 0).all()
    assert found.anomaly[~mask].max() < 1e-10
    share = mask.flatten(1).sum(1) / batch.brain.flatten(1).sum(1)
    assert share == pytest.approx(torch.full((3,), 0.6), abs=0.01)


@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_the_map_has_the_asked_sign(sign):
    batch = testing.lesioned("axial")
    both, one = (
        made(Blurred(), threshold=0.01, sign=s).detect(batch.x, batch.brain, rng=batch.rng(0))
        for s in ("absolute", sign)
    )
    assert both.healthy is not None
    d = batch.x - both.healthy
    wanted = torch.where((d < 0) == (sign == "dark"), both.anomaly, 0.0)
    torch.testing.assert_close(one.anomaly, wanted)
    torch.testing.assert_close(both.anomaly, d.square() * batch.brain)


def test_scaled_maps_reach_one_in_every_slice_and_keep_the_order():
    batch = testing.lesioned("axial")
    plain, relative = (
        made(Blurred(), threshold=0.01, min_max=m).detect(batch.x, batch.brain, rng=batch.rng(0))
        for m in (False, True)
    )
    assert relative.anomaly.flatten(1).amax(1) == pytest.approx(torch.ones(3))
    peak = plain.anomaly.flatten(1).amax(1)
    assert peak.unique().numel() == 3, "without it slices have peaks of their own"
    torch.testing.assert_close(relative.anomaly * peak.reshape(-1, 1, 1, 1), plain.anomaly)
    assert (scaled(torch.full((1, 1, 4, 4), 0.3)) == 0).all()


# Training


def test_the_second_net_sees_noise_in_the_mask_the_image_elsewhere_and_the_hint():
    batch = testing.Blobs(4, "axial").get(range(4))
    seen = []

    class Watch(nn.Module):
        def forward(self, x, t):
            seen.append(x)
            return torch.zeros_like(x[:, :1])

    method, rng = made(Watch()), batch.rng(0)
    loss = method.fill_loss(batch, rng)
    mask = scattered(method.options.masks, batch.brain, rng=rng.fork("mask"))
    y, image = 6 * batch.x - 3, seen[0][:, :1]
    torch.testing.assert_close(image[~mask], y[~mask])
    noise = image[mask]
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(seen[0][:, 1:], structure(y, 15))
    torch.testing.assert_close(loss, y.square().flatten(1).mean(1))


def test_the_first_net_sees_the_hint_alone():
    batch = testing.Blobs(4, "axial").get(range(4))
    method = made()
    method.guess = Seen()
    hint = structure(6 * batch.x - 3, 15)
    wanted = (hint - (6 * batch.x - 3)).square().flatten(1).mean(1)
    torch.testing.assert_close(method.guess_loss(batch, batch.rng(0)), wanted)


@pytest.mark.parametrize("stage", ["guess_loss", "fill_loss"])
def test_loss_of_an_image_does_not_depend_on_its_batch(stage):
    blobs, method = testing.Blobs(3, "axial"), made(augment={})
    loss = getattr(method, stage)
    batch = blobs.get(range(3))
    together = loss(batch, batch.rng(0))
    for n in range(3):
        one = blobs.get([n])
        torch.testing.assert_close(loss(one, one.rng(0)), together[n : n + 1])


def test_the_threshold_is_exceeded_by_its_share_of_the_images_that_were_held_out():
    trained = set()

    def minimise(stage, module, loss, batches):
        trained.update(key for batch in batches.in_order(4) for key in batch.keys)
        testing.few_steps(stage, module, loss, batches)

    method, blobs = made(held_out=0.25, exceeded=0.3), testing.Blobs(12, "axial")
    method.fit(blobs, minimise=minimise)
    training, held = split(blobs, 0.25)
    assert trained == set(training.all_keys())
    assert len(held) == 3
    rest = held.get(range(3))
    rng = rest.rng(0, "threshold")
    mask = scattered(method.options.masks, rest.brain, rng=rng.fork("mask"))
    with torch.no_grad():
        filled = method.filled(rest.x, method.hint(rest.x), mask, rng=rng.fork("noise"))
    error = (filled - rest.x).square()[mask]
    assert (error > method.threshold).float().mean() == pytest.approx(0.3, abs=2 / len(error))


def test_training_lowers_both_losses():
    method, batch = made(), testing.Blobs(4, "axial").get(range(4))
    for net, loss in ((method.guess, method.guess_loss), (method.net, method.fill_loss)):
        adam = torch.optim.Adam(net.parameters(), lr=5e-3)
        seen = []
        for step in range(40):
            value = loss(batch, batch.rng(0, step)).mean()
            adam.zero_grad()
            value.backward()
            adam.step()
            seen.append(value.item())
        assert np.mean(seen[-5:]) < 0.3 * seen[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rounds": 0}, r"rounds.*greater than or equal to 1"),
        ({"shrink": 1.0}, r"shrink.*less than 1"),
        ({"first_share": 0.0}, r"first_share.*greater than 0"),
        ({"exceeded": 1.0}, r"exceeded.*less than 1"),
        ({"radius": -1}, r"radius.*greater than or equal to 0"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, match):
    with pytest.raises(UsageError, match=match):
        made(**changes)
