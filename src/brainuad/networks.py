"""Small convolutional nets behind frozen options, and the nets that MONAI has ready.

The only importer of MONAI, and only when one of its nets is asked for: importing it takes seconds.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from brainuad.layers import Maps, padded
from brainuad.types import UsageError


@dataclass(frozen=True, kw_only=True)
class DenoisingUNetOptions:
    """The net of the denoising autoencoder (Kascenas et al., MIDL 2022)."""

    channels: int = 1
    """Channels of the image."""
    outputs: int | None = None
    """Channels of the result; None: as many as the image has."""
    dimensions: Literal[2, 3] = 2
    """Space axes: 2 for slices, 3 for volumes."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each level, finest first; each level but the first halves the image."""
    blocks: Literal["standardised", "plain"] = "standardised"
    """Layers of a block, twice: filters of mean 0 and deviation 1, swish and group norm, growing by
    transposed convolution, as published; or filter, group norm and swish, growing by repetition."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not self.widths or min(self.channels, self.outputs or 1, *self.widths) < 1:
            raise UsageError(
                f"denoising net: widths {self.widths} on {self.channels} channels; use at least "
                "one level and numbers above 0"
            )


def middle_divisor(channels: int) -> int:
    """The divisor in the middle of all divisors, the upper one of two: 8 for 64, 16 for 128."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    return divisors[len(divisors) // 2]


class StandardisedConvolution(nn.Module):
    """3-wide convolution whose filters have mean 0 and standard deviation 1; mirrored border."""

    def __init__(self, c_in: int, c_out: int, dimensions: int):
        super().__init__()
        self.conv = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions](c_in, c_out, 3)
        self.apply_to = {2: F.conv2d, 3: F.conv3d}[dimensions]

    def forward(self, x: Maps) -> Maps:
        """The filtered image, in its own size."""
        weight = self.conv.weight
        axes = tuple(range(1, weight.ndim))
        spread, mean = torch.std_mean(weight, dim=axes, keepdim=True)
        wide = F.pad(x, [1, 1] * (x.ndim - 2), mode="reflect")
        return self.apply_to(wide, (weight - mean) / (spread + 1e-5), self.conv.bias)


def block(c_in: int, c_out: int, dimensions: int, kind: str = "standardised") -> nn.Sequential:
    """Twice: filter, swish and group norm, in the order of the kind."""
    layers: list[nn.Module] = []
    for channels in (c_in, c_out):
        if kind == "plain":
            filters = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
            norm = nn.GroupNorm(math.gcd(8, c_out), c_out)
            layers += [filters(channels, c_out, 3, padding=1, bias=False), norm, nn.SiLU()]
            continue
        layers += [
            StandardisedConvolution(channels, c_out, dimensions),
            nn.SiLU(),
            nn.GroupNorm(middle_divisor(c_out), c_out),
        ]
    return nn.Sequential(*layers)


class DenoisingUNet(nn.Module):
    """U-Net without time: noisy image in, clean image out.

    Sizes that the levels do not divide are padded by repeating the border and cropped back.
    """

    def __init__(self, options: DenoisingUNetOptions):
        super().__init__()
        self.options = options
        d, widths, kind = options.dimensions, options.widths, options.blocks
        pool, up, last = {
            2: (nn.AvgPool2d, nn.ConvTranspose2d, nn.Conv2d),
            3: (nn.AvgPool3d, nn.ConvTranspose3d, nn.Conv3d),
        }[d]
        self.pool = pool(2)
        seen = pairwise((options.channels, *widths))
        self.down = nn.ModuleList(block(a, b, d, kind) for a, b in seen)
        coarse_first = list(pairwise(widths[::-1]))
        if kind == "plain":
            self.grow = nn.ModuleList(nn.Upsample(scale_factor=2) for _ in coarse_first)
            self.up = nn.ModuleList(block(a + b, b, d, kind) for a, b in coarse_first)
        else:
            self.grow = nn.ModuleList(up(a, b, 2, stride=2) for a, b in coarse_first)
            self.up = nn.ModuleList(block(2 * b, b, d) for _, b in coarse_first)
        self.out = last(widths[0], options.outputs or options.channels, 1)

    def forward(self, x: Maps) -> Maps:
        """The clean image in the size of ``x``.

        Raises:
            UsageError: an axis of less than two pixels at the coarsest level.
        """
        multiple = 2 ** (len(self.down) - 1)
        if min(x.shape[2:]) <= multiple:
            raise UsageError(
                f"denoising net: image of {' x '.join(map(str, x.shape[2:]))} is too small for "
                f"{len(self.down)} levels; use fewer widths or more than {multiple} pixels"
            )
        skips, h = [], padded(x, multiple)
        for level, down in enumerate(self.down):
            h = down(self.pool(h) if level else h)
            skips.append(h)
        for grow, up in zip(self.grow, self.up, strict=True):
            h = up(torch.cat([grow(h), skips[-2]], dim=1))
            skips.pop()
        return self.out(h)[(..., *map(slice, x.shape[2:]))]


def denoising_unet(options: DenoisingUNetOptions | None = None) -> DenoisingUNet:
    """The net of the denoising autoencoder."""
    return DenoisingUNet(options or DenoisingUNetOptions())


def image_encoder(*, features: int, channels: int = 1, drop: float = 0.0) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016) that makes one vector of ``features`` numbers per slice.

    The encoder of the condition in cDDPM (Behrendt et al. 2025). Its batch norm couples the images
    of a batch while training; in ``eval`` each is on its own.

    Args:
        features: length of the vector.
        channels: of the image.
        drop: probability that an image skips the last residual branch in training; it rises
            linearly from 0 in the first (stochastic depth, Huang et al., ECCV 2016).
    """
    from monai.networks.nets.resnet import ResNetBottleneck, resnet50

    net = resnet50(
        spatial_dims=2,
        n_input_channels=channels,
        num_classes=features,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
    )
    if drop:
        blocks = [m for m in net.modules() if isinstance(m, ResNetBottleneck)]
        for block, share in zip(blocks, rising(drop, len(blocks)), strict=True):
            block.bn3 = nn.Sequential(block.bn3, skipped_branch(share))
    return net


def rising(last: float, count: int) -> list[float]:
    """``count`` numbers from 0 up to ``last``, evenly spread; ``last`` alone where there is one."""
    return [last * n / (count - 1) if count > 1 else last for n in range(count)]


def skipped_branch(share: float) -> nn.Module:
    """Zeros for this share of the images in training, the others scaled up to the same mean."""
    from monai.networks.layers.drop_path import DropPath

    return DropPath(share)


def patch_critic(*, dimensions: int, channels: int, width: int, layers: int) -> nn.Module:
    """Patch discriminator (Isola et al., CVPR 2017): features of each layer, then its logits.

    Instance norm instead of the published batch norm keeps every image on its own.
    """
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    return PatchDiscriminator(
        spatial_dims=dimensions,
        in_channels=channels,
        channels=width,
        num_layers_d=layers,
        norm="INSTANCE",
    )
