"""The denoising net against the stated layers, and what holds for it at every size."""

import warnings

import pytest
import torch

from brainuad.networks import (
    DenoisingUNet,
    DenoisingUNetOptions,
    StandardisedConvolution,
    denoising_unet,
    image_encoder,
    middle_divisor,
)
from brainuad.types import UsageError


def net(**options) -> DenoisingUNet:
    torch.manual_seed(0)
    return denoising_unet(DenoisingUNetOptions(**{"widths": (4, 8), **options})).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def expected_count(widths: tuple[int, ...]) -> int:
    """Weights of the stated layers: two 3x3 per block, 2x2 up, biases, a norm after each."""

    def block(a: int, b: int) -> int:
        return 9 * a * b + b + 9 * b * b + b + 4 * b

    down = sum(block(a, b) for a, b in zip((1, *widths), widths, strict=False))
    up = sum(4 * a * b + b + block(2 * b, b) for a, b in zip(widths[1:], widths[:-1], strict=True))
    return down + up + widths[0] + 1


@pytest.mark.parametrize("widths", [(64, 128, 256, 512), (16, 32, 64, 128), (8,)])
def test_net_has_the_stated_layers(widths):
    with torch.device("meta"):
        assert count(net(widths=widths)) == expected_count(widths)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (128, 16), (256, 16), (512, 32), (7, 7)])
def test_groups_follow_the_stated_rule(channels, groups):
    assert middle_divisor(channels) == groups


@pytest.mark.parametrize("space", [(8, 12), (7, 9), (5, 8), (4, 6, 8)])
def test_output_has_the_size_of_the_input(space):
    made = net(channels=2, dimensions=len(space))
    x = images(2, 2, *space)
    assert made(x).shape == x.shape


def test_default_net_takes_slices_of_the_usual_grid():
    with torch.device("meta"):
        assert denoising_unet()(torch.zeros(1, 1, 80, 96)).shape == (1, 1, 80, 96)


def test_each_image_is_on_its_own():
    made, x = net(), images(3, 1, 8, 12)
    alone = torch.cat([made(one[None]) for one in x])
    torch.testing.assert_close(made(x), alone, atol=1e-5, rtol=1e-5)


def test_filters_are_standardised_so_their_scale_and_shift_say_nothing():
    torch.manual_seed(0)
    layer, x = StandardisedConvolution(2, 3, 2), images(1, 2, 6, 7)
    before = layer(x)
    with torch.no_grad():
        layer.conv.weight.mul_(5).add_(2)
    torch.testing.assert_close(layer(x), before, atol=1e-3, rtol=1e-3)


def test_a_constant_image_gives_only_the_bias_even_at_the_border():
    """Filters of mean 0 see nothing in a constant image; a zero border would show."""
    torch.manual_seed(0)
    layer = StandardisedConvolution(1, 3, 2)
    out = layer(torch.full((1, 1, 6, 7), 2.0))
    wanted = layer.conv.bias[None, :, None, None].expand_as(out)
    torch.testing.assert_close(out, wanted, atol=1e-4, rtol=0)


def test_too_small_images_are_refused():
    with pytest.raises(UsageError, match="image of 4 x 9 is too small for 3 levels; use fewer"):
        net(widths=(4, 4, 4))(images(1, 1, 4, 9))


@pytest.mark.parametrize("wrong", [{"widths": ()}, {"widths": (4, 0)}, {"channels": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UsageError, match="use at least one level and numbers above 0"):
        DenoisingUNetOptions(**wrong)


def test_a_small_net_learns_to_denoise():
    made = net()
    clean = torch.linspace(0, 1, 16).expand(4, 1, 16, 16)
    noisy = clean + 0.2 * images(4, 1, 16, 16)
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = (made(noisy) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2**2 / 2


@pytest.mark.slow
def test_image_encoder_has_the_stated_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        with torch.device("meta"):
            encoder = image_encoder(features=512)
    assert count(encoder) == 24_550_848
