"""Simplex noise against the published draws and their statistics."""

import math

import numpy as np
import pytest
import torch

from brainuad.rng import Rng
from brainuad.simplex import fractal, opensimplex, permutations, simplex
from brainuad.types import UsageError

PUBLISHED = (6, 0.8, 64.0)


def place(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize(
    ("x", "y", "stated"),
    [(0.1, 0.2, -0.259355037569), (1.5, 2.25, 0.181707213746), (10.3, 7.7, 0.125237303206)],
)
def test_stated_values_of_seed_three(x, y, stated):
    table = permutations([3])
    assert table[0, :6].tolist() == [164, 187, 231, 144, 104, 73]
    assert opensimplex(table, place(x), place(y)).item() == pytest.approx(stated, abs=1e-12)


@pytest.mark.golden
def test_draws_equal_the_published_ones(golden):
    arrays = golden("simplex_noise")
    draws = [k.removesuffix("_seed") for k in arrays if k.endswith("_seed")]
    assert draws
    for draw in draws:
        table = permutations([int(arrays[f"{draw}_seed"])])
        wanted = arrays[f"{draw}_noise"]
        np.testing.assert_array_equal(table[0], arrays[f"{draw}_perm"])
        np.testing.assert_allclose(fractal(table, wanted.shape, *PUBLISHED)[0], wanted, atol=1e-5)
        octave = arrays[f"{draw}_single_octave_scale16"]
        mine = fractal(table, octave.shape, 1, 0.8, 16.0)[0]
        np.testing.assert_allclose(mine, octave, atol=1e-5)


@pytest.mark.golden
def test_statistics_equal_the_published_ones(golden):
    arrays = golden("simplex_noise")
    side, count = arrays["stat_pixel_rms_map"].shape[0], 96
    x = torch.zeros(count, 1, side, side)
    noise = simplex(x, rng=Rng.named(0, [f"image-{i}" for i in range(count)]))[:, 0].double()
    means, stds = noise.mean((1, 2)), noise.std((1, 2))
    # Standard errors of a mean over our draws and over theirs.
    both = math.sqrt(1 / count + 1 / int(arrays["stat_n"]))
    level = float(arrays["stat_image_mean_std"]) * both
    assert abs(means.mean().item() - float(arrays["stat_overall_mean"])) < 4 * level
    width = float(arrays["stat_image_std_std"]) * both
    assert abs(stds.mean().item() - float(arrays["stat_image_std_mean"])) < 4 * width
    power = torch.fft.fft2(noise).abs() ** 2 / side**4
    freq = torch.fft.fftfreq(side, 1 / side)
    radius = torch.hypot(freq[:, None], freq[None]).round().long()
    sem = arrays["stat_radial_power_sem"] * math.sqrt(1 + int(arrays["stat_n"]) / count)
    for k, (theirs, error) in enumerate(zip(arrays["stat_radial_power_mean"], sem, strict=True)):
        mine = power[:, radius == k].sum(1).mean().item()
        assert abs(mine - theirs) < 4 * error, f"{k} cycles per image"
    assert power[:, radius < 8].sum() > 0.8 * power.sum()
    assert noise.square().mean().sqrt().item() == pytest.approx(0.59, abs=0.03)


@pytest.mark.golden
def test_levels_and_neighbours_equal_the_published_ones(golden):
    arrays = golden("simplex_noise")
    side, count, groups = arrays["stat_pixel_rms_map"].shape[0], 240, 12
    x = torch.zeros(count, 1, side, side)
    noise = simplex(x, rng=Rng.named(1, [f"image-{i}" for i in range(count)]))[:, 0].double()
    both = math.sqrt(1 + count / int(arrays["stat_n"]))

    def close(found, wanted, what):
        """Within 4 standard errors, as estimated from groups of images."""
        error = both * np.std(found, axis=0, ddof=1) / math.sqrt(len(found))
        assert (np.abs(np.mean(found, axis=0) - wanted) < 4 * error + 1e-6).all(), what

    parts = noise.reshape(groups, -1).numpy()
    levels = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    close(np.quantile(parts, levels, axis=1).T, arrays["stat_pixel_quantiles"], "quantiles")
    close(np.mean(parts**2, 1), float(arrays["stat_overall_rms"]) ** 2, "overall power")
    for row, lag in enumerate((1, 2, 4, 8, 16, 32)):
        across = (noise[:, :, lag:] * noise[:, :, :-lag]).mean((1, 2))
        down = (noise[:, lag:] * noise[:, :-lag]).mean((1, 2))
        pairs = torch.stack([across, down], 1).numpy()
        close(pairs, arrays["stat_lag_autocov"][row], f"lag {lag}")
    assert (noise[:, 0, 0] == 0).all()
    assert float(noise.abs().max()) < 1.2 * float(arrays["stat_abs_max"])


def test_noise_of_an_image_does_not_depend_on_its_batch():
    x, seeds = torch.zeros(3, 2, 12, 16), (3, 5, 7)
    together = simplex(x, rng=Rng(seeds))
    alone = [simplex(x[:1], rng=Rng([seed])) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[0], together[1])


def test_two_draws_from_one_stream_differ():
    x, rng = torch.zeros(1, 1, 12, 16), Rng([3])
    assert not torch.equal(simplex(x, rng=rng), simplex(x, rng=rng))


def test_images_with_one_stream_share_their_noise_in_any_order():
    noise = simplex(torch.zeros(4, 1, 12, 16), rng=Rng([7, 3, 7, 5]))
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    alone = simplex(torch.zeros(1, 1, 12, 16), rng=Rng([3]))
    assert torch.equal(noise[1:2], alone)


def test_normalised_noise_has_unit_variance():
    noise = simplex(torch.zeros(3, 1, 24, 16), rng=Rng([3, 5, 7]), normalise=True)
    torch.testing.assert_close(noise.flatten(1).std(1), torch.ones(3))
    torch.testing.assert_close(noise.flatten(1).mean(1), torch.zeros(3), atol=1e-6, rtol=0)


def test_the_origin_is_a_vertex_of_every_octave():
    noise = simplex(torch.zeros(4, 1, 8, 8), rng=Rng([1, 2, 3, 4]))
    assert not noise[:, :, 0, 0].any()
    assert noise[:, :, 1:, 1:].any()


@pytest.mark.parametrize("wrong", [{"octaves": 0}, {"wavelength_px": 0.0}])
def test_impossible_noise_is_refused(wrong):
    with pytest.raises(UsageError, match="at least one octave and a wavelength above 0"):
        simplex(torch.zeros(1, 1, 8, 8), rng=Rng([1]), **wrong)


def test_volumes_are_refused():
    with pytest.raises(UsageError, match="images of 3 space axes"):
        simplex(torch.zeros(1, 1, 8, 8, 8), rng=Rng([1]))
