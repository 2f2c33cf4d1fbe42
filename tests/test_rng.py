import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.rng import Rng, seed_of

SEEDS = st.integers(0, 2**63 - 1)
KEYS = st.lists(st.text(max_size=8), min_size=1, max_size=5)
DRAWS = {
    "normal": lambda rng: rng.normal(3, 2),
    "uniforms": lambda rng: rng.uniforms(4),
    "uniform": lambda rng: rng.uniform(-1.0, 2.0),
    "integers": lambda rng: rng.integers(-3, 1000),
    "normal_like": lambda rng: rng.normal_like(torch.zeros(len(rng), 2, 3)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(seed=SEEDS, keys=KEYS, cut=st.integers(0, 5))
def test_what_a_batch_draws_is_what_its_pieces_draw(draw, seed, keys, cut):
    whole = draw(Rng.named(seed, keys, "step", 3))
    pieces = [part for part in (keys[:cut], keys[cut:]) if part]
    assert torch.equal(whole, torch.cat([draw(Rng.named(seed, p, "step", 3)) for p in pieces]))


@given(st.lists(st.tuples(SEEDS, st.text(max_size=5), st.integers(0, 9)), unique=True, max_size=9))
def test_different_words_give_different_seeds(words):
    assert len({seed_of(*w) for w in words}) == len(words)


def test_the_borders_between_words_count():
    seeds = [
        seed_of(1, "ab", "c"),
        seed_of(1, "a", "bc"),
        seed_of(1, "abc"),
        seed_of(11, "ab", "c"),
    ]
    assert len(set(seeds)) == 4


def test_seeds_are_the_same_in_every_process():
    code = "from brainuad.rng import seed_of; print(seed_of(7, 'sub-01/axial-042', 'detect'))"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(run.stdout) == seed_of(7, "sub-01/axial-042", "detect")


@given(SEEDS)
def test_seeds_fit_into_every_generator(seed):
    assert 0 <= seed_of(seed, "x") < 2**63


def test_streams_of_different_keys_and_uses_are_independent():
    keys = [f"sub-{i:02d}" for i in range(60)]
    streams = torch.cat([Rng.named(5, keys, use).normal(4000) for use in ("a", "b")])
    # Correlations of 120 independent streams have standard deviation 1 / sqrt(4000) = 0.016.
    correlation = torch.corrcoef(streams) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 * 0.016
    assert abs(correlation.std().item() - 0.016) < 0.002


def test_a_fork_depends_on_seeds_and_words_and_not_on_what_was_drawn():
    fresh, used = Rng([1, 2]), Rng([1, 2])
    used.normal(10)
    assert torch.equal(fresh.fork("x", 1).normal(5), used.fork("x", 1).normal(5))
    assert not torch.equal(fresh.fork("x", 1).normal(5), fresh.fork("x", 2).normal(5))
    assert not torch.equal(fresh.fork("x").normal(5), Rng([1, 2]).normal(5))


def test_integers_are_uniform_over_their_range():
    found = Rng(range(1000)).integers(3, 8)
    drawn = torch.cat([found, *[Rng(range(1000)).fork(i).integers(3, 8) for i in range(9)]])
    counts = torch.bincount(drawn - 3, minlength=5)
    assert len(counts) == 5
    # Chi squared with 4 degrees of freedom stays below 23.5 with probability 0.9999.
    assert ((counts - 2000) ** 2 / 2000).sum() < 23.5


def test_uniform_and_normal_numbers_have_their_moments():
    rng = Rng(range(4000))
    uniform, normal = rng.uniform(-2.0, 4.0), rng.normal(25).flatten()
    assert uniform.min() >= -2
    assert uniform.max() < 4
    assert abs(uniform.mean() - 1) < 5 * (6 / 12**0.5) / 4000**0.5
    assert abs(uniform.std() - 6 / 12**0.5) < 0.06
    assert abs(normal.mean()) < 5 / 100_000**0.5
    assert abs(normal.var() - 1) < 5 * (2 / 100_000) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_takes_shape_and_precision_of_the_images(dtype):
    noise = Rng([1, 2]).normal_like(torch.zeros(2, 3, 4, 5, 6, dtype=dtype))
    assert noise.shape == (2, 3, 4, 5, 6)
    assert noise.dtype == dtype
    assert torch.equal(noise, Rng([1, 2]).normal(3, 4, 5, 6).to(dtype))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    rng = Rng.named(0, ["a"])
    for draw in DRAWS.values():
        draw(rng)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stream_goes_on():
    rng = Rng([4])
    first, second = rng.normal(3), rng.normal(3)
    assert not torch.equal(first, second)
    assert len(rng) == 1
