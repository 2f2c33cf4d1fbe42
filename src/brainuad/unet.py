"""The U-Net family of these papers, 2-D and 3-D: one net, told apart by :class:`UNetOptions`.

It spans the MAD-AD denoiser (attention after every residual block, additive time, two heads) and
the nets of DDPM, pDDPM, mDDPM and cDDPM (FiLM, residual blocks that resample, attention only in
the middle, a condition vector). Every layer treats each image on its own.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.config import Share
from brainuad.layers import Attention, Embedding, Layers, Residual, Stage, Up, mlp, padded
from brainuad.types import UsageError

Output = Float[Tensor, "batch _ *space"]
"""Any number of channels in the size of the input."""


@dataclass(frozen=True, kw_only=True)
class UNetOptions:
    """What a :class:`UNet` is made of."""

    channels_in: int = 1
    """Channels of the input."""
    channels_out: int = 1
    """Channels of the (first) output."""
    dimensions: Literal[2, 3] = 2
    """Space axes: 2 for slices, 3 for volumes."""
    width: int = 64
    """Channels at the finest level; also the size of the time sinusoid."""
    multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, finest first, as multiples of ``width``."""
    blocks: int = 2
    """Residual blocks per encoder level; a decoder level has one more."""
    attention: tuple[int, ...] = ()
    """Levels (0 is the finest) with self-attention after every residual block."""
    middle_attention: bool = True
    """Self-attention between the two residual blocks at the coarsest level."""
    heads: int = 4
    """Heads of each attention; used where ``head_channels`` is 0."""
    head_channels: int = 0
    """Channels of each head; 0 keeps the number of heads fixed instead."""
    injection: Literal["additive", "film"] = "additive"
    """How time enters a block: added to its features, or as scale and shift (FiLM)."""
    resample: Literal["conv", "block"] = "conv"
    """Strided convolution and nearest + convolution, or residual blocks that pool and repeat."""
    condition: int = 0
    """Size of the condition vector; 0 for none."""
    condition_layers: bool = True
    """Linear, SiLU, linear on the condition before it joins the time; else it joins as it is."""
    mask_head: bool = False
    """A second output: one channel of logits, the net's belief that a cell is noisy."""
    dropout: Share = 0.0
    """Share of features dropped inside every residual block while training."""
    groups: int = 32
    """Groups of the group norm, or their greatest common divisor with the channels."""
    zero_init: bool = True
    """Last layer of every block and of every head starts at zero."""
    fold: int = 1
    """Blocks of ``fold`` x ``fold`` pixels become channels for the net and pixels again after it:
    narrow nets get several times faster on a CPU. 1 = off, as published; 2-D only."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.width, self.blocks, self.heads, self.groups, self.fold, *self.multipliers)
        if self.fold > 1 and self.dimensions == 3:
            raise UsageError(f"UNet: fold {self.fold} of volumes; fold is for slices, use 1")
        if not self.multipliers or min(sizes) < 1 or self.width % 2:
            raise UsageError(
                f"UNet: width {self.width}, multipliers {self.multipliers}, blocks {self.blocks}, "
                f"heads {self.heads}, groups {self.groups}; use numbers above 0 and an even width"
            )
        for level in self.attended():
            self.heads_at(level)

    @property
    def layers(self) -> Layers:
        """How the layers of this net are built."""
        return Layers(
            dimensions=self.dimensions,
            groups=self.groups,
            dropout=self.dropout,
            film=self.injection == "film",
            zero_init=self.zero_init,
        )

    def width_at(self, level: int) -> int:
        """Channels at this level."""
        return self.width * self.multipliers[level]

    def attended(self) -> list[int]:
        """Levels that hold any attention."""
        levels = set(self.attention)
        if not levels <= set(range(len(self.multipliers))):
            raise UsageError(
                f"UNet: attention at levels {self.attention} of {len(self.multipliers)}; "
                "number the levels from 0 (finest)"
            )
        return sorted(levels | ({len(self.multipliers) - 1} if self.middle_attention else set()))

    def heads_at(self, level: int) -> int:
        """Heads of the attention at this level."""
        channels, parts = self.width_at(level), self.head_channels or self.heads
        if channels % parts:
            what = f"heads of {parts} channels" if self.head_channels else f"{parts} heads"
            raise UsageError(
                f"UNet: {channels} channels at level {level} cannot be split into {what}; "
                "change the width or the heads"
            )
        return channels // parts if self.head_channels else parts


MAD_AD_SIZES = {
    "tiny": (8, 2),
    "micro": (16, 2),
    "nano": (32, 4),
    "XS": (64, 4),
    "S": (128, 4),
    "M": (192, 6),
    "L": (256, 8),
    "XL": (320, 10),
}
"""Width and heads of the MAD-AD denoisers; ``tiny``, ``micro`` and ``nano`` are ours (no attention
at the finest level), the others published, but for the heads of ``XL``: the published 12 do not
divide its width, so that net has never run."""


def mad_ad_options(size: str, *, channels: int = 4, dropout: float = 0.4) -> UNetOptions:
    """Options of the MAD-AD denoiser (Beizaee et al., IPMI 2025) of a named size.

    Args:
        size: ``tiny`` (ours, for tests), ``micro`` and ``nano`` (ours, for a CPU), ``XS``, ``S``,
            ``M``, ``L`` or ``XL``.
        channels: channels of the latent.
        dropout: share dropped in every residual block; 0.4 in the released code.

    Raises:
        UsageError: unknown size.
    """
    if size not in MAD_AD_SIZES:
        raise UsageError(f"MAD-AD size {size!r}: unknown; choose from {', '.join(MAD_AD_SIZES)}")
    width, heads = MAD_AD_SIZES[size]
    return UNetOptions(
        channels_in=channels,
        channels_out=channels,
        width=width,
        heads=heads,
        # on a CPU, attention over the finest cells of a narrow net costs more than all its layers
        attention=(0, 1, 2) if width >= 64 else (1, 2),
        mask_head=True,
        dropout=dropout,
        groups=32 if width >= 64 else width // 4,  # one channel per group would erase its mean
    )


def mad_ad_unet(size: str, *, channels: int = 4, dropout: float = 0.4) -> "UNet":
    """The MAD-AD denoiser of a named size; see :func:`mad_ad_options`."""
    return UNet(mad_ad_options(size, channels=channels, dropout=dropout))


def ddpm_options(*, film: bool = True, condition: int = 0) -> UNetOptions:
    """Options of the published DDPM (``film=False``), pDDPM, mDDPM and cDDPM (``condition``) nets.

    Behrendt et al., MIDL 2023 and Comput. Biol. Med. 186:109660; Iqbal et al., MLMI 2023.
    """
    return UNetOptions(
        width=128,
        multipliers=(1, 2, 2),
        blocks=3,
        head_channels=64,
        injection="film" if film else "additive",
        resample="block",
        condition=condition,
    )


def sinusoid(t: Num[Tensor, " batch"], size: int) -> Embedding:
    """Cosines, then sines, of ``t`` at ``size / 2`` frequencies from 1 down to 1/10000."""
    steps = torch.arange(size // 2, device=t.device, dtype=torch.float32)
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * steps / (size // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class UNet(nn.Module):
    """A denoising U-Net.

    ``net(x, t)`` gives the output, or (output, mask logits) with a mask head; ``t`` is the integer
    step of each image, ``condition`` one vector per image. Sizes that the levels do not divide
    are padded by repeating the border and cropped back.
    """

    def __init__(self, options: UNetOptions):
        super().__init__()
        self.options = options
        self.layers = layers = options.layers
        told, c, layered = 4 * options.width, options.condition, options.condition_layers
        self.features = told + (told if layered and c else c)
        self.time = mlp(options.width, told)
        given = mlp(c, told) if layered and c else nn.Identity()
        self.condition = given if c else None
        self.down, widths = self._encoder()
        self.middle = self._middle()
        self.up = self._decoder(widths)
        last = options.width_at(0)
        head = layers.last(layers.convolution(last, options.channels_out * options.fold**2))
        self.out = nn.Sequential(layers.norm(last), nn.SiLU(), head)
        self.mask = self._mask_head(last) if options.mask_head else None

    def _stage(self, c_in: int, level: int) -> Stage:
        channels = self.options.width_at(level)
        stage = Stage([Residual(c_in, channels, self.features, self.layers)])
        if level in self.options.attention:
            stage.append(Attention(channels, self.options.heads_at(level), self.layers))
        return stage

    def _resample(self, channels: int, way: Literal["down", "up"]) -> nn.Module:
        if self.options.resample == "block":
            return Residual(channels, channels, self.features, self.layers, way)
        if way == "down":
            return self.layers.convolution(channels, channels, stride=2)
        return Up(channels, self.layers)

    def _encoder(self) -> tuple[nn.ModuleList, list[int]]:
        o, channels = self.options, self.options.width
        stages = [Stage([self.layers.convolution(o.channels_in * o.fold**2, channels)])]
        widths = [channels]
        for level in range(len(o.multipliers)):
            if level:
                stages.append(Stage([self._resample(channels, "down")]))
                widths.append(channels)
            for _ in range(o.blocks):
                stages.append(self._stage(channels, level))
                channels = o.width_at(level)
                widths.append(channels)
        return nn.ModuleList(stages), widths

    def _middle(self) -> Stage:
        o, level = self.options, len(self.options.multipliers) - 1
        channels = o.width_at(level)
        first, last = (Residual(channels, channels, self.features, self.layers) for _ in range(2))
        heads = o.heads_at(level) if o.middle_attention else 0
        between = [Attention(channels, heads, self.layers)] if heads else []
        return Stage([first, *between, last])

    def _decoder(self, widths: list[int]) -> nn.ModuleList:
        o, channels, stages = self.options, widths[-1], nn.ModuleList()
        for level in reversed(range(len(o.multipliers))):
            for block in range(o.blocks + 1):
                stage = self._stage(channels + widths.pop(), level)
                channels = o.width_at(level)
                if level and block == o.blocks:
                    stage.append(self._resample(channels, "up"))
                stages.append(stage)
        return stages

    def _mask_head(self, channels: int) -> nn.Sequential:
        # No non-linearity before the convolution, as in the released MAD-AD code.
        head = self.layers.last(self.layers.convolution(channels, self.options.fold**2))
        return nn.Sequential(self.layers.norm(channels), head)

    def embed(self, t: Num[Tensor, " batch"], condition: Embedding | None = None) -> Embedding:
        """What the residual blocks are told: the time, followed by the condition."""
        precision = next(self.parameters()).dtype
        time = self.time(sinusoid(t, self.options.width).to(precision))
        if condition is None and self.condition is None:
            return time
        if condition is None or self.condition is None:
            raise UsageError(
                f"UNet: condition is {'missing' if condition is None else 'given'}, the net is "
                f"built for a condition of size {self.options.condition}; make the two agree"
            )
        return torch.cat([time, self.condition(condition)], dim=1)

    def forward(
        self, x: Output, t: Num[Tensor, " batch"], condition: Embedding | None = None
    ) -> Output | tuple[Output, Output]:
        """Prediction in the size of ``x``; with a mask head also the logits (one channel)."""
        embedding = self.embed(t, condition)
        fold = self.options.fold
        h, skips = padded(x, fold * 2 ** (len(self.options.multipliers) - 1)), []
        h = F.pixel_unshuffle(h, fold) if fold > 1 else h
        for stage in self.down:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for stage in self.up:
            h = stage(torch.cat([h, skips.pop()], dim=1), embedding)
        window = (..., *map(slice, x.shape[2:]))
        heads = [self.out] if self.mask is None else [self.out, self.mask]
        outputs = [head(h) for head in heads]
        outputs = [F.pixel_shuffle(out, fold) if fold > 1 else out for out in outputs]
        out = outputs[0][window]
        return out if self.mask is None else (out, outputs[1][window])
