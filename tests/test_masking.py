"""Masks of the training input: the published filter and rectangles, and where they may lie."""

import math

import numpy as np
import pytest
import torch
from tests.family import Stand, ready

from brainuad import testing
from brainuad.boxes import inside
from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.masking import (
    MASKINGS,
    MaskLaw,
    Masks,
    blended,
    draw_masks,
    filtered,
    fpm,
    fpm_cm,
    ipm,
    sides,
    starts,
    union,
)
from brainuad.methods.mddpm import Mddpm, MddpmOptions
from brainuad.rng import Rng
from brainuad.types import UsageError

LOW, HIGH = torch.tensor([True]), torch.tensor([False])


def streams(count: int, seed: int = 0) -> Rng:
    return Rng.named(seed, [f"image-{i}" for i in range(count)])


def tensors(arrays, *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(arrays[name]) for name in names]


def masks_of(arrays) -> Masks:
    """The stored draws as ours: (row, column, height, width) becomes a box with ends."""
    row, column, height, width = (
        torch.from_numpy(arrays["rect_row_col_height_width"]).long().unbind(2)
    )
    boxes = torch.stack([column, row, column + width, row + height], dim=2)
    return Masks(
        boxes=boxes * (row >= 0)[..., None],
        radius=torch.from_numpy(arrays["r"]).long(),
        low_kept=torch.from_numpy(arrays["low_kept"]).bool(),
    )


# Filter


@pytest.mark.golden
def test_filter_equals_the_published_one(golden):
    arrays = golden("mddpm_frequency_mask")
    x = torch.from_numpy(arrays["image"])[None, None]
    cases = [name for name in arrays if name.startswith("r")]
    assert cases
    for case in cases:
        radius = torch.tensor([int(case.split("_")[0].removeprefix("r"))])
        kept = torch.tensor([case.endswith("kept")])
        found = filtered(x, radius, kept)[0, 0]
        np.testing.assert_allclose(found, arrays[case], atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 48), (33, 47)])
def test_what_is_kept_and_what_is_removed_add_up_to_the_slice(shape):
    x = streams(2).normal(1, *shape)
    radius = torch.tensor([2, 9])
    low, high = (filtered(x, radius, k.expand(2)) for k in (LOW, HIGH))
    torch.testing.assert_close(low + high, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", [1, 4])
def test_the_square_of_frequencies_has_the_asked_side(radius):
    """A single pixel has all frequencies alike, so what is left counts them."""
    x = torch.zeros(1, 1, 24, 40)
    x[..., 5, 7] = 24 * 40
    found = filtered(x, torch.tensor([radius]), LOW)
    assert found[..., 5, 7].item() == pytest.approx((2 * radius) ** 2, rel=1e-4)


def test_a_blur_keeps_the_mean_and_its_rest_has_none():
    x = streams(1).uniforms(1, 32, 48)
    low, high = (filtered(x, torch.tensor([3]), k) for k in (LOW, HIGH))
    assert low.mean().item() == pytest.approx(x.mean().item(), abs=1e-5)
    assert high.mean().item() == pytest.approx(0, abs=1e-5)


def test_each_slice_is_filtered_by_its_own_draw():
    x = streams(3).normal(1, 32, 48)
    radius, kept = torch.tensor([2, 5, 9]), torch.tensor([True, False, True])
    together = filtered(x, radius, kept)
    alone = [filtered(x[n : n + 1], radius[n : n + 1], kept[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


# Masking with given draws


@pytest.mark.golden
def test_corrupted_slices_equal_the_published_ones(golden):
    arrays = golden("mddpm_blend")
    x, brain, wanted = tensors(arrays, "image", "brain_mask", "corrupted")
    found = fpm_cm(x[:, None], brain[:, None].bool(), masks_of(arrays))
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-5)


@pytest.mark.golden
def test_loss_of_a_masked_batch_equals_the_published_one(golden):
    arrays = golden("mddpm_blend")
    image, brain, t, boxes = tensors(arrays, "image", "brain_mask", "t", "box_xyxy")
    x, brain = image[:, None], brain[:, None].bool()
    eps = torch.from_numpy(arrays["noise_f16"].astype(np.float32)).expand_as(x)
    method = ready(Mddpm(build(MddpmOptions, {"net": TINY}, where="mddpm")), Stand())
    context = 2 * fpm_cm(x, brain, masks_of(arrays)) - 1
    ours = method.patch_loss(2 * x - 1, context, t, eps, boxes)
    # The published loss also counts the masked context, which no net can change.
    outside = ((context - (2 * x - 1)).abs() * ~inside(boxes, x)).flatten(1).mean(1)
    np.testing.assert_allclose((ours + outside).mean().item(), arrays["train_loss"], atol=1e-6)


def square(brain_rows=slice(2, 30), brain_columns=slice(4, 44)):
    brain = torch.zeros(1, 1, 32, 48, dtype=torch.bool)
    brain[..., brain_rows, brain_columns] = True
    x = streams(1).uniforms(1, 32, 48) * brain
    boxes = torch.tensor([[[10, 8, 16, 14], [14, 12, 20, 15], [0, 0, 0, 0]]])
    return x, brain, Masks(boxes=boxes, radius=torch.tensor([3]), low_kept=HIGH)


def test_ipm_puts_zero_in_the_rectangles_alone():
    x, brain, masks = square()
    found, chosen = ipm(x, brain, masks), union(masks.boxes, x)
    assert chosen.sum() == 6 * 6 + 6 * 3 - 2 * 2
    assert (found[chosen] == 0).all()
    assert torch.equal(found[~chosen], x[~chosen])


def test_fpm_filters_the_whole_brain():
    x, brain, masks = square()
    torch.testing.assert_close(fpm(x, brain, masks), filtered(x, masks.radius, HIGH) * brain)


def test_cutmix_is_the_filtered_slice_inside_and_the_clean_one_outside():
    x, brain, masks = square()
    found, chosen = fpm_cm(x, brain, masks), union(masks.boxes, x)
    torch.testing.assert_close(found[chosen], fpm(x, brain, masks)[chosen])
    assert torch.equal(found[~chosen], x[~chosen])


def test_without_a_box_the_slice_stays_whole_and_with_one_its_background_goes():
    x, brain, masks = square()
    x = x + 0.1
    assert torch.equal(blended(x, 0 * x, brain, torch.zeros_like(masks.boxes)), x)
    assert (blended(x, 0 * x, brain, masks.boxes)[~brain] == 0).all()


# Law


@pytest.mark.golden
def test_bounds_of_the_draws_equal_the_published_ones(golden):
    arrays, law = golden("mddpm_rectangles"), MaskLaw()
    brain = torch.from_numpy(arrays["brain_mask"]).bool()[None, None]
    shortest, longest = sides(law, brain)
    assert [shortest.item(), longest.item()] == arrays["len_min_max"].tolist()
    for axis, name in ((1, "row"), (2, "col")):
        ends = [n.item() for n in starts(law, brain, axis, longest)]
        assert ends == arrays[f"{name}_start_min_max"].tolist()
    many = golden("mddpm_blend")
    brain = torch.from_numpy(many["brain_mask"]).bool()[:, None]
    shortest, longest = sides(law, brain)
    bounds = torch.stack([shortest, longest, *starts(law, brain, 1, longest),
                          *starts(law, brain, 2, longest)], dim=1)  # fmt: skip
    wanted = torch.from_numpy(many["draw_bounds_len_row_col"]).long()
    wanted[:, 2:] += law.margin_px  # theirs are without the margin that is added to them
    drawn = torch.from_numpy(many["n_rects"]) > 0  # without rectangles no bounds are stored
    assert drawn.sum() > 2
    assert torch.equal(bounds[drawn], wanted[drawn])


@pytest.mark.golden
def test_rectangles_follow_the_published_law(golden):
    arrays, count = golden("mddpm_rectangles"), 2000
    brain = torch.from_numpy(arrays["brain_mask"]).bool().expand(count, 1, -1, -1)
    masks = draw_masks(MaskLaw(), brain, rng=streams(count))
    width, height = (masks.boxes[..., 2:] - masks.boxes[..., :2]).unbind(2)
    used = width > 0
    numbers = used.sum(1).bincount(minlength=6) / count
    assert (numbers - 1 / 6).abs().max() < 4 * math.sqrt(5 / 36 / count)
    low, high = arrays["len_min_max"].tolist()
    for side in (width, height):
        lengths = side[used]
        assert (lengths.min(), lengths.max()) == (low, high)
        share = lengths.bincount(minlength=high + 1)[low:] / len(lengths)
        p = 1 / (high - low + 1)
        assert (share - p).abs().max() < 4 * math.sqrt(p * (1 - p) / len(lengths))
    for start, name in ((masks.boxes[..., 1], "row"), (masks.boxes[..., 0], "col")):
        first, last = arrays[f"{name}_start_min_max"].tolist()
        assert start[used].min() >= first
        assert start[used].max() <= last
        error = 4 * (last - first) / math.sqrt(12 * int(used.sum()))
        assert start[used].double().mean().item() == pytest.approx((first + last) / 2, abs=error)
    chosen = union(masks.boxes, brain.float()) & brain
    share = chosen.flatten(1).sum(1) / brain[0].sum()
    error = float(arrays["replaced_brain_share_std"]) * math.sqrt(
        1 / count + 1 / int(arrays["n_samples"])
    )
    assert abs(share.mean().item() - float(arrays["replaced_brain_share_mean"])) < 4 * error


@pytest.mark.parametrize(
    "brain",
    [
        torch.zeros(1, 1, 64, 64, dtype=torch.bool),
        (torch.arange(64) < 11).expand(1, 1, 64, 64),
        (torch.arange(64) < 11).expand(1, 1, 64, 64).transpose(2, 3),
    ],
    ids=["empty", "few columns", "few rows"],
)
def test_brains_without_room_are_left_unmasked(brain):
    many = brain.expand(50, -1, -1, -1)
    assert (draw_masks(MaskLaw(), many, rng=streams(50)).boxes == 0).all()
    x = 0.5 * many.float()
    for mode in ("ipm", "fpm_cm"):
        masks = draw_masks(MaskLaw(), many, rng=streams(50))
        assert torch.equal(MASKINGS[mode](x, many, masks), x)


def test_masks_of_an_image_do_not_depend_on_its_batch():
    brain = torch.ones(4, 1, 64, 48, dtype=torch.bool)
    brain[2, ..., :20] = False
    seeds = (3, 5, 7, 9)
    whole = draw_masks(MaskLaw(), brain, rng=Rng(seeds))
    for n, seed in enumerate(seeds):
        alone = draw_masks(MaskLaw(), brain[n : n + 1], rng=Rng([seed]))
        for name in ("boxes", "radius", "low_kept"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[n])


def test_filters_follow_their_law():
    brain = torch.ones(900, 1, 4, 4, dtype=torch.bool)
    law = MaskLaw(radius_min=3, radius_max=5, low_kept=0.25)
    masks = draw_masks(law, brain, rng=streams(900))
    assert set(masks.radius.tolist()) == {3, 4, 5}
    share = masks.low_kept.float().mean().item()
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 900))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"rectangles": -1}, "-1 rectangles"),
        ({"margin_px": -2}, "margin -2 px"),
        ({"longest": 0.0}, r"a share in \(0, 1\]"),
        ({"radius_min": 0}, "radius 0 to 10"),
        ({"radius_max": 1}, "radius_min <= radius_max"),
        ({"low_kept": 1.5}, r"low_kept 1\.5"),
    ],
)
def test_impossible_laws_are_refused(wrong, match):
    with pytest.raises(UsageError, match=match):
        MaskLaw(**wrong)


def test_blobs_are_wide_enough_to_be_masked():
    """The other tests of mDDPM use them; a law that never masks them would test nothing."""
    batch = testing.Blobs(12, "axial").get(range(12))
    law = MaskLaw(margin_px=1)
    assert (draw_masks(law, batch.brain, rng=batch.rng(0)).boxes > 0).any()
