"""Changes of training images: each is what it says, seeded per image, and keeps the background."""

import dataclasses
import math

import pytest
import torch

from brainuad.augment import Augment, augment, moved, places, rotation
from brainuad.rng import Rng
from brainuad.types import UsageError

NOTHING = {f.name: 0.0 for f in dataclasses.fields(Augment)} | {
    "mirror": False,
    "constant": False,
    "probability": 1.0,
    "bias_probability": None,
    "blur_probability": None,
}


def only(**options) -> Augment:
    return Augment(**{**NOTHING, **options})


def phantoms(batch: int, *space: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images in a round brain."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in space), indexing="ij")
    brain = (torch.stack(axes).square().sum(0) < 0.6).expand(batch, 1, *space)
    x = 0.5 + 0.3 * torch.sin(3 * axes[0] + 0.5) * torch.cos(2 * axes[1])
    return x * brain, brain


def streams(count: int) -> Rng:
    return Rng.named(0, [f"image-{i}" for i in range(count)])


@pytest.mark.parametrize("space", [(32, 40), (10, 12, 14)])
def test_images_stay_in_range_with_an_empty_background(space):
    x, brain = phantoms(6, *space)
    y, moved_brain = augment(x, brain, Augment(), rng=streams(6))
    assert (y.shape, moved_brain.shape) == (x.shape, brain.shape)
    assert not y[~moved_brain].any()
    assert y.min() >= 0
    assert y.max() <= 1
    assert (y != x).flatten(1).any(1).sum() >= 5


def test_nothing_asked_for_changes_nothing():
    x, brain = phantoms(3, 16, 20)
    y, same = augment(x, brain, only(), rng=streams(3))
    assert torch.equal(y, x)
    assert torch.equal(same, brain)


def test_the_input_is_not_touched():
    x, brain = phantoms(4, 16, 20)
    before, brain_before = x.clone(), brain.clone()
    augment(x, brain, Augment(probability=1.0), rng=streams(4))
    assert torch.equal(x, before)
    assert torch.equal(brain, brain_before)


def test_an_image_does_not_depend_on_its_batch():
    x, brain = phantoms(4, 24, 20)
    seeds = (2, 4, 6, 8)
    together, brains = augment(x, brain, Augment(), rng=Rng(seeds))
    for i, seed in enumerate(seeds):
        alone, one = augment(x[i : i + 1], brain[i : i + 1], Augment(), rng=Rng([seed]))
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)
        assert torch.equal(one[0], brains[i])


@pytest.mark.parametrize("space", [(9, 12), (8, 7), (6, 5, 4)])
def test_mirror_swaps_left_and_right(space):
    x = torch.rand(1, 1, *space, generator=torch.Generator().manual_seed(0))
    brain = x > 0.3
    x = x * brain
    seen = set()
    for seed in range(40):
        y, b = augment(x, brain, only(mirror=True, probability=0.5), rng=Rng([seed]))
        swapped = not torch.equal(b, brain)
        seen.add(swapped)
        wanted, wanted_brain = (x.flip(2), brain.flip(2)) if swapped else (x, brain)
        torch.testing.assert_close(y, wanted, atol=1e-5, rtol=0)
        assert torch.equal(b, wanted_brain)
    assert seen == {True, False}


def test_shift_moves_the_centre_by_up_to_its_limit_on_both_axes():
    space = (32, 40)
    brain = torch.zeros(1, 1, *space, dtype=torch.bool)
    brain[..., 10:20, 14:28] = True
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in space), indexing="ij"))
    x, centres = brain.float(), []
    for seed in range(60):
        y, _ = augment(x, brain, only(translation_px=4.0), rng=Rng([seed]))
        centres.append((y[0] * grid).flatten(1).sum(1) / y.sum())
    shifts = torch.stack(centres) - (x[0] * grid).flatten(1).sum(1) / x.sum()
    assert shifts.abs().max() <= 4.6
    assert (shifts.max(0).values > 2).all()
    assert (shifts.min(0).values < -2).all()


def test_quarter_turn_of_a_square_is_exact():
    x = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    turn = rotation(torch.tensor([math.pi / 2]), 2, 0, 1)
    places = torch.cat([turn, torch.zeros(1, 2, 1)], dim=2)
    y = moved(x, places, "bilinear")
    torch.testing.assert_close(y[0, 0], torch.rot90(x[0, 0], -1), atol=1e-5, rtol=0)


def test_rotation_keeps_sizes_on_images_that_are_not_square():
    space = (40, 64)
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in space), indexing="ij")
    disc = ((axes[0] ** 2 + axes[1] ** 2) < 12**2).float()[None, None]
    y, _ = augment(disc, disc > 0, only(rotation_deg=40.0), rng=Rng([1]))
    assert (y - disc).abs().mean() < 0.02  # in stretched coordinates the disc would be an ellipse


def test_intensity_changes_leave_the_brain_where_it_is():
    x, brain = phantoms(5, 16, 20)
    options = only(brightness=0.1, contrast=0.2, gamma=0.2, bias=0.2, noise=0.05)
    y, same = augment(x, brain, options, rng=streams(5))
    assert torch.equal(same, brain)
    assert (y != x).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"brightness": 0.1}, lambda x, y: (y - x).std() < 1e-5),
        ({"contrast": 0.2}, lambda x, y: ((y - 0.5) / (x - 0.5)).std() < 1e-2),
        ({"gamma": 0.2}, lambda x, y: (y.log() / x.log()).std() < 1e-3),
        ({"bias": 0.2}, lambda x, y: 0.01 < (y / x).log().std() < 0.3),
        ({"noise": 0.05}, lambda x, y: 1e-4 < (y - x).std() < 0.06),
        ({"blur_px": 2.0}, lambda x, y: 1e-6 < (y - x).std() < 0.2),
        ({"ghosting": 0.5}, lambda x, y: 0 < (y - x).std() < 0.3),
    ],
)
def test_each_intensity_change_follows_its_law(options, law):
    x, brain = phantoms(8, 24, 20)
    y, _ = augment(x, brain, only(**options), rng=streams(8))
    for one, changed, inside in zip(x, y, brain, strict=True):
        safe = inside & ((one - 0.5).abs() > 0.05)
        assert law(one[safe], changed[safe])
        assert not torch.equal(one, changed)


def test_amounts_differ_between_images_and_uses():
    x, brain = phantoms(2, 16, 20)
    rng = streams(2)
    first, _ = augment(x, brain, only(brightness=0.1), rng=rng.fork(0))
    second, _ = augment(x, brain, only(brightness=0.1), rng=rng.fork(1))
    assert not torch.allclose(first[0], first[1])
    assert not torch.allclose(first, second)


def test_zoom_changes_the_size_alike_along_all_axes():
    x, brain = phantoms(16, 48, 40)
    _, grown = augment(x, brain, only(zoom=0.3), rng=streams(16))
    for before, after in zip(brain, grown, strict=True):
        sides = [[int(b.any(1 - a).sum()) for a in (0, 1)] for b in (before[0], after[0])]
        ratio = [b / a for a, b in zip(*sides, strict=True)]
        assert 0.7 < ratio[0] < 1 / 0.65
        assert ratio[0] == pytest.approx(ratio[1], abs=0.09)
    assert len({int(b.sum()) for b in grown}) > 8


WRONG = [{"rotation_deg": -1.0}, {"probability": 1.5}, {"ghosting": 1.1}, {"zoom": 1.0}]


@pytest.mark.parametrize("wrong", WRONG)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UsageError, match=rf"{next(iter(wrong))}.*use sizes of at least 0"):
        Augment(**wrong)


def test_neighbours_keep_their_own_background():
    """A missing neighbour stays missing; one with a larger brain than the slice shows all of it."""
    slice_, brain = phantoms(6, 32, 40)
    larger = slice_.clamp(min=0.1) * (torch.arange(32) > 2)[:, None]
    x = torch.cat([torch.zeros_like(slice_), slice_, larger], dim=1)
    bright = only(brightness=0.4)
    y, same = augment(x, brain, bright, rng=streams(6))
    assert torch.equal(same, brain)
    assert not y[:, 0].any()
    assert not y[:, 1][~brain[:, 0]].any()
    assert not y[:, 2, :3].any()
    alone, _ = augment(slice_, brain, bright, rng=streams(6))
    torch.testing.assert_close(y[:, 1:2], alone)
    changed = (y[:, 2] - larger[:, 0])[:, 3:]
    assert (changed.abs() > 0).flatten(1).all(1).any()


# Changes of published systems


def test_constant_moves_are_four_and_happen_half_the_time_each():
    """On or off: one rotation, one shift along both axes; nothing between, nothing else."""
    options = only(rotation_deg=5.0, translation_px=8.0, constant=True, probability=0.5)
    found = places(400, 2, options, streams(400))
    kinds = {tuple(round(v, 5) for v in one.flatten().tolist()) for one in found}
    cos, sin = (round(f(math.radians(5)), 5) for f in (math.cos, math.sin))
    turned = {0: (1.0, 0.0, 0.0, 1.0), 1: (cos, -sin, sin, cos)}
    wanted = {(a, b, shift, c, d, shift) for a, b, c, d in turned.values() for shift in (0.0, 8.0)}
    assert kinds == wanted
    turns, shifts = found[:, 0, 1] != 0, found[:, 0, 2] != 0
    for share, expected in (
        (turns, 0.5),
        (shifts, 0.5),
        (turns & shifts, 0.25),
    ):
        assert float(share.float().mean()) == pytest.approx(expected, abs=0.08)


def test_without_the_flag_moves_lie_between():
    options = only(rotation_deg=5.0, translation_px=8.0, probability=1.0)
    shifts = places(200, 2, options, streams(200))[:, :, 2]
    assert len({round(v, 4) for v in shifts.flatten().tolist()}) > 300
    assert shifts.abs().max() <= 8


def test_constant_colours_stay_random():
    x, brain = phantoms(40, 12, 12)
    options = only(brightness=0.1, constant=True)
    y, _ = augment(x, brain, options, rng=streams(40))
    inside = torch.tensor([float((b - a)[c].mean()) for a, b, c in zip(x, y, brain, strict=True)])
    assert len({round(float(v), 4) for v in inside}) > 30


def test_bias_and_blur_can_be_rarer_than_the_rest():
    x, brain = phantoms(400, 16, 16)
    for name, size, share in (("bias", 0.5, 0.25), ("blur_px", 2.0, 0.1), ("gamma", 0.3, 0.5)):
        options = only(**{name: size}, probability=0.5, bias_probability=0.25, blur_probability=0.1)
        y, _ = augment(x, brain, options, rng=streams(400))
        changed = ((y - x).abs() > 1e-5).flatten(1).any(1).float().mean()
        assert float(changed) == pytest.approx(share, abs=0.07)


def test_ghosts_have_at_least_the_least_strength():
    options = only(ghosting=1.0, ghosting_least=0.5, probability=0.5)
    seen = []

    def note(x, strength, *, ghosts, rng):
        seen.append(strength)
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainuad.augment.ghosted", note)
        x, brain = phantoms(400, 12, 12)
        augment(x, brain, options, rng=streams(400))
    (strength,) = seen
    assert len(strength) == pytest.approx(200, abs=30)
    assert 0.5 <= strength.min() < 0.53
    assert 0.97 < strength.max() <= 1
    assert float(strength.mean()) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ghosting": 0.5, "ghosting_least": 0.6},
        {"bias_probability": 1.5},
        {"blur_probability": -0.1},
    ],
)
def test_shares_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match=f"{[*wrong][-1]}.*; use sizes of at least 0"):
        Augment(**wrong)
