"""One-shot divergences: the closed form, the published numbers, and an exact denoiser."""

import numpy as np
import pytest
import torch

from brainuad.likelihood import KLScorer, kl_weight, percentile, snr_window
from brainuad.rng import Rng
from brainuad.schedule import Cosine, LinearBeta, ScaledLinear
from brainuad.types import UsageError


@pytest.mark.golden
def test_divergences_equal_the_published_ones(golden):
    g = golden("pinaya_kl")
    schedule = ScaledLinear(steps=len(g["betas"]))
    np.testing.assert_allclose(kl_weight(schedule)[1:], g["kl_weight"][1:], rtol=1e-8)
    assert torch.isnan(kl_weight(schedule)[0])
    z0, eps, guess = (torch.from_numpy(g[k]) for k in ("z0", "eps", "eps_pred"))
    total = np.zeros(len(z0))
    for number, t in enumerate(g["t"].tolist()):
        z_t = schedule.add_noise(z0, eps, torch.full((len(z0),), t))
        np.testing.assert_allclose(z_t, g["z_t"][number], atol=1e-5)
        if t == 0:  # where the divergence is not defined; the reference puts something else
            total += g["kl_monai"][number].mean((1, 2, 3))
            continue
        kl = float(kl_weight(schedule)[t]) * (eps - guess).square().numpy()
        for name in ("kl_ddpm_ood", "kl_monai", "kl_closed_form_f64"):
            wanted = g[name][number]
            assert np.abs(kl - wanted).max() <= 1e-4 * np.abs(wanted).max()
        total += kl.mean((1, 2, 3))
    np.testing.assert_allclose(total, g["monai_total_per_sample"], rtol=1e-4)


@pytest.mark.parametrize("schedule", [ScaledLinear(), LinearBeta(), Cosine()])
@pytest.mark.parametrize("t", [1, 50, 400, 900])
def test_the_weight_is_the_divergence_of_the_two_posteriors(schedule, t):
    rng = Rng([1])
    z0, eps, guess = (rng.normal(2, 4, 4).double() for _ in range(3))
    abar, variance = schedule.abar[t], schedule.posterior_variance[t]
    z_t = abar.sqrt() * z0 + (1 - abar).sqrt() * eps
    x0 = (z_t - (1 - abar).sqrt() * guess) / abar.sqrt()
    on_x0, on_z = (w[t] for w in schedule.posterior_mean)
    means = on_x0 * z0 + on_z * z_t, on_x0 * x0 + on_z * z_t
    wanted = (means[0] - means[1]).square() / (2 * variance)
    torch.testing.assert_close(kl_weight(schedule)[t] * (eps - guess).square(), wanted,
                               rtol=1e-5, atol=0)  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "window"),
    [
        (ScaledLinear(), (400, 600)),
        (LinearBeta(first=0.0015, last=0.0195), (326, 504)),
        (LinearBeta(), (376, 548)),
    ],
)
def test_the_default_window_is_the_same_noise_under_any_schedule(schedule, window):
    np.testing.assert_allclose(snr_window(schedule), window, atol=2)


STATED = {  # sqrt(abar), and 1000 times the weight, at steps 100, 200 .. 900
    ScaledLinear(): (
        (0.907, 0.784, 0.638, 0.484, 0.339, 0.217, 0.125, 0.065, 0.030),
        (6.83, 4.55, 4.05, 4.12, 4.54, 5.23, 6.16, 7.28, 8.55),
    ),
    LinearBeta(first=0.0015, last=0.0195): (
        (0.886, 0.717, 0.530, 0.358, 0.221, 0.124, 0.064, 0.030, 0.013),
        (7.78, 5.31, 4.85, 5.05, 5.59, 6.33, 7.19, 8.09, 9.02),
    ),
    LinearBeta(): (
        (0.946, 0.810, 0.628, 0.440, 0.279, 0.160, 0.083, 0.039, 0.016),
        (10.18, 6.01, 5.06, 5.05, 5.51, 6.26, 7.17, 8.16, 9.18),
    ),
}


@pytest.mark.parametrize("schedule", STATED, ids=str)
def test_signal_and_weights_equal_the_stated_table(schedule):
    signal, weight = STATED[schedule]
    steps = range(100, 1000, 100)
    np.testing.assert_allclose(schedule.abar.sqrt()[steps], signal, atol=6e-4)
    np.testing.assert_allclose(1e3 * kl_weight(schedule)[steps], weight, atol=6e-3)


def test_the_signal_to_noise_ratios_are_the_stated_ones():
    abar = ScaledLinear().abar[range(100, 1000, 100)]
    stated = (4.65, 1.59, 0.687, 0.306, 0.130, 0.0493, 0.0159, 0.0042, 0.0009)
    np.testing.assert_allclose(abar / (1 - abar), stated, rtol=0.005, atol=5e-5)


def exact(mean: float, spread: float, schedule):
    """The best guess of the noise in images whose every value is normal."""

    def predict(z, t):
        abar = schedule.abar[t].reshape(-1, 1, 1, 1).to(z)
        k = spread**2 * abar.sqrt() / (spread**2 * abar + 1 - abar)
        x0 = mean + k * (z - abar.sqrt() * mean)
        return (z - abar.sqrt() * x0) / (1 - abar).sqrt()

    return predict


@pytest.mark.parametrize("z0", [0.3, 1.0, 3.0])
def test_score_of_an_exact_denoiser_is_the_stated_expectation(z0):
    mean, spread, t, schedule = 0.3, 0.7, 500, ScaledLinear()
    abar = float(schedule.abar[t])
    k = spread**2 * abar**0.5 / (spread**2 * abar + 1 - abar)
    wanted = abar / (1 - abar) * (
        (z0 - mean) ** 2 * (1 - k * abar**0.5) ** 2 + k**2 * (1 - abar))  # fmt: skip
    z = torch.full((1, 1, 200, 200), z0)
    scorer = KLScorer(window=(t, t), weight="eps", draws=2)
    score = scorer.score(exact(mean, spread, schedule), z, schedule=schedule, rng=Rng([1]))
    assert score.mean().item() == pytest.approx(wanted, rel=0.03)


def predict(z, t):
    return 0.1 * z + t.reshape(-1, 1, 1, 1) / 1000


@pytest.mark.parametrize("aggregator", ["mean", "gmean", "hmean"])
def test_no_image_and_no_stride_changes_the_score_of_another(aggregator):
    schedule, z = ScaledLinear(), Rng([1, 2, 3]).normal(2, 6, 5)
    scorer = KLScorer(window=(100, 300), stride=100, aggregator=aggregator)
    whole = scorer.score(predict, z, schedule=schedule, rng=Rng([1, 2, 3]))
    alone = scorer.score(predict, z[1:2], schedule=schedule, rng=Rng([2]))
    torch.testing.assert_close(whole[1:2], alone)
    parts = torch.stack([
        scorer.at(predict, z, t, schedule=schedule, rng=Rng([1, 2, 3]))[0] for t in (300, 100, 200)
    ])  # fmt: skip
    means = {
        "mean": parts.mean(0),
        "gmean": parts.log().mean(0).exp(),
        "hmean": 1 / (1 / parts).mean(0),
    }
    torch.testing.assert_close(whole, means[aggregator].mean(1, keepdim=True), rtol=1e-4, atol=1e-9)


def test_shared_noise_is_the_same_at_every_step():
    seen = []

    def record(z, t):
        seen.append((z - ScaledLinear().abar[t[0]].sqrt().float()) / (
            1 - ScaledLinear().abar[t[0]]).sqrt().float())  # fmt: skip
        return z

    z = torch.ones(1, 1, 4, 4)
    scorer = KLScorer(window=(100, 500), stride=200, shared_noise=True)
    scorer.score(record, z, schedule=ScaledLinear(), rng=Rng([1]))
    for other in seen[1:]:
        torch.testing.assert_close(seen[0], other, atol=1e-4, rtol=0)


def test_the_threshold_flags_the_share_that_it_says():
    values = Rng([3]).normal(4001)[0].exp()
    above = (values > percentile(values, 97.5)).float().mean()
    assert above.item() == pytest.approx(0.025, abs=1e-3)
    assert percentile(values[:0], 97.5) == float("inf")


@pytest.mark.parametrize("window", [(0, 10), (20, 10)])
def test_windows_without_a_step_are_refused(window):
    with pytest.raises(UsageError, match="likelihood: window .* first at least 1"):
        KLScorer(window=window)


def test_windows_beyond_the_schedule_are_refused():
    with pytest.raises(UsageError, match="window up to step 600 of 100"):
        KLScorer(window=(1, 600)).steps(LinearBeta(steps=100))
    with pytest.raises(UsageError, match="give high > low > 0"):
        snr_window(LinearBeta(), high=0.1, low=0.2)
