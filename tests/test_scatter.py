import numpy as np
import pytest
import torch

from brainuad import testing
from brainuad.config import build
from brainuad.rng import Rng
from brainuad.scatter import ScatterLaw, numbers, scattered, slanted, squares
from brainuad.types import UsageError


def streams(count: int, seed: int = 0) -> Rng:
    return Rng.named(seed, [f"image-{i}" for i in range(count)])


def whole(count: int, *space: int) -> torch.Tensor:
    return torch.ones(count, 1, *space, dtype=torch.bool)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 8])
def test_squares_cover_what_loops_cover(side):
    draw = np.random.default_rng(side)
    points = torch.from_numpy(draw.uniform(-6, 30, (3, 7, 2))).float()
    used = torch.from_numpy(draw.random((3, 7)) < 0.7)
    found = squares(points, used, side, whole(3, 20, 24))
    wanted = np.zeros((3, 20, 24), bool)
    for image in range(3):
        for (row, column), there in zip(
            points[image].round().long().tolist(), used[image], strict=True
        ):
            if there and 0 <= row < 20 and 0 <= column < 24:
                top, left = row - side // 2, column - side // 2
                box = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
                wanted[image][box] = True
    np.testing.assert_array_equal(found[:, 0], wanted)


def test_points_have_the_variances_and_the_correlation():
    z = streams(2).normal(20_000, 2)
    variances = torch.tensor([[4.0, 0.25], [1.0, 9.0]])
    points = slanted(z, variances, torch.tensor([0.8, -0.5]))
    for image, (c1, c2, rho) in enumerate([(4, 0.25, 0.8), (1, 9, -0.5)]):
        wanted = [[c1, rho * (c1 * c2) ** 0.5], [rho * (c1 * c2) ** 0.5, c2]]
        np.testing.assert_allclose(np.cov(points[image].numpy().T), wanted, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("narrow", [False, True])
def test_numbers_of_squares_stay_within_their_bounds_and_reach_them(narrow):
    law, count = ScatterLaw(), 4000
    variances = torch.tensor([[2.0, 8.0]]).expand(count, 2)  # sqrt(c1 c2) = 4
    found = numbers(law, variances, torch.full((count,), narrow), streams(count).uniforms(3))
    low, high = law.narrow_count if narrow else law.wide_count
    for column, least, largest in ((0, 4 * low, 4 * high - 1), (1, 5, 9), (2, 3, 9)):
        values = found[:, column]
        assert least <= values.min() <= least + 0.01 * (largest - least)
        assert largest >= values.max() >= largest - 0.01 * (largest - least)
    assert (found <= torch.tensor(law.most)).all()


def test_masks_lie_in_the_brain_and_empty_brains_have_none():
    brain = testing.Blobs(6, "axial").get(range(6)).brain.clone()
    brain[2] = False
    mask = scattered(ScatterLaw(), brain, rng=streams(6))
    assert not (mask & ~brain).any()
    assert mask.flatten(1).any(1).tolist() == [True, True, False, True, True, True]


def test_a_mask_does_not_depend_on_the_others_of_its_batch():
    brain = testing.Blobs(5, "axial").get(range(5)).brain
    together = scattered(ScatterLaw(), brain, rng=streams(5))
    for n in range(5):
        own = Rng([streams(5).seeds[n]])
        assert torch.equal(scattered(ScatterLaw(), brain[n : n + 1], rng=own), together[n : n + 1])


def test_wide_masks_hide_more_than_narrow_ones():
    brain = whole(60, 128, 128)
    wide, narrow = (scattered(ScatterLaw(narrow=p), brain, rng=streams(60)) for p in (0.0, 1.0))
    assert wide.float().mean() > 3 * narrow.float().mean()
    assert narrow.flatten(1).any(1).all()


def test_lengths_are_millimetres():
    """On pixels of half the size a mask covers about the same share of twice as many of them."""
    coarse = scattered(ScatterLaw(pixel_mm=4.0), whole(80, 48, 48), rng=streams(80))
    fine = scattered(ScatterLaw(pixel_mm=2.0), whole(80, 96, 96), rng=streams(80))
    assert float(fine.float().mean()) == pytest.approx(float(coarse.float().mean()), rel=0.15)
    assert [ScatterLaw().side(mm) for mm in (4.0, 8.0, 16.0, 0.5)] == [2, 4, 8, 1]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"middling": [9, 5]}, r"middling.*give the least first"),
        ({"variance": [10.0, 0.3]}, r"variance.*give the least first"),
        ({"narrow": 1.5}, r"narrow.*less than or equal to 1"),
        ({"pixel_mm": 0.0}, r"pixel_mm.*greater than 0"),
    ],
)
def test_laws_that_are_none_are_refused(changes, match):
    with pytest.raises(UsageError, match=match):
        build(ScatterLaw, changes, where="masks")
