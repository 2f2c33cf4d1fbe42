"""Schedules against published tables and their own algebra."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.flow import path

from brainuad.schedule import Cosine, LinearBeta, ScaledLinear, Schedule
from brainuad.types import UsageError

SCHEDULES = [Cosine(steps=10), Cosine(), LinearBeta(), ScaledLinear(), Cosine(steps=1)]


@pytest.mark.golden
def test_cosine_and_its_posterior_equal_the_published_tables(golden):
    arrays = golden("madad_schedule")
    lengths = sorted({int(k[1:].split("_")[0]) for k in arrays if k.startswith("T")})
    assert lengths
    for steps in lengths:
        s = Cosine(steps=steps)
        mine = {
            "betas": s.betas,
            "alphas_cumprod": s.abar,
            "alphas_cumprod_prev": s.abar_prev,
            "posterior_variance": s.posterior_variance,
            "posterior_mean_coef1": s.posterior_mean[0],
            "posterior_mean_coef2": s.posterior_mean[1],
        }
        for name, values in mine.items():
            np.testing.assert_allclose(values, arrays[f"T{steps}_{name}"], atol=1e-10, rtol=0)


@pytest.mark.golden
def test_respacing_equals_the_published_one(golden):
    arrays = golden("madad_schedule")
    names = [k.removesuffix("_timesteps") for k in arrays if k.endswith("_timesteps")]
    assert names
    for name in names:
        kept = arrays[f"{name}_timesteps"].tolist()
        s = Cosine(steps=10)
        assert list(s.timesteps(len(kept))) == kept
        abar, prev = (level.flip(0) for level in s.chain(kept[::-1]))
        np.testing.assert_allclose(abar, arrays[f"{name}_alphas_cumprod"], atol=1e-10)
        np.testing.assert_allclose(prev, arrays[f"{name}_alphas_cumprod_prev"], atol=1e-10)
        np.testing.assert_allclose(1 - abar / prev, arrays[f"{name}_betas"], atol=1e-10)


@pytest.mark.golden
def test_long_cosine_and_its_noising_equal_the_published_ones(golden):
    arrays = golden("behrendt_schedule")
    (steps,) = {int(k[1:].split("_")[0]) for k in arrays if k.startswith("T")}
    s = Cosine(steps=steps)
    np.testing.assert_allclose(s.betas, arrays[f"T{steps}_betas_f64"], atol=1e-6)
    np.testing.assert_allclose(s.abar, arrays[f"T{steps}_alphas_cumprod"], atol=1e-6)
    x01, eps, t, x_t = (torch.from_numpy(arrays[f"qs_{n}"]) for n in ("x01", "eps", "t", "x_t"))
    torch.testing.assert_close(s.add_noise(2 * x01 - 1, eps, t), x_t, atol=1e-5, rtol=0)


@pytest.mark.golden
def test_noise_in_masked_cells_equals_the_published_one(golden):
    arrays = golden("madad_qsample")
    z0, eps, t, keep, z_t = (
        torch.from_numpy(arrays[n]) for n in ("z0", "eps", "t", "keep_mask", "z_t")
    )
    clean = keep.bool()
    mine = torch.where(clean, z0, Cosine(steps=10).add_noise(z0, eps, t))
    torch.testing.assert_close(mine, z_t, atol=1e-5, rtol=0)
    everywhere = clean.expand_as(z0)
    assert torch.equal(mine[everywhere], z0[everywhere])


@pytest.mark.golden
def test_scaled_linear_equals_the_published_one(golden):
    arrays = golden("pinaya_kl")
    s = ScaledLinear(steps=len(arrays["betas"]))
    np.testing.assert_allclose(s.betas, arrays["betas"], atol=1e-8)
    np.testing.assert_allclose(s.abar, arrays["alphas_cumprod"], atol=1e-8)


def test_ten_step_table_of_the_paper():
    stated = [0.97209, 0.89871, 0.78691, 0.64748, 0.49384, 0.34081, 0.20312, 0.09405, 0.02409, 2e-5]
    np.testing.assert_allclose(Cosine(steps=10).abar, stated, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_grows_and_moments_add_up(schedule: Schedule):
    s = schedule
    assert ((s.betas > 0) & (s.betas < 1)).all()
    assert (s.sigmas.diff() > 0).all()
    assert s.abar_prev[0] == 1
    torch.testing.assert_close(1 / (1 + s.sigmas**2), s.abar)
    assert s.posterior_variance[0] == 0
    # The posterior mean of a noise-free path is that path: x0 weighs sqrt(abar) at each step.
    on_x0, on_xt = s.posterior_mean
    torch.testing.assert_close(on_x0 + on_xt * s.abar.sqrt(), s.abar_prev.sqrt())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noised_images_have_the_promised_moments(schedule: Schedule):
    x0 = torch.ones(1, 1, 400, 400)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    t = schedule.steps // 2
    x_t = schedule.add_noise(x0, eps, torch.tensor([t]))
    assert x_t.mean().item() == pytest.approx(schedule.abar[t].sqrt().item(), abs=0.01)
    assert x_t.var().item() == pytest.approx(1 - schedule.abar[t].item(), abs=0.02)


def test_each_image_gets_its_own_step():
    s = Cosine(steps=10)
    x0 = torch.ones(2, 1, 2, 2)
    x_t = s.add_noise(x0, torch.zeros_like(x0), torch.tensor([0, 9]))
    torch.testing.assert_close(x_t[:, 0, 0, 0], s.abar[[0, 9]].sqrt().float())


def test_stated_respacings_and_refusals():
    s = Cosine(steps=10)
    assert s.timesteps(4) == (0, 3, 6, 9)
    assert s.timesteps(3) == (0, 4, 8)
    assert s.timesteps(10) == tuple(range(10))
    for count in (0, 1, 6, 7, 8, 9, 11):
        with pytest.raises(UsageError, match=rf"{count} of 10 steps .* use one of 2, 3, 4, 5, 10"):
            s.timesteps(count)


@given(st.integers(2, 200), st.integers(1, 60))
def test_every_reachable_count_is_reached_from_zero_by_one_stride(steps, stride):
    stride = min(stride, steps - 1)
    wanted = len(range(0, steps, stride))
    kept = Cosine(steps=steps).timesteps(wanted)
    assert len(kept) == wanted
    assert kept[0] == 0
    assert len(set(np.diff(kept).tolist())) == 1


@given(st.integers(0, 99), st.data())
def test_path_falls_from_its_start_to_zero(start, data):
    s = LinearBeta(steps=100)
    count = data.draw(st.integers(1, start + 1))
    sigmas = path(s, start=start, count=count)
    assert len(sigmas) == count + 1
    assert sigmas[0] == s.sigmas[start]
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize(("start", "count"), [(100, 5), (-1, 1), (4, 6), (4, 0)])
def test_impossible_paths_are_refused(start, count):
    with pytest.raises(UsageError, match=r"steps from step .* start at 0 \.\. 99"):
        LinearBeta(steps=100).descent(start=start, count=count)


@pytest.mark.parametrize("indices", [(), (1, 1), (1, 2), (10,), (3, -1)])
def test_impossible_chains_are_refused(indices):
    with pytest.raises(UsageError, match=r"list at least one, falling, between 9 and 0"):
        Cosine(steps=10).chain(indices)


def test_a_schedule_needs_steps():
    with pytest.raises(UsageError, match="0 steps; use at least 1"):
        Cosine(steps=0)


def test_schedules_compare_by_value():
    assert Cosine(steps=10) == Cosine(steps=10) != LinearBeta(steps=10)
