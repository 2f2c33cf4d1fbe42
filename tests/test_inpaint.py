"""Sampling the marked part of an image anew."""

import pytest
import torch
from tests.flow import euler, path
from tests.test_likelihood import exact

from brainuad.inpaint import Repaint, inpaint
from brainuad.rng import Rng
from brainuad.schedule import ScaledLinear
from brainuad.types import UsageError

SCHEDULE = ScaledLinear()
MEAN, SPREAD = 0.5, 0.6


def run(z0, mask, **options):
    how = {"start": 500, "steps": 20, "schedule": SCHEDULE, "rng": Rng(range(len(z0))), **options}
    return inpaint(exact(MEAN, SPREAD, SCHEDULE), z0, mask, **how)


@pytest.mark.parametrize("init", ["noise", "qsample"])
@pytest.mark.parametrize("resamples", [1, 3])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_what_is_not_marked_stays_the_same_to_the_bit(init, resamples, eta):
    z0 = Rng([0, 1]).normal(3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    assert torch.equal(run(z0, mask, init=init, resamples=resamples, eta=eta), z0)
    mask[:, :, 2:5, 3:6] = True
    out = run(z0, mask, init=init, resamples=resamples, eta=eta)
    changed = (out != z0).any(1, keepdim=True)
    assert torch.equal(changed, mask)


@pytest.mark.parametrize(("eta", "steps"), [(0.0, 250), (1.0, 1000)])
def test_all_marked_from_pure_noise_is_a_sample_of_the_model(eta, steps):
    z0 = torch.full((1, 1, 200, 200), 9.0)
    mask = torch.ones_like(z0, dtype=torch.bool)
    out = run(z0, mask, init="noise", start=999, steps=steps, eta=eta)
    assert out.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert out.std().item() == pytest.approx(SPREAD, rel=0.03)


def test_without_fresh_noise_a_marked_image_follows_the_flow():
    z0 = Rng([4]).normal(1, 6, 6).double()
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    out = run(z0, mask, init="qsample", start=499, steps=50, rng=Rng([7]))
    noise = Rng([7]).fork("start").normal_like(z0)
    sigmas = path(SCHEDULE, start=499, count=50)

    def denoise(x, sigma):
        s = sigma.reshape(-1, 1, 1, 1)
        return (SPREAD**2 * x + s**2 * MEAN) / (SPREAD**2 + s**2)

    torch.testing.assert_close(
        out, euler(denoise, z0 + sigmas[0] * noise, sigmas), atol=1e-6, rtol=0
    )


def test_nothing_of_a_marked_cell_is_left_when_it_starts_from_noise():
    mask = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    mask[..., :3] = True
    z0 = Rng([4]).normal(1, 6, 6)
    other = torch.where(mask, z0 + 100, z0)
    first, second = (run(z, mask, init="noise") for z in (z0, other))
    assert torch.equal(first, second)


def test_images_do_not_change_each_other():
    z0 = Rng([0, 1]).normal(1, 6, 6)
    mask = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    both = run(z0, mask, rng=Rng([5, 6]), eta=0.5)
    torch.testing.assert_close(both[1:], run(z0[1:], mask[1:], rng=Rng([6]), eta=0.5))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "schedule: 0 steps from step 500"),
        ({"steps": 502}, "take 1 .. 501 steps"),
        ({"eta": 1.5}, "inpaint: eta 1.5"),
        ({"resamples": 0}, "0 resamples; give 0 .. 1, and at least 1"),
    ],
)
def test_impossible_walks_are_refused(options, match):
    z0 = torch.zeros(1, 1, 4, 4)
    with pytest.raises(UsageError, match=match):
        run(z0, z0 > 0, **options)


def test_options_say_the_same_as_the_function():
    z0 = Rng([0]).normal(1, 6, 6)
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    how = Repaint(start=300, steps=7, resamples=2, init="qsample", eta=0.3)
    found = how(exact(MEAN, SPREAD, SCHEDULE), z0, mask, schedule=SCHEDULE, rng=Rng([2]))
    wanted = run(z0, mask, start=300, steps=7, resamples=2, init="qsample", eta=0.3, rng=Rng([2]))
    assert torch.equal(found, wanted)
