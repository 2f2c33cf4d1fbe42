"""Limits of latent places against counting by hand, and scores of slices against sums."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.latent_limit import SliceScore, check_places, limit, limits_by_place
from brainuad.likelihood import KLScorer, kl_weight
from brainuad.rng import Rng
from brainuad.schedule import ScaledLinear
from brainuad.types import UsageError


def healthy(count, seed=0, share=0.7):
    """Scores whose size differs from place to place, and cells that count."""
    generator = np.random.default_rng(seed)
    size = np.linspace(1, 4, 12).reshape(1, 1, 3, 4)
    scores = size * generator.random((count, 1, 3, 4))
    inside = generator.random((count, 1, 3, 4)) < share
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(inside)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 60),
    percent=st.sampled_from([50.0, 80.0, 90.0, 97.5]),
    seed=st.integers(0, 99),
)
def test_each_place_has_the_limit_of_its_own_values_where_they_suffice(count, percent, seed):
    scores, inside = healthy(count, seed)
    if not inside.any():
        return
    found = limits_by_place(scores, inside, percent)
    everywhere = limit(scores, inside, percent)
    for i, j in np.ndindex(3, 4):
        own = scores[:, 0, i, j][inside[:, 0, i, j]].double().sort().values
        allowed = len(own) * (1 - percent / 100)
        value = float(found[0, 0, i, j])
        if len(own) < 100 / (100 - percent):
            assert value == pytest.approx(everywhere)
            continue
        # the smallest of the values that no more than the wanted share exceeds
        fits = [float(v) for v in own if (own > v).sum() <= allowed + 1e-9]
        assert value == pytest.approx(min(fits))


def test_on_the_set_it_was_fitted_on_each_place_flags_its_share():
    scores, inside = healthy(400, share=1.0)
    flagged = scores > limits_by_place(scores, inside, 97.5)
    shares = flagged.float().mean(0).flatten()
    torch.testing.assert_close(shares, torch.full((12,), 0.025))
    # one threshold for all flags nothing where scores are low, and more where they are high
    once = (scores > limit(scores, inside, 97.5)).float().mean(0).flatten()
    assert once.min() == 0
    assert once.max() > 0.05


def test_places_with_too_few_values_are_said(caplog):
    scores, inside = healthy(30, share=1.0)
    with caplog.at_level(logging.INFO):
        limits_by_place(scores, inside, 97.5)
    assert "12 of 12 latent places with brain have fewer than 40 healthy values" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    with caplog.at_level(logging.INFO):
        limits_by_place(*healthy(50, share=1.0), 97.5)
    assert caplog.records[0].levelno == logging.INFO


def test_another_grid_is_refused_and_a_single_limit_fits_any():
    score = torch.zeros(2, 1, 3, 5)
    with pytest.raises(UsageError, match="each of 3 x 4 cells, this image has 3 x 5"):
        check_places(torch.zeros(1, 1, 3, 4), score)
    check_places(torch.tensor(1.0), score)


class Off:
    """A guess that is off by a known amount; counts how often it is asked."""

    def __init__(self, schedule, z, error):
        self.schedule, self.z, self.error, self.calls = schedule, z, error, 0

    def __call__(self, noisy, t):
        self.calls += 1
        abar = self.schedule.abar[t.cpu()].reshape(-1, 1, 1, 1).to(noisy)
        return (noisy - abar.sqrt() * self.z) / (1 - abar).sqrt() + self.error


def test_the_bound_is_the_sum_of_the_divergences_of_all_steps():
    schedule = ScaledLinear(steps=60)
    z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    error = torch.tensor([0.1, 0.3]).reshape(2, 1, 1, 1)
    guess, how = Off(schedule, z, error), SliceScore(kind="full")
    scorer = KLScorer(stride=1, window=(20, 30), aggregator="hmean")
    found = how.bound(scorer, guess, z, schedule=schedule, rng=Rng([1, 2]))
    total = float(kl_weight(schedule)[1:].sum())
    torch.testing.assert_close(found, total * torch.tensor([0.01, 0.09]), rtol=1e-3, atol=0)
    assert guess.calls == how.calls(scorer, schedule) == 59


def test_with_a_stride_the_steps_that_are_asked_stand_for_the_others():
    schedule = ScaledLinear(steps=100)
    z, how = torch.zeros(1, 1, 2, 2), SliceScore(kind="full")
    guess, scorer = Off(schedule, z, 1.0), KLScorer(stride=7)
    found = float(how.bound(scorer, guess, z, schedule=schedule, rng=Rng([1])))
    asked = kl_weight(schedule)[1::7]
    assert found == pytest.approx(99 * float(asked.mean()), rel=1e-3)
    assert guess.calls == how.calls(scorer, schedule) == len(asked)


def test_scores_of_the_map_look_at_the_brain_alone():
    generator = np.random.default_rng(0)
    anomaly = torch.tensor(generator.random((3, 1, 20, 20)), dtype=torch.float32)
    brain = torch.tensor(generator.random((3, 1, 20, 20)) < 0.75)
    brain[2] = False
    for kind in ("mean", "max", "top"):
        found = SliceScore(kind=kind).of_map(anomaly, brain)
        assert found[2] == 0
        for n in range(2):
            values = np.sort(anomaly[n][brain[n]].numpy())[::-1]
            count = {"mean": len(values), "max": 1, "top": round(0.01 * len(values))}[kind]
            assert float(found[n]) == pytest.approx(float(values[:count].mean()), rel=1e-5)


def test_what_is_not_asked_for_is_not_computed():
    def refuse():
        raise AssertionError("asked for the bound")

    cells = torch.arange(8.0).reshape(2, 1, 2, 2)
    anomaly, brain = torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    window = SliceScore()(cells, anomaly, brain, bound=refuse)
    assert window.tolist() == [1.5, 5.5]
    assert SliceScore(kind="mean")(cells, anomaly, brain, bound=refuse).tolist() == [1.0, 1.0]
    assert SliceScore().calls(KLScorer(), ScaledLinear(steps=50)) == 0
