"""Noise laws: published masks, moments, and independence of the batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.noise import (
    PatchLaw,
    brain_cells,
    brain_share,
    coarse,
    draw_patches,
    gaussian,
    patch_mask,
    patch_noise,
    pyramid,
)
from brainuad.rng import Rng
from brainuad.types import UsageError

PUBLISHED = PatchLaw(shared=True, brain_rule="block")


def streams(count: int, seed: int = 0) -> Rng:
    return Rng.named(seed, [f"image-{i}" for i in range(count)])


@pytest.mark.golden
def test_masks_equal_the_published_ones(golden):
    arrays = golden("madad_mask")
    brain = torch.from_numpy(arrays["brain"]).bool()[:, None]
    cases = [k.removesuffix("_patch") for k in arrays if k.endswith("_patch")]
    assert cases
    for case in cases:
        keep = torch.from_numpy(arrays[f"{case}_keep_before_brain"]).bool()
        sides = torch.from_numpy(arrays[f"{case}_patch"]).expand(len(keep), -1)
        # Their order lists the rectangles; ours gives each rectangle its place in the list.
        order = torch.from_numpy(arrays[f"{case}_perm"].astype(np.int64)).argsort(1).float()
        ratio = torch.from_numpy(arrays[f"{case}_ratio"])
        noised = patch_mask(sides, ratio, order, keep.shape[2:])
        assert torch.equal(~noised, keep)
        allowed = brain_cells(PUBLISHED, brain, brain.shape[-1] // keep.shape[-1])
        wanted = torch.from_numpy(arrays[f"{case}_keep"]).bool()
        assert torch.equal(~(noised & allowed), wanted)


@pytest.mark.golden
def test_noised_share_equals_the_published_one(golden):
    arrays = golden("madad_mask")
    brain = torch.from_numpy(arrays["brain"]).bool()[:, None]
    cells = brain_cells(PUBLISHED, brain, 8)
    forced = 1 - cells.float().flatten(1).mean(1)
    np.testing.assert_allclose(forced, arrays["forced_clean_share_per_brain"], atol=1e-6)
    draws, images = 200, len(brain)
    law = PatchLaw()  # one pair per image: the same law for each image, less noisy mean
    many = cells.repeat(draws, 1, 1, 1)
    shares = draw_patches(law, many, rng=streams(len(many))).float().flatten(1).mean(1)
    mean = shares.reshape(draws, images).mean(0).numpy()
    spread = arrays["stat_noised_share_std_per_brain"]
    error = spread * math.sqrt(1 / draws + 1 / int(arrays["stat_n_batches"]))
    assert (np.abs(mean - arrays["stat_noised_share_mean_per_brain"]) < 3 * error).all()
    everywhere = torch.ones(600, 1, 32, 32, dtype=torch.bool)
    share = draw_patches(law, everywhere, rng=streams(600, seed=1)).float().mean().item()
    error = float(arrays["stat_noised_share_before_brain_std"]) / math.sqrt(600)
    assert abs(share - float(arrays["stat_noised_share_before_brain_mean"])) < 3 * error


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=3),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_rectangles_are_whole_and_their_number_is_as_promised(grid, sides, ratio, seed):
    sides = sides[: len(grid)]
    order = torch.rand(1, math.prod(grid), generator=torch.Generator().manual_seed(seed))
    shares = torch.tensor([ratio], dtype=torch.float64)
    noised = patch_mask(torch.tensor([sides]), shares, order, tuple(grid))[0, 0]
    assert noised.shape == tuple(grid)
    corners = noised[tuple(slice(None, None, side) for side in sides)]
    assert int(corners.sum()) == corners.numel() - math.floor(corners.numel() * (1 - ratio))
    whole = corners
    for axis, side in enumerate(sides):
        whole = whole.repeat_interleave(side, axis).narrow(axis, 0, grid[axis])
    assert torch.equal(noised, whole)


def test_mask_of_an_image_does_not_depend_on_its_batch():
    law, cells = PatchLaw(), torch.ones(4, 1, 20, 24, dtype=torch.bool)
    seeds = (3, 5, 7, 9)
    together = draw_patches(law, cells, rng=Rng(seeds))
    alone = [draw_patches(law, cells[:1], rng=Rng([seed])) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))


def test_shared_sides_are_the_same_for_all_images_and_others_differ():
    law = PatchLaw(sides=(1, 4), probabilities=(0.5, 0.5), ratio_min=0.3, shared=True)
    cells = torch.ones(16, 1, 16, 16, dtype=torch.bool)

    def finest(mask):
        """Whether some rectangle is cut inside a block of four rows."""
        return [(one.reshape(4, 4, 16).float().std(1) > 0).any().item() for one in mask[:, 0]]

    shared = [set(finest(draw_patches(law, cells, rng=streams(16, seed=s)))) for s in range(12)]
    assert all(len(kinds) == 1 for kinds in shared)
    assert {True, False} == set.union(*shared)
    own = PatchLaw(sides=(1, 4), probabilities=(0.5, 0.5), ratio_min=0.3)
    assert set(finest(draw_patches(own, cells, rng=streams(16)))) == {True, False}


def test_no_noise_where_it_is_not_allowed():
    cells = torch.zeros(5, 1, 8, 8, dtype=torch.bool)
    cells[..., :3] = True
    law = PatchLaw(ratio_min=1.0, ratio_max=1.0)
    assert torch.equal(draw_patches(law, cells, rng=streams(5)), cells)


def test_ratio_zero_noises_nothing():
    law = PatchLaw(ratio_max=0.0)
    cells = torch.ones(5, 1, 8, 8, dtype=torch.bool)
    assert not draw_patches(law, cells, rng=streams(5)).any()


def test_every_image_with_a_ratio_above_zero_gets_a_rectangle():
    cells = torch.ones(200, 1, 8, 8, dtype=torch.bool)
    law = PatchLaw(ratio_min=1e-6)
    assert draw_patches(law, cells, rng=streams(200)).flatten(1).any(1).all()


def test_two_epochs_never_share_masks():
    cells = torch.ones(3, 1, 20, 24, dtype=torch.bool)
    rng = streams(3)
    first, second = (draw_patches(PatchLaw(ratio_min=0.2), cells, rng=rng.fork(e)) for e in (0, 1))
    assert (first != second).flatten(1).any(1).all()


def test_cells_are_brain_by_their_own_share():
    brain = torch.zeros(1, 1, 8, 12, dtype=torch.bool)
    brain[..., :8, :6] = True  # the middle column of cells is half brain
    assert brain_cells(PatchLaw(), brain, 4)[0, 0].tolist() == [[True, True, False]] * 2
    strict = PatchLaw(brain_fraction=0.6)
    assert brain_cells(strict, brain, 4)[0, 0].tolist() == [[True, False, False]] * 2


@pytest.mark.parametrize("factor", [4, 8])
def test_published_rule_forbids_whole_blocks(factor):
    brain = torch.ones(1, 1, 32, 24, dtype=torch.bool)
    brain[..., :6, :6] = False  # 36 of the first 256 pixels: 86 % brain
    cells = brain_cells(PUBLISHED, brain, factor)[0, 0]
    per_block = 16 // factor
    assert cells.shape == (32 // factor, 24 // factor)
    assert not cells[:per_block, :per_block].any()
    assert cells[per_block:, :per_block].all()
    # The last block of a row is half outside the image, which counts as no brain.
    assert not cells[:, per_block:].any()


def test_share_of_brain_in_volumes():
    brain = torch.ones(1, 1, 4, 4, 6, dtype=torch.bool)
    assert brain_share(brain, 4)[0, 0].flatten().tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"sides": (1, 2)}, "one probability per side"),
        ({"probabilities": (0.5, 0.3, 0.3, 0.2)}, "with sum 1"),
        ({"sides": (0, 2, 4, 8)}, "sides of at least 1"),
        ({"ratio_min": 0.5}, "ratio 0.5 to 0.4"),
        ({"ratio_max": 1.5}, "ratio_max <= 1"),
    ],
)
def test_impossible_laws_are_refused(wrong, match):
    with pytest.raises(UsageError, match=match):
        PatchLaw(**wrong)


NOISES = {
    "gaussian": gaussian,
    "coarse": lambda x, rng: coarse(x, std=0.2, cell_px=4.0, rng=rng),
    "pyramid": pyramid,
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_of_an_image_does_not_depend_on_its_batch(name):
    x = torch.zeros(3, 2, 16, 24)
    seeds = (3, 5, 7)
    together = NOISES[name](x, rng=Rng(seeds))
    alone = [NOISES[name](x[:1], rng=Rng([seed])) for seed in seeds]
    assert together.shape == x.shape
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("name", NOISES)
def test_two_draws_from_one_stream_differ(name):
    x, rng = torch.zeros(1, 1, 16, 24), Rng([3])
    assert not torch.equal(NOISES[name](x, rng=rng), NOISES[name](x, rng=rng))


def test_gaussian_noise_is_standard_normal():
    noise = gaussian(torch.zeros(20, 1, 64, 64), rng=streams(20))
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_coarse_noise_has_its_std_at_the_nodes():
    """With one node per pixel nothing is stretched, so every pixel is a node."""
    noise = coarse(torch.zeros(20, 1, 32, 32), std=0.2, cell_px=1.0, rng=streams(20))
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.2, rel=0.03)


def test_coarse_noise_is_linear_between_its_nodes():
    noise = coarse(torch.zeros(1, 1, 31, 31), std=1.0, cell_px=7.0, rng=streams(1))[0, 0]
    bends = noise.diff(2, dim=0).abs() > 1e-5
    # 4 nodes per axis: two inner ones bend, the roll adds its seam (two second differences).
    assert bends.any(1).sum() <= 2 + 2


def test_coarse_noise_is_rolled_to_a_place_of_each_images_own():
    noise = coarse(torch.zeros(40, 1, 24, 24), std=1.0, cell_px=8.0, rng=streams(40))
    jumps = noise.diff(dim=-1).abs().amax((1, 2)).argmax(-1)
    assert len(set(jumps.tolist())) > 8


def test_coarse_noise_of_volumes():
    noise = coarse(torch.zeros(2, 1, 8, 10, 12), std=0.2, cell_px=4.0, rng=streams(2))
    assert noise.shape == (2, 1, 8, 10, 12)


@pytest.mark.parametrize("wrong", [{"std": -0.1, "cell_px": 4.0}, {"std": 0.1, "cell_px": 0.0}])
def test_impossible_coarse_noise_is_refused(wrong):
    with pytest.raises(UsageError, match="use a std of at least 0 and a distance above 0"):
        coarse(torch.zeros(1, 1, 8, 8), rng=streams(1), **wrong)


def test_pyramid_noise_has_unit_variance_and_more_low_frequencies_than_white_noise():
    x = torch.zeros(30, 1, 32, 32)
    noise = pyramid(x, rng=streams(30))
    torch.testing.assert_close(noise.flatten(1).std(1), torch.ones(30))
    lag = (noise[..., 1:] * noise[..., :-1]).mean().item()
    white = gaussian(x, rng=streams(30))
    assert lag > 0.2 > abs((white[..., 1:] * white[..., :-1]).mean().item())


def test_white_patch_noise_does_not_know_the_latent():
    z = torch.randn(4, 3, 8, 8)
    first, second = (patch_noise(PatchLaw(), x, rng=Rng(range(4))) for x in (z, 0 * z))
    assert torch.equal(first, second)
    assert first.std() == pytest.approx(1, abs=0.1)


def test_displaced_noise_is_the_latent_itself_in_another_place():
    z = torch.arange(2 * 3 * 5 * 7.0).reshape(2, 3, 5, 7)
    noise = patch_noise(PatchLaw(displaced=1.0), z, rng=Rng([3, 8]))
    for image, moved in zip(z, noise, strict=True):
        shifts = [(a, b) for a in range(5) for b in range(7)]
        assert any(torch.equal(torch.roll(image, s, (1, 2)), moved) for s in shifts)


def test_images_are_displaced_with_the_asked_probability():
    z = torch.zeros(400, 1, 2, 2)
    noise = patch_noise(PatchLaw(displaced=0.3), z, rng=Rng(range(400)))
    share = float((noise == 0).flatten(1).all(1).float().mean())
    assert share == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 400))


def test_patch_noise_of_a_batch_is_that_of_its_images():
    law, z = PatchLaw(displaced=0.5), torch.randn(6, 2, 20, 24)
    whole = patch_noise(law, z, rng=Rng(range(6)))
    alone = [patch_noise(law, z[n : n + 1], rng=Rng([n])) for n in range(6)]
    assert torch.equal(whole, torch.cat(alone))


def test_a_probability_above_one_is_refused():
    with pytest.raises(UsageError, match=r"displaced 1\.5 is no probability"):
        PatchLaw(displaced=1.5)
