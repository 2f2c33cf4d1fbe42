import math

import pytest
import torch

from brainuad import testing
from brainuad.config import build
from brainuad.method import Batch, preset_options
from brainuad.methods.bernoulli_ldm import BernoulliLdm, BernoulliLdmOptions
from brainuad.rng import Rng
from brainuad.types import UsageError


def made(**changes) -> BernoulliLdm:
    options = {**preset_options("bernoulli_ldm", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BernoulliLdm(build(BernoulliLdmOptions, options, where="bernoulli_ldm"))


def fitted(**changes) -> BernoulliLdm:
    return testing.fitted(lambda: made(**changes), "axial")  # pyright: ignore[reportReturnType]


def with_logits(method: BernoulliLdm, logits) -> BernoulliLdm:
    """The method with another answer to which bits were flipped."""
    method.logits = logits  # type: ignore[method-assign]
    return method


def found(method, batch, seed=3):
    return method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))


def reconstruction(method, batch):
    return method.image(method.autoencoder.encode(2 * batch.x - 1))


def test_without_noise_the_counterpart_is_the_reconstruction():
    method, batch = fitted(level=0), testing.lesioned("axial")
    detection, copy = found(method, batch), reconstruction(method, batch)
    torch.testing.assert_close(detection.healthy, copy * batch.brain)
    wanted = (batch.x - copy).square() * batch.brain
    torch.testing.assert_close(detection.anomaly, wanted)
    assert method.passes((32, 48)) == 0


@pytest.mark.parametrize("belief", ["exact", "published"])
def test_where_no_bit_may_change_nothing_differs_from_the_reconstruction(belief):
    method = fitted(threshold=1.0, reference="reconstruction", belief=belief)
    assert (found(method, testing.lesioned("axial")).anomaly == 0).all()


def test_a_net_that_knows_the_healthy_bits_gives_back_the_healthy_image():
    method, batch = fitted(stride=1), testing.lesioned("axial")
    healthy = testing.Blobs(15, "axial").get(range(12, 15))
    truth = method.autoencoder.encode(2 * healthy.x - 1)
    method = with_logits(method, lambda bits, t: 200 * (bits - truth).abs() - 100)
    walk = method.healed(method.autoencoder.encode(2 * batch.x - 1), rng=batch.rng(0))
    wrong = truth != method.autoencoder.encode(2 * batch.x - 1)
    assert torch.equal(walk.final[walk.flagged], truth[walk.flagged])
    assert walk.flagged[wrong].all()  # two hundred steps do not miss a bit
    assert torch.equal(walk.final, truth)


def test_dark_and_bright_maps_add_up():
    state, batch = fitted().state_dict(), testing.lesioned("axial")
    maps = {}
    for sign in ("absolute", "dark", "bright"):
        method = made(sign=sign)
        method.restore(state)
        maps[sign] = found(method.eval(), batch).anomaly
    torch.testing.assert_close(maps["dark"] + maps["bright"], maps["absolute"])


def test_channels_are_summed_in_the_map():
    method = made(autoencoder={"preset": "tiny", "latent_channels": 4, "channels": 2}, level=0)
    method.mark_fitted()
    batch = testing.lesioned("axial")
    x = torch.cat([batch.x, 1 - batch.x], 1)
    detection = method.eval().detect(x, batch.brain, rng=batch.rng(0))
    copy = method.image(method.autoencoder.encode(2 * x - 1))
    wanted = sum((x - copy)[:, [c]].square() for c in range(2)) * batch.brain
    torch.testing.assert_close(detection.anomaly, wanted)


# Training


def cached(method, images: int = 4) -> Batch:
    batch = testing.Blobs(images, "axial").get(range(images))
    code, cells = method.encode(batch, 0)
    return Batch(x=code, brain=cells, keys=batch.keys)


def test_an_undecided_net_loses_one_bit_per_bit():
    method = with_logits(made(), lambda bits, t: torch.zeros_like(bits))
    loss = method.loss(cached(method), Rng([1, 2, 3, 4]))
    torch.testing.assert_close(loss, torch.full((4,), math.log(2)))


def test_a_net_that_knows_the_flips_loses_nothing_and_its_opposite_much():
    method = made()
    batch = cached(method)
    for sign, low in ((1, True), (-1, False)):
        method = with_logits(
            method, lambda bits, t, sign=sign: sign * (80 * (bits - batch.x).abs() - 40)
        )
        assert bool((method.loss(batch, Rng([1, 2, 3, 4])) < 1e-6).all()) == low


def test_bits_are_flipped_as_often_as_the_schedule_says():
    method, flips = made(), []
    code = torch.zeros(1, 4, 40, 50)
    batch = Batch(x=code, brain=code[:, :1].bool(), keys=("a",))

    def listen(bits, t):
        flips.append((float(bits.mean()), int(t)))
        return torch.zeros_like(bits)

    for seed in range(20):
        with_logits(method, listen).loss(batch, Rng([seed]))
    for share, t in flips:
        assert share == pytest.approx((1 - float(method.schedule.abar[t])) / 2, abs=0.03)
    assert len({t for _, t in flips}) > 10


def test_training_draws_bits_with_their_probabilities():
    """So that the decoder meets codes between those of two images; detection takes the likelier."""
    method, batch = made(), testing.Blobs(2, "axial").get(range(2))
    x, first, _ = method.reconstruct(batch, Rng([1, 2]))
    again, other = (method.reconstruct(batch, Rng(seeds))[1] for seeds in ([1, 2], [3, 4]))
    torch.testing.assert_close(x, 2 * batch.x - 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({"level": 200, "stride": 50}, (200, 150, 100, 50, 0)),
        ({"level": 5, "stride": 3}, (5, 2, 0)),
        ({"level": 0, "stride": 1}, (0,)),
    ],
)
def test_the_walk_goes_down_from_its_level(changes, levels):
    method = made(**changes)
    assert method.levels == levels
    assert method.passes((32, 48)) == len(levels) - 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"level": 1001}, "level 1001 of 1000 steps; give a level between 0 and 1000"),
        ({"autoencoder": {"dimensions": 3, "fold": 1}}, "autoencoder of 3 dimensions; slices"),
        ({"threshold": 1.5}, "threshold"),
        ({"belief": "none"}, "belief"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, match):
    with pytest.raises(UsageError, match=match):
        made(**changes)
