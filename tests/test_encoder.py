"""Encoders see what they may see, and learn from what they may not."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.encoder import (
    Encoder,
    EncoderOptions,
    Pretraining,
    PretrainOptions,
    SparseBatchNorm,
    SparseGroupNorm,
    hidden_error,
    only,
    spread,
)
from brainuad.rng import Rng
from brainuad.types import UsageError

STATED = 14_462_545
"""Parameters of the published decoder with its densification."""


def encoder(*widths: int, features: int = 5) -> Encoder:
    torch.manual_seed(0)
    options = EncoderOptions(kind="small", widths=widths or (4, 8))
    return Encoder(options, features=features).eval()


def pretraining(cell_px: int = 8, visible: float = 0.35, **options) -> Pretraining:
    made = encoder(**options)
    return Pretraining(made, PretrainOptions(cell_px=cell_px, visible=visible))


def resnet(features: int = 8) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        return Encoder(EncoderOptions(), features=features)


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_cells() -> torch.Tensor:
    return torch.tensor([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 1, 1]]]).bool()[:, None]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Encoders


@pytest.mark.parametrize("shape", [(32, 48), (33, 47)])
def test_small_encoder_gives_each_slice_a_vector_of_its_own(shape):
    x, net = images(3, 1, *shape), encoder(4, 8, 16)
    whole = net(x)
    assert whole.shape == (3, 5)
    for n in range(3):
        torch.testing.assert_close(net(x[n : n + 1]), whole[n : n + 1])


def test_small_encoder_is_independent_of_the_batch_in_training_too():
    x, net = images(2, 1, 32, 32), encoder().train()
    torch.testing.assert_close(net(x)[:1], net(x[:1]))


def test_small_encoder_knows_the_brightness_of_a_slice():
    """A norm of one channel per group would make all flat slices alike."""
    net = encoder()
    dark, bright = (net(torch.full((1, 1, 32, 32), value)) for value in (0.2, 0.8))
    assert (dark - bright).abs().max() > 1e-3


@pytest.mark.slow
def test_resnet_and_its_decoder_have_the_stated_parameters():
    with torch.device("meta"):
        made = resnet(features=512)
        whole = Pretraining(made, PretrainOptions())
    assert count(made) == 24_550_848
    assert count(whole) - count(made) == STATED


@pytest.mark.slow
def test_resnet_is_that_of_monai_and_of_one_slice_at_a_time():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brainuad.networks import image_encoder

        torch.manual_seed(3)
        published = image_encoder(features=8)
    torch.manual_seed(3)
    ours, x = resnet(), images(2, 1, 64, 64)
    torch.testing.assert_close(ours.train()(x), published.train()(x))
    ours, published = ours.eval(), published.eval()
    torch.testing.assert_close(ours(x), published(x))
    torch.testing.assert_close(ours(x[:1]), ours(x)[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_resnet_sees_visible_cells_only():
    made = resnet().train()
    check_hidden_pixels_change_nothing(made, 32)


@pytest.mark.parametrize("wrong", [{"widths": ()}, {"widths": (4, 0)}, {"drop": 1.0}])
def test_impossible_encoders_are_refused(wrong):
    with pytest.raises(UsageError, match="use at least one level and numbers above 0"):
        EncoderOptions(**wrong)


# Stochastic depth


def dropping(drop: float) -> Encoder:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        return Encoder(EncoderOptions(kind="small", widths=(4, 8, 8), drop=drop), features=5)


def test_branches_are_skipped_image_by_image_and_scaled_up_where_they_are_not():
    net = dropping(0.4).train()
    x, shares = images(600, 1, 16, 16), []
    levels: Any = net.levels
    for level in levels:
        body = nn.Sequential(*list(level.branch)[:5])
        h = level.shrink(x)
        branch, found = body(h), level(x) - h
        skipped = (found.abs().flatten(1).amax(1) == 0).float()
        shares.append(float(skipped.mean()))
        keep = 1 - 0.4 * (len(shares) - 1) / 2
        expected = branch / keep * (1 - skipped)[:, None, None, None]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        x = h
    assert shares == pytest.approx([0.0, 0.2, 0.4], abs=0.06)


def test_in_detection_nothing_is_skipped_and_the_weights_are_the_same():
    plain, net, x = dropping(0.0).eval(), dropping(0.4).eval(), images(3, 1, 32, 32)
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net(x), plain(x))


@pytest.mark.slow
def test_resnet_skips_its_branches_ever_more_often():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        net = Encoder(EncoderOptions(drop=0.05), features=8)
    shares = [m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"]
    assert shares == pytest.approx([0.05 * n / 15 for n in range(16)])
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(isinstance(m, SparseBatchNorm) for m in norms)
    plain = resnet().eval()
    names = {k.replace("bn3.0.", "bn3."): v for k, v in net.state_dict().items()}
    plain.load_state_dict(names)
    x = images(2, 1, 64, 64)
    torch.testing.assert_close(net.eval()(x), plain(x))


# Visible cells


def check_hidden_pixels_change_nothing(net: Encoder, cell_px: int) -> None:
    cells = some_cells()
    x, other = (images(2, 1, 2 * cell_px, 3 * cell_px, seed=s) for s in (1, 2))
    seen = spread(cells, x) > 0
    first, second = (net.maps(y, cells) for y in (x, torch.where(seen, x, other)))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
        assert (a.movedim(1, 3)[spread(cells, a)[:, 0] == 0] == 0).all()
        assert (a != 0).any()


def test_small_encoder_sees_visible_cells_only():
    check_hidden_pixels_change_nothing(encoder(4, 8, 16), 8)


def test_with_every_cell_visible_the_maps_are_the_ordinary_ones():
    net, x = encoder(), images(2, 1, 16, 24)
    cells = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    for sparse, dense in zip(net.maps(x, cells), net.maps(x), strict=True):
        torch.testing.assert_close(sparse, dense)


def test_nothing_is_left_of_the_cells_afterwards():
    net, x = encoder(), images(2, 1, 16, 24)
    before = net(x)
    net.maps(x, some_cells())
    assert torch.equal(net(x), before)

    def fail():
        with only(net, some_cells()):
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        fail()
    assert torch.equal(net(x), before)


def test_group_norm_of_visible_sites_is_the_norm_of_a_smaller_image():
    norm, x = SparseGroupNorm(2, 6), images(1, 6, 4, 4)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    cells = torch.tensor([[True, False]]).expand(1, 1, 1, 2)
    with only(norm, cells):
        found = norm(x)
    torch.testing.assert_close(found[..., :2], norm(x[..., :2]), atol=1e-5, rtol=1e-5)
    assert (found[..., 2:] == 0).all()


def test_batch_norm_of_visible_sites_is_the_norm_of_a_smaller_image():
    norm, other, x = SparseBatchNorm(3), nn.BatchNorm2d(3), images(2, 3, 4, 4)
    cells = torch.tensor([[True, False]]).expand(2, 1, 1, 2)
    with only(norm, cells):
        found = norm(x)
    torch.testing.assert_close(found[..., :2], other(x[..., :2]), atol=1e-5, rtol=1e-5)
    assert (found[..., 2:] == 0).all()
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    torch.testing.assert_close(norm.running_var, other.running_var)


# Pre-training


def test_exactly_three_of_nine_cells_are_visible_and_others_in_each_image():
    x = torch.zeros(90, 1, 96, 96)
    made = pretraining(cell_px=32)
    cells = made.draw_cells(x, rng=Rng(range(90)))
    assert cells.shape == (90, 1, 3, 3)
    assert (cells.flatten(1).sum(1) == 3).all()
    assert len(cells.flatten(1).unique(dim=0)) > 40
    assert torch.equal(cells[4:5], made.draw_cells(x[:1], rng=Rng([4])))
    mean = cells.float().mean(0)
    assert (mean - 1 / 3).abs().max() < 4 * (2 / 9 / 90) ** 0.5


@pytest.mark.parametrize(("visible", "number"), [(0.01, 1), (0.99, 5)])
def test_one_cell_at_least_is_visible_and_one_is_not(visible, number):
    made = pretraining(visible=visible)
    cells = made.draw_cells(torch.zeros(2, 1, 15, 24), rng=Rng([1, 2]))
    assert (cells.flatten(1).sum(1) == number).all()


def test_visible_cells_cost_nothing_and_hidden_ones_their_mean_square():
    cells, x = some_cells(), images(2, 1, 16, 24)
    painted = torch.zeros_like(x, requires_grad=True)
    error = hidden_error(painted, x, cells)
    hidden = spread(cells, x) == 0
    expected = [x[n][hidden[n]].square().mean() for n in range(2)]
    torch.testing.assert_close(error, torch.stack(expected))
    error.sum().backward()
    assert painted.grad is not None
    assert (painted.grad[~hidden] == 0).all()
    assert (painted.grad[hidden] != 0).all()


def test_paint_does_not_know_what_is_hidden():
    made, cells = pretraining().eval(), some_cells()
    x, other = images(2, 1, 16, 24), images(2, 1, 16, 24, seed=2)
    seen = spread(cells, x) > 0
    assert torch.equal(made(x, cells), made(torch.where(seen, x, other), cells))
    assert not torch.equal(made(x, cells), made(other, cells))


def test_slices_that_cells_do_not_divide_are_padded():
    loss = pretraining().loss(images(2, 1, 17, 30), rng=Rng([1, 2]))
    assert loss.shape == (2,)
    assert torch.isfinite(loss).all()


def test_pretraining_learns_to_paint():
    batch = testing.Blobs(8, "axial").get(range(8))
    made = pretraining().train()
    adam = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        loss = made.loss(batch.x, rng=batch.rng(0, step)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    constant = batch.x.var().item()  # of the best paint that is one grey for all
    assert sum(losses[-5:]) / 5 < 0.5 * constant
    assert all(p.grad is not None for p in made.encoder.levels.parameters())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"cell_px": 10}, "cells of 10 px, .* a multiple of the encoder's stride 4"),
        ({"visible": 0.0}, r"visible share 0\.0"),
        ({"visible": 1.0}, "a share between 0 and 1"),
    ],
)
def test_impossible_pretrainings_are_refused(wrong, match):
    with pytest.raises(UsageError, match=match):
        pretraining(**wrong)


def test_an_image_of_one_cell_is_refused():
    with pytest.raises(UsageError, match="8 x 7 px is a single cell of 8 px; use smaller cells"):
        pretraining().loss(images(1, 1, 8, 7), rng=Rng([1]))
