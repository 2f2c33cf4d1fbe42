import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.disyre import TISSUES, Disyre, DisyreOptions, biased, textured
from brainuad.rng import Rng
from brainuad.types import UnavailableError, UsageError


class Copy(nn.Module):
    def forward(self, x, t):
        return x


class Grey(nn.Module):
    """Restores the middle of the range, brighter by the label / 1000."""

    def forward(self, x, t):
        return torch.zeros_like(x) + t.reshape(-1, 1, 1, 1) / 500


def made(net, **changes):
    options = {**preset_options("disyre", "tiny"), **changes}
    method = Disyre(build(DisyreOptions, options, where="disyre"))
    method.net = net
    method.mark_fitted()
    return method


def test_a_perfect_copy_finds_nothing():
    batch = testing.Blobs(3, "axial").get(range(3))
    found = made(Copy()).detect(batch.x, batch.brain, rng=batch.rng(0))
    torch.testing.assert_close(found.anomaly, torch.zeros_like(found.anomaly), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.healthy, batch.x)


def test_strong_corruption_has_a_low_label_and_none_the_last():
    method = made(Copy())
    labels = method.label(torch.tensor([1.0, 0.7, 0.3, 0.0]))
    assert labels[0] == 0
    assert labels[-1] == 99
    assert (labels.diff() > 0).all()
    share = method.schedule.abar.sqrt().float()
    torch.testing.assert_close(method.label(share), torch.arange(100))


def test_the_map_is_the_mean_of_the_residuals_of_each_label():
    batch = testing.Blobs(2, "axial").get(range(2))
    found = made(Grey(), labels=[10, 90]).detect(batch.x, batch.brain, rng=batch.rng(0))
    parts = [(batch.x - 0.5 - t / 1000).abs() * batch.brain for t in (10, 90)]
    torch.testing.assert_close(found.anomaly, torch.stack(parts).mean(0))


class Healer(nn.Module):
    """Takes a share of the way to the clean slices, and writes down what it is asked."""

    def __init__(self, clean, share):
        super().__init__()
        self.clean, self.share, self.asked = 2 * clean - 1, share, []

    def forward(self, x, t):
        self.asked.append((int(t[0]), x))
        return x + self.share * (self.clean - x)


def test_a_walk_goes_from_strong_to_weak_along_the_corruption():
    """With a net that knows the clean slice, each state holds what its label says is left."""
    batch = testing.Blobs(2, "axial").get(range(2))
    clean, other = batch.x, batch.x.flip(0)
    net = Healer(clean, 1.0)
    method = made(net, labels=[60, 20, 40], cold=True)
    strength = method.schedule.abar.sqrt().float()
    sick = clean + strength[20] * (other - clean)
    found = method.detect(sick, batch.brain, rng=batch.rng(0))
    assert [label for label, _ in net.asked] == [20, 40, 60]
    for label, state in net.asked:
        left = clean + strength[label] * (other - clean)
        left = left if label == 20 else left * batch.brain
        torch.testing.assert_close(state, 2 * left - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.healthy, clean * batch.brain, atol=1e-6, rtol=0)
    wanted = (sick - clean).abs() * batch.brain
    torch.testing.assert_close(found.anomaly, wanted, atol=1e-6, rtol=0)


def test_states_of_a_walk_stay_in_the_brain_and_in_range():
    """A net that overshoots everywhere sees nothing that it was not trained on."""

    asked = []

    class Wild(nn.Module):
        def forward(self, x, t):
            asked.append(x)
            return 5 * torch.ones_like(x)

    batch = testing.Blobs(2, "axial").get(range(2))
    made(Wild(), labels=[20, 40, 60], cold=True).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert len(asked) == 3
    for state in asked[1:]:
        assert state.abs().max() <= 1
        assert (state[~batch.brain] == -1).all()


def test_a_walk_over_one_label_is_refused():
    with pytest.raises(UsageError, match=r"cold diffusion over labels \[30\]; give at least two"):
        DisyreOptions(labels=(30,), cold=True)


def test_a_walk_undoes_more_than_one_call_of_a_timid_net():
    batch = testing.Blobs(2, "axial").get(range(2))
    sick = (batch.x + 0.2) * batch.brain
    once, walked = (
        made(Healer(batch.x, 0.5), labels=[10, 50, 90], cold=cold)
        .detect(sick, batch.brain, rng=batch.rng(0))
        .anomaly.sum()
        for cold in (False, True)
    )
    assert walked > 1.5 * once


@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    batch = testing.Blobs(2, "axial").get(range(2))
    method = made(Grey(), labels=[0], sign=sign)
    d = (batch.x - 0.5) * batch.brain
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    torch.testing.assert_close(anomaly, (-d if sign == "dark" else d).clamp(min=0))


def test_slices_with_little_brain_count_less_where_asked():
    batch = testing.Blobs(2, "axial").get(range(2))
    plain, weighed = (
        made(Grey(), by_brain=b).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
        for b in (False, True)
    )
    share = batch.brain.float().flatten(1).mean(1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(weighed, plain * share)


def test_a_texture_that_is_the_slice_itself_has_no_strength():
    x = torch.rand(3, 1, 8, 8)
    shape = torch.ones_like(x)
    mixed, strength = textured(x, shape, x, rng=Rng([1, 2, 3]))
    torch.testing.assert_close(mixed, x)
    assert torch.equal(textured(x, 0 * shape, 1 - x, rng=Rng([1, 2, 3]))[1], torch.zeros(3))
    black, white = torch.zeros_like(x), torch.ones_like(x)
    mixed, strength = textured(black, shape, white, rng=Rng([1, 2, 3]))
    torch.testing.assert_close(mixed, strength.reshape(-1, 1, 1, 1).expand_as(x))


def test_a_shift_of_intensity_is_as_strong_as_its_largest_change_and_stays_in_the_shape():
    x = torch.full((50, 1, 16, 16), TISSUES["t1"][2])
    shape = torch.zeros_like(x)
    shape[..., 4:12, 4:12] = 1
    changed, strength = biased(x, shape, TISSUES["t1"], rng=Rng(range(50)))
    difference = changed - x
    torch.testing.assert_close(strength, difference.abs().flatten(1).amax(1))
    assert (difference[..., :4, :] == 0).all()
    # one tissue fills the shape, so it always takes part
    assert (strength > 0).all()
    assert (difference.flatten(1).sum(1) > 0).any()
    assert (difference.flatten(1).sum(1) < 0).any()


def test_tissues_outside_the_shape_never_take_part():
    x = torch.full((20, 1, 16, 16), TISSUES["t1"][0])
    x[..., :8, :] = TISSUES["t1"][1]
    shape = torch.zeros_like(x)
    shape[..., 12:, :] = 1
    changed, _ = biased(x, shape, TISSUES["t1"], rng=Rng(range(20)))
    assert torch.equal(changed[..., :8, :], x[..., :8, :])


def test_corruption_stays_in_the_brain_and_does_not_depend_on_the_batch():
    batch = testing.Blobs(4, "axial").get(range(4))
    method = made(Copy())
    method.foreign = testing.Blobs(9, "axial").get(range(4, 9)).x
    whole, strength = method.corrupted(batch.x, batch.brain, rng=Rng([1, 2, 3, 4]))
    assert torch.equal(whole * batch.brain, whole)
    assert ((strength >= 0) & (strength <= 1)).all()
    alone, own = method.corrupted(batch.x[1:2], batch.brain[1:2], rng=Rng([2]))
    torch.testing.assert_close(alone, whole[1:2])
    torch.testing.assert_close(own, strength[1:2])


def test_training_without_fit_says_where_textures_come_from():
    batch = testing.Blobs(1, "axial").get([0])
    with pytest.raises(UnavailableError, match="no slices to take textures from"):
        made(Copy()).loss(batch, batch.rng(0))


def test_labels_beyond_the_schedule_are_refused():
    with pytest.raises(UsageError, match=r"labels \[120\] of 100 steps"):
        DisyreOptions(labels=(120,))
