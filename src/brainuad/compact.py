"""The compact encoder and decoder that autoencoder and VAE share: an image to a small code, back.

Written after the comparison of Baur et al. 2021 (Medical Image Analysis 69:101952): strided
convolutions to about 8 x 8 cells, then one vector or the cells themselves.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.layers import Layers, Maps, padded
from brainuad.types import PerItem, UsageError

Code = Float[Tensor, "batch _ *cells"]
"""One vector per image, or channels on a small grid."""
CodeKind = Literal["dense", "spatial"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactOptions:
    """Sizes of the encoder and, in reverse, the decoder."""

    channels: int = 1
    """Channels of the image."""
    widths: tuple[int, ...] = (32, 64, 128, 128)
    """Channels of each level, finest first; each level halves the image."""
    kernel: int = 5
    """Edge of the strided convolutions in pixels, odd."""
    code_channels: int = 16
    """Channels of the smallest grid."""
    code_size: int = 128
    """Length of the vector of a dense code."""
    cells: tuple[int, int] = (8, 8)
    """Grid that a dense code is read from and written to; the encoder's grid is stretched to it."""
    norm: Literal["group", "batch"] = "group"
    """Group norm treats each image on its own; batch norm, as published, couples the images of a
    training batch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.channels, *self.widths, self.code_channels, self.code_size, *self.cells)
        if not self.widths or min(sizes) < 1:
            raise UsageError(
                f"compact net: widths {self.widths}, code of {self.code_channels} channels or "
                f"{self.code_size} numbers on {self.cells} cells; use at least one level and "
                "numbers above 0"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"compact net: kernel {self.kernel}; use an odd number")


def kl_to_standard(mean: Code, logvar: Code) -> PerItem:
    """Divergence of N(mean, exp(logvar)) from the standard normal, mean over the code's numbers.

    References:
        Kingma and Welling 2014, ICLR, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).mean(1)


def activated(convolution: nn.Module, width: int, norm: str) -> list[nn.Module]:
    """A convolution, its norm and a leaky rectifier."""
    normed = nn.BatchNorm2d(width) if norm == "batch" else Layers(groups=8).norm(width)
    return [convolution, normed, nn.LeakyReLU(0.2)]


def encoder(options: CompactOptions, channels_out: int) -> nn.Sequential:
    """Image to the smallest grid, with ``channels_out`` channels."""
    k, layers = options.kernel, []
    for a, b in pairwise((options.channels, *options.widths)):
        layers += activated(nn.Conv2d(a, b, k, stride=2, padding=k // 2), b, options.norm)
    return nn.Sequential(*layers, nn.Conv2d(options.widths[-1], channels_out, 1))


def decoder(options: CompactOptions, channels_out: int) -> nn.Sequential:
    """The smallest grid to an image with ``channels_out`` channels."""
    widths, k = options.widths[::-1], options.kernel
    layers: list[nn.Module] = [nn.Conv2d(options.code_channels, widths[0], 1)]
    for a, b in pairwise((*widths, widths[-1])):
        up = nn.ConvTranspose2d(a, b, k, stride=2, padding=k // 2, output_padding=1)
        layers += activated(up, b, options.norm)
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels_out, 1))


class Compact(nn.Module):
    """Encoder and decoder around a code.

    Sizes that the levels do not divide are padded by repeating the border and cropped back.

    Args:
        options: sizes.
        kind: ``dense``: one vector per image; ``spatial``: the smallest grid itself.
        moments: how many codes the encoder gives: 1, or 2 for mean and log-variance.
        channels_out: channels of the decoder's image; those of the encoder's unless given.
    """

    def __init__(
        self,
        options: CompactOptions,
        *,
        kind: CodeKind = "dense",
        moments: int = 1,
        channels_out: int | None = None,
    ):
        super().__init__()
        self.options, self.kind = options, kind
        dense = kind == "dense"
        self.encoder = encoder(options, options.code_channels * (1 if dense else moments))
        self.decoder = decoder(options, channels_out or options.channels)
        flat = options.code_channels * options.cells[0] * options.cells[1]
        self.into = nn.Linear(flat, moments * options.code_size) if dense else nn.Identity()
        self.out_of = nn.Linear(options.code_size, flat) if dense else nn.Identity()

    @property
    def factor(self) -> int:
        """Pixels that a cell of the smallest grid covers along each axis."""
        return 2 ** len(self.options.widths)

    def encode(self, x: Maps) -> Code:
        """The code of each image; with two moments mean and log-variance, one after the other."""
        grid = self.encoder(padded(x, self.factor))
        if self.kind == "spatial":
            return grid
        return self.into(stretched(grid, self.options.cells).flatten(1))

    def decode(self, code: Code, space: tuple[int, ...]) -> Maps:
        """Images of the size ``space``."""
        if self.kind == "dense":
            cells = self.out_of(code).unflatten(1, (self.options.code_channels, -1))
            wanted = tuple(-(-size // self.factor) for size in space)
            code = stretched(cells.unflatten(2, self.options.cells), wanted)
        return self.decoder(code)[(..., *map(slice, space))]


def stretched(grid: Maps, size: tuple[int, ...]) -> Maps:
    """The grid at another size, linearly; itself where it has that size already."""
    if tuple(grid.shape[2:]) == tuple(size):
        return grid
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=True)
