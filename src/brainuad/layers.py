"""Layers of the U-Nets and autoencoders, 2-D and 3-D; each treats every image on its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Maps = Float[Tensor, "batch _ ..."]
"""Features of each image: channels, then two or three space axes of any size."""
Embedding = Float[Tensor, "batch _"]
"""What the residual blocks of a denoiser are told about each image: time, condition."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """How a family of nets builds its layers."""

    dimensions: int = 2
    """Space axes: 2 or 3."""
    groups: int = 32
    """Groups of the group norm, or their greatest common divisor with the channels."""
    eps: float = 1e-5
    """Added to the variance in the group norm."""
    dropout: float = 0.0
    """Share of features dropped inside a residual block while training."""
    film: bool = False
    """The embedding scales and shifts the features (FiLM) instead of being added."""
    zero_init: bool = True
    """Last layer of every residual branch and head starts at zero."""

    def convolution(self, c_in: int, c_out: int, *, kernel: int = 3, stride: int = 1):
        """Convolution with zero padding that keeps the size where ``stride`` is 1."""
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[self.dimensions]
        return kind(c_in, c_out, kernel, stride=stride, padding=kernel // 2)

    def norm(self, channels: int) -> nn.GroupNorm:
        """Group norm with the wanted number of groups, as far as it divides the channels."""
        return nn.GroupNorm(math.gcd(self.groups, channels), channels, eps=self.eps)

    def last(self, layer: nn.Module) -> nn.Module:
        """The last layer of a branch, with all parameters zero where these start at zero."""
        if self.zero_init:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        return layer


def shrink(x: Maps) -> Maps:
    """Mean of blocks of two along every space axis."""
    return {4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim](x, 2)


def grow(x: Maps) -> Maps:
    """Every value twice along every space axis."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


RESIZE: dict[str, Callable[[Maps], Maps]] = {"keep": lambda x: x, "down": shrink, "up": grow}


class Residual(nn.Module):
    """Two convolutions around a skip; an embedding of ``features`` numbers enters between them.

    With 0 features there is no embedding, as in autoencoders.
    """

    def __init__(self, c_in: int, c_out: int, features: int, layers: Layers, resize: str = "keep"):
        super().__init__()
        self.film = layers.film
        self.resize = RESIZE[resize]
        self.norm1 = layers.norm(c_in)
        self.conv1 = layers.convolution(c_in, c_out)
        self.inject = nn.Linear(features, c_out * (1 + self.film)) if features else None
        self.norm2 = layers.norm(c_out)
        self.dropout = nn.Dropout(layers.dropout)
        self.conv2 = layers.last(layers.convolution(c_out, c_out))
        same = c_in == c_out
        self.skip = nn.Identity() if same else layers.convolution(c_in, c_out, kernel=1)

    def forward(self, x: Maps, embedding: Embedding | None = None) -> Maps:
        """The block's output, half or twice the size where it resamples."""
        h = self.conv1(self.resize(F.silu(self.norm1(x))))
        h = self._told(h, embedding)
        return self.skip(self.resize(x)) + self.conv2(self.dropout(F.silu(h)))

    def _told(self, h: Maps, embedding: Embedding | None) -> Maps:
        if self.inject is None or embedding is None:
            return self.norm2(h)
        u = self.inject(F.silu(embedding)).reshape(len(h), -1, *[1] * (h.ndim - 2))
        if not self.film:
            return self.norm2(h + u)
        scale, shift = u.chunk(2, dim=1)
        return self.norm2(h) * (1 + scale) + shift


class Attention(nn.Module):
    """Self-attention over all cells of an image, with a skip; no positions."""

    def __init__(self, channels: int, heads: int, layers: Layers):
        super().__init__()
        self.heads = heads
        self.norm = layers.norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = layers.last(nn.Linear(channels, channels))

    def forward(self, x: Maps) -> Maps:
        """``x`` plus what its cells read from each other."""
        cells = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.qkv(cells).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)
        return x + self.out(read).transpose(1, 2).reshape(x.shape)


class Up(nn.Module):
    """Every cell twice along each axis, then a convolution."""

    def __init__(self, channels: int, layers: Layers):
        super().__init__()
        self.conv = layers.convolution(channels, channels)

    def forward(self, x: Maps) -> Maps:
        """The image at twice its size."""
        return self.conv(grow(x))


class Stage(nn.ModuleList):
    """Layers in order; the residual blocks among them read the embedding."""

    def forward(self, x: Maps, embedding: Embedding | None = None) -> Maps:
        """What the last layer says."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, Residual) else layer(x)
        return x


def mlp(c_in: int, c_out: int) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(nn.Linear(c_in, c_out), nn.SiLU(), nn.Linear(c_out, c_out))


def padded(x: Maps, multiple: int) -> Maps:
    """``x`` with its last border repeated until ``multiple`` divides every space axis."""
    missing = [-size % multiple for size in x.shape[2:]]
    if not any(missing):
        return x
    pad = [side for m in reversed(missing) for side in (0, m)]
    return F.pad(x, pad, mode="replicate")
