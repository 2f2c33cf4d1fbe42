"""Samplers against published numbers, stated invariants, and an exact Gaussian denoiser."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.flow import euler, path
from torch.nn import functional as F

from brainuad.rng import Rng
from brainuad.sample import ddim_coefficients, masked_ddim, plms, plms_calls
from brainuad.schedule import Cosine, LinearBeta, ScaledLinear
from brainuad.types import UsageError
from brainuad.unet import mad_ad_unet

TEN = Cosine(steps=10)
ALL = tuple(range(9, -1, -1))

STATED_ETA_HALF = [  # x0, state and fresh noise in steps 9 .. 0 of ten
    (0.15102, 0.85568, 0.49370),
    (0.17212, 0.86685, 0.41548),
    (0.18524, 0.86560, 0.34364),
    (0.20074, 0.84992, 0.28905),
    (0.22218, 0.82317, 0.24390),
    (0.25363, 0.78412, 0.20326),
    (0.30210, 0.72699, 0.16364),
    (0.38278, 0.63717, 0.12159),
    (0.53710, 0.47347, 0.07211),
    (1.0, 0.0, 0.0),
]
STATED_ETA_ZERO = [  # x0 and state
    (0.15037, 0.98789),
    (0.15712, 0.96349),
    (0.16307, 0.93787),
    (0.17388, 0.90951),
    (0.19118, 0.87627),
    (0.21819, 0.83455),
    (0.26147, 0.77748),
    (0.33639, 0.68946),
    (0.48835, 0.52489),
    (1.0, 0.0),
]


def published_net(z, t):
    """The analytic stand-in that the golden numbers were made with; its mask head says 'clean'."""
    time = t.reshape(-1, 1, 1, 1) / 10
    mean = F.avg_pool2d(z.mean(1, keepdim=True), 3, 1, 1, count_include_pad=True)
    clean = 0.3 - 4 * mean + 0.2 * time
    return torch.tanh(0.8 * z + 0.1 * time), -clean


def latents(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def oracle(x0, logit):
    """A denoiser that always gives the same answer."""
    return lambda z, t: (x0, torch.full_like(z[:, :1], logit))


@pytest.mark.golden
def test_masked_walks_equal_the_published_ones(golden):
    arrays = golden("madad_ddim")
    z, noise = torch.from_numpy(arrays["z_start"]), torch.from_numpy(arrays["noise"])
    cases = [k.removesuffix("_final") for k in arrays if k.endswith("_final")]
    assert cases
    for case in cases:
        steps, eta = (part.lstrip("stepa") for part in case.split("_"))
        states = []
        walk = masked_ddim(
            published_net,
            z,
            schedule=TEN,
            indices=TEN.timesteps(int(steps))[::-1],
            eta=float(f"{eta[0]}.{eta[1:] or 0}"),
            noise=noise,
            on_step=lambda index, state, states=states: states.append(state),
        )
        final, updates = (torch.from_numpy(arrays[f"{case}_{n}"]) for n in ("final", "update_mask"))
        torch.testing.assert_close(walk.final, final, atol=2e-5, rtol=0)
        assert torch.equal(torch.stack(walk.updates), updates.bool())
        if f"{case}_traj_sample0" in arrays:
            wanted = torch.from_numpy(arrays[f"{case}_traj_sample0"])
            torch.testing.assert_close(torch.stack(states)[:, 0], wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("eta", "stated"), [(0.5, STATED_ETA_HALF), (0.0, STATED_ETA_ZERO)])
def test_step_weights_equal_the_stated_table(eta, stated):
    abar, prev = TEN.chain(ALL)
    for now, then, row in zip(abar.tolist(), prev.tolist(), stated, strict=True):
        assert ddim_coefficients(now, then, eta)[: len(row)] == pytest.approx(row, abs=1e-5)


@given(st.integers(1, 999), st.floats(0, 1))
def test_a_step_keeps_the_marginals(t, eta):
    """Signal and noise of x_t = sqrt(abar) x0 + sqrt(1 - abar) eps arrive at their next levels."""
    s = Cosine()
    now, then = s.abar[t].item(), s.abar_prev[t].item()
    on_x0, on_x, fresh = ddim_coefficients(now, then, eta)
    assert on_x0 + on_x * math.sqrt(now) == pytest.approx(math.sqrt(then), abs=1e-9)
    assert on_x**2 * (1 - now) + fresh**2 == pytest.approx(1 - then, abs=1e-9)


def test_full_fresh_noise_has_the_posterior_variance():
    s = LinearBeta(steps=50)
    for t in range(1, 50):
        fresh = ddim_coefficients(s.abar[t].item(), s.abar_prev[t].item(), 1.0)[2]
        assert fresh**2 == pytest.approx(s.posterior_variance[t].item(), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_all_noisy_with_a_perfect_oracle_returns_it_exactly(eta):
    z = latents()
    x0 = torch.linspace(-1, 1, z.numel()).reshape(z.shape)
    walk = masked_ddim(oracle(x0, 1.0), z, schedule=TEN, indices=ALL, eta=eta, rng=Rng([1, 2]))
    assert torch.equal(walk.final, x0)
    assert walk.flagged.all()


def test_all_clean_returns_the_input_bit_by_bit():
    z = latents()
    walk = masked_ddim(
        oracle(torch.full_like(z, math.pi), -1.0),
        z,
        schedule=TEN,
        indices=ALL,
        eta=1.0,
        rng=Rng([1, 2]),
    )
    assert torch.equal(walk.final, z)
    assert not walk.flagged.any()


def test_undecided_cells_are_not_updated():
    z = latents()
    walk = masked_ddim(oracle(torch.zeros_like(z), 0.0), z, schedule=TEN, indices=ALL)
    assert torch.equal(walk.final, z)
    torch.testing.assert_close(walk.probability, torch.full_like(z[:, :1], 0.5))


def test_a_net_at_its_initialisation_changes_nothing():
    net, z = mad_ad_unet("tiny", channels=3).eval(), latents()
    walk = masked_ddim(net, z, schedule=TEN, indices=ALL, eta=0.5, rng=Rng([1, 2]))
    assert torch.equal(walk.final, z)
    torch.testing.assert_close(walk.probability, torch.full_like(z[:, :1], 0.5))


def test_only_flagged_cells_move():
    z = latents()

    def left_half_noisy(z, t):
        logit = torch.full_like(z[:, :1], -1.0)
        logit[..., :2] = 1.0
        return torch.zeros_like(z), logit

    walk = masked_ddim(left_half_noisy, z, schedule=TEN, indices=ALL, eta=0.5, rng=Rng([1, 2]))
    assert torch.equal(walk.final[..., 2:], z[..., 2:])
    assert not walk.final[..., :2].any()
    assert walk.flagged[..., :2].all()
    assert not walk.flagged[..., 2:].any()
    assert walk.probability[..., 0].mean().item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_flagged_is_the_union_over_the_steps():
    z = latents(1)

    def one_cell_per_step(z, t):
        logit = torch.full_like(z[:, :1], -1.0)
        logit.flatten()[int(t[0])] = 1.0
        return z, logit

    walk = masked_ddim(one_cell_per_step, z, schedule=TEN, indices=(7, 3))
    assert walk.flagged.flatten().nonzero().flatten().tolist() == [3, 7]


def test_the_net_is_told_the_original_index_of_each_step():
    told = []

    def listen(z, t):
        told.append(t.tolist())
        return z, z[:, :1]

    masked_ddim(listen, latents(), schedule=TEN, indices=(8, 4, 0))
    assert told == [[8, 8], [4, 4], [0, 0]]


def test_noise_of_an_image_does_not_depend_on_its_batch():
    z, seeds = latents(3), [5, 6, 7]
    options = {"schedule": TEN, "indices": ALL, "eta": 0.5}
    together = masked_ddim(published_net, z, rng=Rng(seeds), **options).final
    for i, seed in enumerate(seeds):
        alone = masked_ddim(published_net, z[i : i + 1], rng=Rng([seed]), **options).final
        torch.testing.assert_close(alone[0], together[i])
    again = masked_ddim(published_net, z, rng=Rng(seeds), **options).final
    assert torch.equal(together, again)


@pytest.mark.parametrize("eta", [-0.1, 1.1, 0.5])
def test_fresh_noise_needs_a_source_and_a_sane_share(eta):
    with pytest.raises(UsageError, match=rf"eta {eta}; give 0 \.\. 1, and an rng or noise"):
        masked_ddim(published_net, latents(), schedule=TEN, indices=ALL, eta=eta)


# Gaussian oracle: images are N(mean, spread^2) per pixel, so the best denoiser is known exactly.


def exact(mean: float, spread: float):
    def denoise(x, sigma):
        s = sigma.reshape(-1, *[1] * (x.ndim - 1)).double()
        return ((spread**2 * x + s**2 * mean) / (spread**2 + s**2)).to(x.dtype)

    return denoise


def end_of_flow(x: float, first: float, mean: float, spread: float) -> float:
    """The flow scales deviations from the mean by the ratio of standard deviations."""
    return mean + (x - mean) * spread / math.sqrt(spread**2 + first**2)


@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta()])
@pytest.mark.parametrize(("mean", "spread"), [(0.4, 0.25), (-1.0, 1.0)])
def test_samples_have_mean_and_spread_of_the_images(schedule, mean, spread):
    sigmas = path(schedule, start=990, count=991)
    start = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    # A standardised draw: what is judged is the sampler, not the luck of 40,000 numbers.
    start = (start - start.mean()) / start.std()
    x = mean + start.double() * torch.hypot(sigmas[0], torch.tensor(spread).double())
    out = euler(exact(mean, spread), x, sigmas)
    assert out.mean().item() == pytest.approx(mean, abs=0.01)
    assert out.std().item() == pytest.approx(spread, rel=0.01)


COUNTS = (10, 50, 300, 1000)
IMAGES = (0.3, 0.2)  # mean and spread


def promised(schedule, count: int, eta: float) -> tuple[float, float]:
    """Mean and spread that ``count`` steps lead to when every step is perfect.

    Each step is a straight line for Gaussian images, so both can be carried along exactly. They
    are not those of the images: a first-order sampler falls short of the spread with few steps.
    """
    (mean, spread), end, variance = IMAGES, 0.0, 1.0
    for now, then in chain_of(schedule, count):
        on_x0, on_x, fresh = ddim_coefficients(now, then, eta)
        left = now * spread**2 + 1 - now
        slope = on_x0 * spread**2 * math.sqrt(now) / left + on_x
        end = slope * end + on_x0 * (1 - now) * mean / left
        variance = slope**2 * variance + fresh**2
    return end, math.sqrt(variance)


def chain_of(schedule, count):
    indices = [schedule.steps * left // count - 1 for left in range(count, 0, -1)]
    return list(zip(*(level.tolist() for level in schedule.chain(indices)), strict=True))


def standard(numbers):
    """A standardised draw: what is judged is the sampler, not the luck of the numbers."""
    return (numbers - numbers.mean()) / numbers.std()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta(), ScaledLinear()], ids=str)
def test_euler_samples_are_those_of_perfect_steps(schedule, count):
    wanted = promised(schedule, count, eta=0.0)
    sigmas = path(schedule, start=schedule.steps - 1, count=count)
    start = standard(torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(0)))
    signal = schedule.abar[-1].sqrt()
    out = euler(exact(*IMAGES), start.double() / signal, sigmas)
    assert out.mean().item() == pytest.approx(wanted[0], rel=0.01)
    assert out.std().item() == pytest.approx(wanted[1], rel=0.01)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_masked_walks_of_flagged_cells_are_those_of_perfect_steps(eta, count):
    schedule = Cosine(steps=count)
    denoise = exact(*IMAGES)

    def predict(z, t):
        now = float(schedule.abar[int(t[0])])
        sigma = z.new_full((len(z),), math.sqrt((1 - now) / now))
        return denoise(z / math.sqrt(now), sigma), torch.ones_like(z)

    z = standard(torch.randn(1, 1, 320, 320, generator=torch.Generator().manual_seed(1))).double()
    indices = range(count - 1, -1, -1)
    walk = masked_ddim(predict, z, schedule=schedule, indices=indices, eta=eta, rng=Rng([5]))
    wanted = promised(schedule, count, eta)
    assert walk.final.mean().item() == pytest.approx(wanted[0], rel=0.01)
    assert walk.final.std().item() == pytest.approx(wanted[1], rel=0.01)


@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta(), ScaledLinear()], ids=str)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_more_steps_come_nearer_to_the_images(schedule, eta):
    short = [abs(promised(schedule, count, eta)[1] - IMAGES[1]) for count in COUNTS]
    assert short == sorted(short, reverse=True)
    assert short[-1] <= 0.06 * IMAGES[1]
    assert promised(schedule, 1000, eta)[0] == pytest.approx(IMAGES[0], rel=0.01)


def test_error_of_euler_halves_with_the_step():
    mean, spread, first = 0.3, 0.5, 4.0
    x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    wanted = end_of_flow(3.0, first, mean, spread)
    errors = []
    for count in (32, 64, 128, 256):
        sigmas = torch.linspace(first, 0, count + 1, dtype=torch.float64)
        errors.append(abs(euler(exact(mean, spread), x, sigmas).item() - wanted))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(orders, 1, atol=0.2)


def test_a_step_without_fresh_noise_is_the_euler_step_of_the_flow():
    x, x0 = latents().double(), latents().double().flip(0)
    for now, then in ((4.0, 3.0), (1.0, 0.1), (0.1, 0.0)):
        found = euler(lambda x, sigma: x0, x, torch.tensor([now, then]).double())
        torch.testing.assert_close(found, x0 + then / now * (x - x0))


# PLMS: its slope is linear in the image for Gaussian images, so the end of the flow is known.


def plms_errors(sigmas_of, counts=(16, 32, 64, 128, 256)) -> np.ndarray:
    mean, spread = 0.3, 0.5
    x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    errors = []
    for count in counts:
        sigmas = sigmas_of(count)
        wanted = end_of_flow(3.0, float(sigmas[0]), mean, spread)
        errors.append(abs(plms(exact(mean, spread), x, sigmas).item() - wanted))
    return np.array(errors)


def test_error_of_plms_falls_with_the_cube_of_equal_steps():
    """Four slopes are good for more, but the first steps remember fewer."""
    errors = plms_errors(lambda count: torch.linspace(4, 0, count + 1, dtype=torch.float64))
    assert (np.log2(errors[:-1] / errors[1:])[1:] > 2.7).all()


def test_error_of_plms_falls_with_the_square_of_steps_that_are_not_equal():
    """Its weights are those for equal steps, as published."""

    def bent(count):
        return 4 * torch.linspace(1, 0, count + 1, dtype=torch.float64) ** 2

    errors = plms_errors(bent, counts=(64, 128, 256, 512))
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2, atol=0.15)


@pytest.mark.parametrize("schedule", [LinearBeta(), ScaledLinear(), Cosine()], ids=str)
@pytest.mark.parametrize("count", [50, 100])
def test_plms_comes_nearer_to_the_end_of_the_flow_than_euler(schedule, count):
    sigmas = path(schedule, start=999, count=count)
    x = torch.tensor([-20.0, 0.5, 20.0]).double().reshape(1, 1, 1, 3)
    wanted = torch.tensor([end_of_flow(v, float(sigmas[0]), *IMAGES) for v in x.flatten().tolist()])
    ends = [walk(exact(*IMAGES), x, sigmas).flatten() for walk in (euler, plms)]
    short = [(end - wanted).abs().max().item() for end in ends]
    assert short[1] < 0.6 * short[0]


@pytest.mark.parametrize("slopes", [1, 2, 3, 4])
def test_remembered_slopes_are_exact_for_noise_that_changes_as_a_polynomial(slopes):
    """Adams and Bashforth: n equal steps remembered integrate polynomials of degree n - 1."""
    sigmas = torch.arange(8, 8 - slopes - 1, -1).double()
    powers = torch.tensor([1.0, -0.3, 0.2, 0.1]).double()[:slopes]

    def noise(s):
        return sum(p * s**n for n, p in enumerate(powers.tolist()))

    def flow(s):
        return sum(p * s ** (n + 1) / (n + 1) for n, p in enumerate(powers.tolist()))

    def denoise(x, sigma):
        return x - float(sigma[0]) * noise(float(sigma[0]))

    x = torch.zeros(1, 1, 1, 1).double()
    before = plms(denoise, x, sigmas[:-1])
    last, end = (float(s) for s in sigmas[-2:])
    step = plms(denoise, x, sigmas) - before
    assert step.item() == pytest.approx(flow(end) - flow(last), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_calls_of_plms_are_counted_and_none_is_asked_about_clean_images(steps):
    asked = []

    def denoise(x, sigma):
        asked.append(float(sigma[0]))
        return torch.zeros_like(x)

    plms(denoise, torch.ones(1, 1, 2, 2), torch.linspace(3, 0, steps + 1).double())
    assert len(asked) == plms_calls(steps)
    assert min(asked) > 0


def test_one_step_of_plms_to_the_end_is_the_clean_estimate():
    x0 = latents()
    sigmas = path(LinearBeta(), start=30, count=1)
    found = plms(lambda x, sigma: x0, x0 + 0.7, sigmas)
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=0)


def test_plms_equals_the_published_scheduler_where_it_is_asked_at_every_level():
    from monai.networks.schedulers.pndm import PNDMScheduler

    theirs = PNDMScheduler(
        1000,
        schedule="scaled_linear_beta",
        skip_prk_steps=True,
        set_alpha_to_one=True,
        beta_start=0.0015,
        beta_end=0.0195,
    )
    theirs.set_timesteps(20)
    schedule = ScaledLinear()
    denoise, x = exact(*IMAGES), latents()

    def eps_at(y, t):
        abar = schedule.abar[t]
        sigma = ((1 - abar) / abar).sqrt()
        x_t = y.double() / abar.sqrt()
        return ((x_t - denoise(x_t, sigma.expand(len(y)))) / sigma).float()

    # Its own list has the second level once, so it would take x at that level for one step less.
    first, second, *rest = theirs.timesteps.tolist()
    y = x
    for t in (first, second, second, *rest):
        y, _ = theirs.step(eps_at(y, t), t, y)
    steps = list(schedule.timesteps(20))[::-1]
    sigmas = torch.cat([schedule.sigmas[steps], torch.zeros(1).double()])
    ours = plms(denoise, x.double() / schedule.abar[steps[0]].sqrt(), sigmas)
    torch.testing.assert_close(ours.float(), y, atol=1e-5, rtol=0)
