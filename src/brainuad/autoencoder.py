"""The KL autoencoder of latent diffusion (Rombach et al., CVPR 2022) at published and small sizes.

Written here because no library offers the published layers: one more decoder block per level,
a non-linearity before the last convolution, and one quantisation convolution for both moments.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.compact import kl_to_standard
from brainuad.layers import Attention, Layers, Maps, Residual, Stage, Up
from brainuad.rng import Rng
from brainuad.types import Images, PerItem, UsageError

Latents = Float[Tensor, "batch latent *cells"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of an autoencoder."""

    width: int
    """Channels at the finest level."""
    multipliers: tuple[int, ...]
    """Channels of each level, finest first, as multiples of ``width``; each level but the first
    halves the image."""
    blocks: int
    """Residual blocks per encoder level; a decoder level has one more."""
    latent_channels: int = 4
    """Channels of the latent."""
    middle_attention: bool = True
    """One single-head self-attention in the middle of encoder and decoder."""
    groups: int = 8
    """Groups of the group norm, or their greatest common divisor with the channels."""
    fold: int = 1
    """Blocks of ``fold`` x ``fold`` pixels become channels before the first layer and pixels again
    after the last: small nets get several times faster on a CPU. 1 = off; 2-D only."""


PRESETS = {
    "kl-f8": Architecture(width=128, multipliers=(1, 2, 4, 4), blocks=2, groups=32),
    "kl-f4": Architecture(width=128, multipliers=(1, 2, 4), blocks=2, latent_channels=3, groups=32),
    "kl-f8-small": Architecture(width=32, multipliers=(1, 2, 2), blocks=1, fold=2),
    "kl-f4-small": Architecture(width=32, multipliers=(1, 2), blocks=1, fold=2),
    "tiny": Architecture(
        width=8, multipliers=(1, 1), blocks=1, latent_channels=2, middle_attention=False, fold=2
    ),
}
"""``kl-f8`` (83,649,253 parameters) and ``kl-f4`` are published; the others are ours, for a CPU."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions:
    """Which autoencoder: a preset, and what differs from it."""

    preset: Literal["kl-f8", "kl-f4", "kl-f8-small", "kl-f4-small", "tiny"] = "kl-f4-small"
    """Sizes by name; f8 halves the image three times, f4 twice."""
    channels: int = 1
    """Channels of the image."""
    dimensions: Literal[2, 3] = 2
    """Space axes: 2 for slices, 3 for volumes."""
    width: int | None = None
    """Channels at the finest level; None: as the preset."""
    multipliers: tuple[int, ...] | None = None
    """Channels of each level as multiples of ``width``; None: as the preset."""
    blocks: int | None = None
    """Residual blocks per encoder level; None: as the preset."""
    latent_channels: int | None = None
    """Channels of the latent; None: as the preset."""
    middle_attention: bool | None = None
    """Self-attention in the middle of encoder and decoder; None: as the preset."""
    groups: int | None = None
    """Groups of the group norm; None: as the preset."""
    fold: int | None = None
    """Edge of the pixel blocks that become channels; None: as the preset."""

    @property
    def architecture(self) -> Architecture:
        """The sizes that hold."""
        names = (field.name for field in fields(Architecture))
        given = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return replace(PRESETS[self.preset], **given)

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        a = self.architecture
        sizes = (self.channels, a.width, *a.multipliers, a.blocks, a.latent_channels, a.groups)
        if not a.multipliers or min(*sizes, a.fold) < 1:
            raise UsageError(
                f"autoencoder: {a} on {self.channels} channels; use at least one level and "
                "numbers above 0"
            )
        if a.fold > 1 and self.dimensions == 3:
            raise UsageError(
                f"autoencoder: fold {a.fold} in 3 dimensions; volumes are not folded, use fold 1"
            )


class Halve(nn.Module):
    """Strided convolution after one row and column of zeros at the end of each axis."""

    def __init__(self, channels: int, layers: Layers):
        super().__init__()
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[layers.dimensions]
        self.conv = kind(channels, channels, 3, stride=2)

    def forward(self, x: Maps) -> Maps:
        """The image at half its size."""
        return self.conv(F.pad(x, (0, 1) * (x.ndim - 2)))


def levels(widths: list[tuple[int, int]], blocks: int, layers: Layers) -> nn.ModuleList:
    """Residual blocks of each level, given its channels on the way in and out."""
    return nn.ModuleList(
        Stage([Residual(a if b == 0 else c, c, 0, layers) for b in range(blocks)])
        for a, c in widths
    )


def middle(channels: int, a: Architecture, layers: Layers) -> Stage:
    """Residual block, attention, residual block."""
    attention = [Attention(channels, 1, layers)] if a.middle_attention else []
    first, last = (Residual(channels, channels, 0, layers) for _ in range(2))
    return Stage([first, *attention, last])


class Encoder(nn.Module):
    """Image -> features of both posterior moments. Level 0 is the finest."""

    def __init__(self, channels: int, a: Architecture, layers: Layers):
        super().__init__()
        widths = [a.width * m for m in a.multipliers]
        self.stem = layers.convolution(channels, a.width)
        self.levels = levels(list(zip([a.width, *widths], widths, strict=False)), a.blocks, layers)
        self.resize = nn.ModuleList(Halve(w, layers) for w in widths[:-1])
        self.middle = middle(widths[-1], a, layers)
        last = layers.convolution(widths[-1], 2 * a.latent_channels)
        self.out = nn.Sequential(layers.norm(widths[-1]), nn.SiLU(), last)

    def forward(self, x: Maps) -> Maps:
        """Features at the size of the latent, twice its channels."""
        x = self.stem(x)
        for number, level in enumerate(self.levels):
            x = self.resize[number - 1](x) if number else x
            x = level(x)
        return self.out(self.middle(x))


class Decoder(nn.Module):
    """Latent -> image. Level 0 is the finest, and runs last."""

    def __init__(self, channels: int, a: Architecture, layers: Layers):
        super().__init__()
        widths = [a.width * m for m in a.multipliers]
        pairs = list(zip([*widths[1:], widths[-1]], widths, strict=True))
        self.stem = layers.convolution(a.latent_channels, widths[-1])
        self.middle = middle(widths[-1], a, layers)
        self.levels = levels(pairs, a.blocks + 1, layers)
        self.resize = nn.ModuleList(Up(w, layers) for w in widths[1:])
        last = layers.convolution(widths[0], channels)
        self.out = nn.Sequential(layers.norm(widths[0]), nn.SiLU(), last)

    def forward(self, z: Maps) -> Maps:
        """The image."""
        x = self.middle(self.stem(z))
        for number in reversed(range(len(self.levels))):
            x = self.levels[number](x)
            x = self.resize[number - 1](x) if number else x
        return self.out(x)


class Autoencoder(nn.Module):
    """Images to latents with a Gaussian posterior per cell, and back."""

    def __init__(self, options: AutoencoderOptions | None = None):
        super().__init__()
        self.options = options or AutoencoderOptions()
        a, channels = self.options.architecture, self.options.channels
        layers = Layers(
            dimensions=self.options.dimensions, groups=a.groups, eps=1e-6, zero_init=False
        )
        self.latent_channels: int = a.latent_channels
        self.factor: int = a.fold * 2 ** (len(a.multipliers) - 1)
        both = 2 * a.latent_channels
        self.fold = nn.PixelUnshuffle(a.fold) if a.fold > 1 else nn.Identity()
        self.unfold = nn.PixelShuffle(a.fold) if a.fold > 1 else nn.Identity()
        channels *= a.fold**2
        self.encoder = Encoder(channels, a, layers)
        self.decoder = Decoder(channels, a, layers)
        self.quant = layers.convolution(both, both, kernel=1)
        self.post_quant = layers.convolution(a.latent_channels, a.latent_channels, kernel=1)

    def encode(self, x: Maps) -> tuple[Latents, Latents]:
        """Mean and log-variance (cut to [-30, 20]) of the posterior, ``factor`` times smaller.

        Raises:
            UsageError: an axis that ``factor`` does not divide.
        """
        if any(size % self.factor for size in x.shape[2:]):
            raise UsageError(
                f"autoencoder: image of {' x '.join(map(str, x.shape[2:]))} cannot be divided by "
                f"{self.factor}; crop or pad it to a multiple"
            )
        mean, logvar = self.quant(self.encoder(self.fold(x))).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z: Latents) -> Maps:
        """Image of a latent."""
        return self.unfold(self.decoder(self.post_quant(z)))


def posterior_sample(moments: Maps, rng: Rng) -> Latents:
    """A sample of each posterior that is given by mean and log-variance, as channels."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).exp() * rng.normal_like(mean)


def kl_reconstruction(
    autoencoder: Any, x: Images, kl_weight: float, rng: Rng
) -> tuple[Images, PerItem]:
    """Images decoded from samples of their posteriors, and what the autoencoder minimises.

    Args:
        autoencoder: such as :class:`Autoencoder`.
        x: images in [-1, 1].
        kl_weight: weight of the Kullback-Leibler term beside the mean absolute error.
        rng: one stream per image.
    """
    mean, logvar = autoencoder.encode(x)
    decoded = autoencoder.decode(posterior_sample(torch.cat([mean, logvar], 1), rng))
    error = (decoded - x).abs().flatten(1).mean(1)
    return decoded, error + kl_weight * kl_to_standard(mean, logvar)
