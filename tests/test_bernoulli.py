"""Diffusion of bits against simulation and against Bayes' rule written out over 0 and 1."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.bernoulli import believed, chance_of_one, draw, masked_walk, posterior
from brainuad.rng import Rng
from brainuad.schedule import LinearBeta
from brainuad.types import UsageError

SHORT = LinearBeta(steps=20, first=0.02, last=0.2)
SHARES = st.floats(0.01, 0.99)
MANY = 200_000


def number(x: float) -> torch.Tensor:
    return torch.tensor([[float(x)]], dtype=torch.float64)


def rates(a: float, b: float) -> dict[str, float]:
    """Two levels of noise, the later one with less left."""
    return {"kept": a * b, "before": b}


def code(seed: int = 0, images: int = 2) -> torch.Tensor:
    return (
        torch.rand(images, 4, 6, 5, generator=torch.Generator().manual_seed(seed)) < 0.4
    ).float()


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_flips_step_by_step_lead_to_the_stated_share_of_ones(first):
    generator = torch.Generator().manual_seed(3)
    bits = torch.full((MANY,), first)
    for beta, abar in zip(SHORT.betas.tolist(), SHORT.abar.tolist(), strict=True):
        flips = torch.rand(MANY, generator=generator) < beta / 2
        bits = torch.where(flips, 1 - bits, bits)
        wanted = float(chance_of_one(number(first), abar))
        assert float(bits.mean()) == pytest.approx(wanted, abs=5 * (0.25 / MANY) ** 0.5)


def test_without_its_second_term_the_share_would_be_wrong():
    """What the released sampler computes: all bits would end as zeros, not as fair coins."""
    assert float(chance_of_one(number(0), 0.0)) == 0.5
    assert float(chance_of_one(number(1), 0.0)) == 0.5


@given(SHARES, SHARES, st.floats(0, 1))
def test_noise_upon_noise_is_noise(a, b, p):
    twice = chance_of_one(chance_of_one(number(p), a), b)
    assert float(twice) == pytest.approx(float(chance_of_one(number(p), a * b)), abs=1e-12)


def bayes(x_t: int, prior: float, kept: float, before: float) -> float:
    """P(x_s = 1 | x_t) when x_0 is one with probability ``prior``, from the joint law of all."""
    joint = {0: 0.0, 1: 0.0}
    for x_0, x_s in product((0, 1), (0, 1)):
        first = prior if x_0 else 1 - prior
        stay = (1 + before) / 2 if x_s == x_0 else (1 - before) / 2
        alpha = kept / before
        then = (1 + alpha) / 2 if x_t == x_s else (1 - alpha) / 2
        joint[x_s] += first * stay * then
    return joint[1] / (joint[0] + joint[1])


@given(st.integers(0, 1), st.sampled_from([0.0, 1.0, 0.3, 0.9]), SHARES, st.floats(0.01, 1))
def test_posterior_is_that_of_bayes(x_t, prior, a, b):
    found = float(posterior(number(x_t), number(prior), **rates(a, b)))
    assert found == pytest.approx(bayes(x_t, prior, **rates(a, b)), abs=1e-12)


def seen(x_t: int, prior: float, kept: float) -> float:
    """P(x_0 = 1 | x_t): what a perfect net says."""
    one = prior * ((1 + kept) / 2 if x_t else (1 - kept) / 2)
    zero = (1 - prior) * ((1 - kept) / 2 if x_t else (1 + kept) / 2)
    return one / (one + zero)


@given(st.integers(0, 1), SHARES, SHARES, SHARES)
def test_exact_steps_of_a_perfect_net_are_those_of_bayes(x_t, prior, a, b):
    now = rates(a, b)
    belief = number(seen(x_t, prior, now["kept"]))
    found = float(believed(number(x_t), belief, **now, belief="exact"))
    assert found == pytest.approx(bayes(x_t, prior, **now), abs=1e-9)


@given(SHARES, SHARES, SHARES)
def test_exact_steps_keep_the_share_of_ones_that_noise_gives(prior, a, b):
    now, total = rates(a, b), 0.0
    ones = float(chance_of_one(number(prior), now["kept"]))
    for x_t, share in ((1, ones), (0, 1 - ones)):
        belief = number(seen(x_t, prior, now["kept"]))
        total += share * float(believed(number(x_t), belief, **now, belief="exact"))
    assert total == pytest.approx(float(chance_of_one(number(prior), now["before"])), abs=1e-9)


def test_the_published_step_counts_what_is_seen_twice():
    """A one that a perfect net takes for a zero nine times of ten is kept more often than due."""
    now = {"kept": 0.6, "before": 0.61}
    published, exact = (
        float(believed(number(1), number(0.1), **now, belief=b)) for b in ("published", "exact")
    )
    assert published > exact


@pytest.mark.parametrize("belief", ["exact", "published"])
@given(st.integers(0, 1), st.integers(0, 1), SHARES, SHARES)
def test_a_certain_net_steps_by_the_posterior(belief, x_t, x_0, a, b):
    found = believed(number(x_t), number(x_0), **rates(a, b), belief=belief)
    torch.testing.assert_close(found, posterior(number(x_t), number(x_0), **rates(a, b)))


def test_drawn_bits_have_their_probabilities_and_certain_ones_are_certain():
    probability = torch.tensor([0.0, 0.25, 1.0]).reshape(1, 3, 1).repeat(1, 1, MANY // 4)
    bits = draw(probability, rng=Rng([4]))
    assert not bits[:, 0].any()
    assert bits[:, 2].all()
    assert float(bits[:, 1].mean()) == pytest.approx(0.25, abs=0.01)
    assert set(bits.unique().tolist()) == {0.0, 1.0}


# The masked walk


def never(bits, t):
    raise AssertionError("a walk without steps asks nothing")


def certain(truth):
    """A net that knows the healthy bits."""
    return lambda bits, t: (bits - truth).abs()


def walked(predict, bits, seeds=(1, 2), **changes):
    options = {"schedule": SHORT, "levels": range(20, -1, -1), "threshold": 0.5, **changes}
    return masked_walk(predict, bits, rng=Rng(list(seeds)), **options)


def test_without_a_level_the_bits_stay():
    walk = walked(never, code(), levels=[0])
    assert torch.equal(walk.final, code())
    assert not walk.flagged.any()


@pytest.mark.parametrize("belief", ["exact", "published"])
def test_where_nothing_may_change_the_walk_ends_at_the_bits(belief):
    walk = walked(lambda bits, t: torch.full_like(bits, 0.9), code(), threshold=1.0, belief=belief)
    assert torch.equal(walk.final, code())
    assert not walk.flagged.any()


@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("belief", ["exact", "published"])
def test_flagged_bits_end_as_a_certain_net_says_and_others_as_they_were(belief, stride):
    truth = code(7)
    levels = [*range(20, 0, -stride), 0]
    walk = walked(certain(truth), code(), belief=belief, levels=levels)
    assert torch.equal(walk.final, torch.where(walk.flagged, truth, code()))
    wrong = truth != code()
    assert walk.flagged[wrong].float().mean() > 0.6
    assert 0 < walk.flagged[~wrong].float().mean() < 1  # those that noise flipped


def test_healthy_bits_come_back_whole_from_a_certain_net():
    assert torch.equal(walked(certain(code()), code()).final, code())


def test_the_walk_starts_at_bits_flipped_as_often_as_stated():
    seen_bits = []

    def listen(bits, t):
        seen_bits.append((bits, t.tolist()))
        return torch.zeros_like(bits)

    clean = code().repeat(1, 200, 5, 1)
    walked(listen, clean, levels=[12, 5, 0])
    flips = float((seen_bits[0][0] != clean).float().mean())
    assert flips == pytest.approx((1 - float(SHORT.abar[11])) / 2, abs=0.01)
    assert [t for _, t in seen_bits] == [[11, 11], [4, 4]]


def test_an_image_does_not_depend_on_its_batch():
    def predict(bits, t):
        return 0.2 + 0.6 * (bits - bits.roll(1, 2)).abs()

    together = walked(predict, code(images=3), seeds=(5, 6, 7))
    for row, seed in enumerate((5, 6, 7)):
        alone = walked(predict, code(images=3)[row : row + 1], seeds=(seed,))
        assert torch.equal(alone.final[0], together.final[row])


@pytest.mark.parametrize("levels", [[], [5, 3], [21, 0], [3, 5, 0], [4, 4, 0]])
def test_levels_that_make_no_walk_are_refused(levels):
    with pytest.raises(
        UsageError, match=r"masked walk: levels .* of 20 steps; list falling levels"
    ):
        walked(never, code(), levels=levels)
