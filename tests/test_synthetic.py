import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.rng import Rng
from brainuad.synthetic import AnomalyLaw, place_in, smooth_field, soft_ball, with_anomalies
from brainuad.types import UsageError

SHAPE = (3, 24, 30)
STILL = AnomalyLaw(grain=0.0)


def brain():
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SHAPE[1]), torch.linspace(-1, 1, SHAPE[2]), indexing="ij"
    )
    return (rows.square() + columns.square() < 0.8).expand(SHAPE)


def tissue():
    return 0.6 * brain()


@given(st.integers(0, 2**40))
def test_dark_anomalies_only_darken_and_bright_ones_only_brighten(seed):
    x, inside = tissue(), brain()
    dark = with_anomalies(STILL, x, inside, "dark", rng=Rng([seed]))
    bright = with_anomalies(STILL, x, inside, "bright", rng=Rng([seed]))
    assert (dark <= x).all()
    assert (bright >= x).all()
    assert (dark[~inside] == 0).all()
    assert (bright[~inside] == 0).all()
    assert float(bright.max()) <= 1


def test_every_slab_has_an_anomaly_that_reaches_its_middle_or_its_neighbours():
    x, inside = tissue(), brain()
    changes = [
        (x - with_anomalies(STILL, x, inside, "dark", rng=Rng([n]))).abs().max() for n in range(40)
    ]
    assert sum(float(c) > 0.04 for c in changes) > 30


def test_with_either_sign_both_kinds_come_up():
    x, inside = tissue(), brain()
    law = AnomalyLaw(most=1, grain=0.0)
    made = [with_anomalies(law, x, inside, "absolute", rng=Rng([n])) - x for n in range(40)]
    assert any(float(m.min()) < -0.05 for m in made)
    assert any(float(m.max()) > 0.05 for m in made)
    assert not any(float(m.min()) < -1e-6 and float(m.max()) > 1e-6 for m in made)


def test_grain_is_spread_over_the_whole_brain_and_has_the_asked_size():
    inside = torch.ones(3, 60, 60, dtype=torch.bool)
    x = torch.full((3, 60, 60), 0.5)
    # No tissue is changed, so all that differs is grain.
    law = AnomalyLaw(grain=0.02, share_min=1e-9, share_max=1e-9, fade=0.0)
    found = [
        float((with_anomalies(law, x, inside, "dark", rng=Rng([n])) - x).std()) for n in range(60)
    ]
    drawn = [0.02 * float(Rng([n]).fork("grain").uniform()) for n in range(60)]
    assert found == pytest.approx(drawn, rel=0.05)


def volume_of(radius):
    """Integral of a logistic border of scale 1/2 around a ball: 4/3 pi (r^3 + pi^2 r / 4)."""
    return 4 / 3 * math.pi * (radius**3 + math.pi**2 * radius / 4)


def test_a_smooth_round_ball_has_the_volume_of_its_radius():
    law = AnomalyLaw(radius_min=6.0, radius_max=6.0)
    inside = torch.ones(25, 40, 40, dtype=torch.bool)
    # place in the middle, height of the middle, no turn, no stretch, no roughness
    u = [0.0, (20 * 40 + 20.5) / 1600, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0]
    ball = soft_ball(law, inside, u, rng=Rng([0]))
    assert abs(float(ball.sum()) / volume_of(6) - 1) < 0.01
    assert float(ball.max()) > 0.99
    assert float(ball.min()) < 0.01


def test_radii_are_logarithmically_uniform():
    law = AnomalyLaw(radius_min=2.0, radius_max=8.0)
    inside = torch.ones(41, 41, 41, dtype=torch.bool)
    u = [0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0]
    volume = float(soft_ball(law, inside, u, rng=Rng([0])).sum())
    assert abs(volume / volume_of(4) - 1) < 0.01


def test_places_are_those_of_the_brain_each_as_likely():
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[1, 2] = inside[3, 4] = True
    assert [place_in(inside, u) for u in (0.0, 0.49, 0.51, 0.999)] == [(1, 2)] * 2 + [(3, 4)] * 2
    assert place_in(torch.zeros(4, 6, dtype=torch.bool), 0.3) == (2, 3)


def test_a_field_passes_through_its_nodes_and_depends_on_its_stream_alone():
    one = smooth_field((3, 9, 9), 4.0, rng=Rng([5]))
    again = smooth_field((3, 9, 9), 4.0, rng=Rng([5]))
    assert torch.equal(one, again)
    many = torch.stack([smooth_field((3, 9, 9), 4.0, rng=Rng([n])) for n in range(400)])
    assert abs(float(many[:, 0, 0, 0].std()) - 1) < 0.1
    assert abs(float(many[:, 0, 0, 0].mean())) < 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius_min": 5.0, "radius_max": 4.0}, "rising radii"),
        ({"share_min": 0.0}, "rising shares"),
        ({"most": 0}, "at least one object"),
        ({"fade": 1.5}, "a fade in"),
        ({"grain": -0.1}, "grain of at least 0"),
        ({"level": 0.5}, "level 0.5; give one between 0 and 0.5"),
    ],
)
def test_a_law_that_is_none_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        AnomalyLaw(**options)
