"""Encoders that make one vector of a slice, and how they learn from hidden parts of slices.

The pre-training is SparK (Tian et al. 2023, "Designing BERT for convolutional networks", ICLR,
arXiv 2301.03580): an encoder sees some cells of the slice, a light decoder paints the others.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.layers import Embedding, Maps, padded
from brainuad.networks import image_encoder, rising, skipped_branch
from brainuad.rng import Rng
from brainuad.types import Images, PerItem, UsageError

Cells = Bool[Tensor, "batch 1 cell_rows cell_columns"]
"""Which cells of each image are visible."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """The encoder of a condition."""

    kind: Literal["small", "resnet50"] = "resnet50"
    """A few convolutions of ours, or the published ResNet-50 (24.5 M parameters)."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Small: channels of each level, finest first; every level halves the image."""
    drop: float = 0.0
    """Share of images that skip the last residual branch in training; rises from 0 in the first."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not self.widths or min(self.widths) < 1 or not 0 <= self.drop < 1:
            raise UsageError(
                f"encoder: widths {self.widths}, drop {self.drop}; use at least one level and "
                "numbers above 0, and a drop of at least 0 and below 1"
            )


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """How an encoder is pre-trained; the defaults are published."""

    cell_px: int = 32
    """Side of a cell in pixels; a multiple of the encoder's coarsest stride."""
    visible: float = 0.35
    """Share of cells that are visible, in (0, 1); at least one is, and at least one is not."""

    def check(self, stride: int) -> None:
        """Refuse cells that are finer than an encoder sees, or a share that is none."""
        if self.cell_px % stride or not 0 < self.visible < 1:
            raise UsageError(
                f"pretraining: cells of {self.cell_px} px, visible share {self.visible}; use a "
                f"multiple of the encoder's stride {stride} and a share between 0 and 1"
            )


# Layers that know which cells are visible


def spread(cells: Cells, x: Maps) -> Maps:
    """1 where ``x`` lies in a visible cell, else 0; every cell covers the same block of ``x``."""
    return F.interpolate(cells.to(x.dtype), size=x.shape[2:], mode="nearest")


class SparseGroupNorm(nn.GroupNorm):
    """Group norm; with ``cells``, of the visible sites alone, and 0 at the others."""

    cells: Cells | None = None

    def forward(self, input: Maps) -> Maps:
        """The normalised features."""
        if self.cells is None:
            return super().forward(input)
        wide = input.float()  # as torch does in mixed precision
        seen = spread(self.cells, wide)
        groups = wide.unflatten(1, (self.num_groups, -1))
        weight = seen[:, None] / (seen.sum((1, 2, 3)) * groups.shape[2])[:, None, None, None, None]
        mean = (groups * weight).sum((2, 3, 4), keepdim=True)
        variance = ((groups - mean).square() * weight).sum((2, 3, 4), keepdim=True)
        normed = ((groups - mean) / (variance + self.eps).sqrt()).flatten(1, 2)
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]) * seen


class SparseBatchNorm(nn.BatchNorm2d):
    """Batch norm; with ``cells``, of the visible sites alone, and 0 at the others."""

    cells: Cells | None = None

    def forward(self, input: Maps) -> Maps:
        """The normalised features."""
        if self.cells is None:
            return super().forward(input)
        last = input.movedim(1, 3)
        seen = spread(self.cells, input)[:, 0] > 0
        normed = super().forward(last[seen][:, :, None, None])[:, :, 0, 0]
        out = torch.zeros(last.shape, dtype=normed.dtype, device=normed.device)
        return out.index_put((seen,), normed).movedim(3, 1)


def sparse_norms(module: nn.Module) -> None:
    """Put a :class:`SparseBatchNorm` in the place of every batch norm inside ``module``."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SparseBatchNorm(child.num_features, eps=child.eps))
        else:
            sparse_norms(child)


def hide(cells: Cells, _layer: nn.Module, _inputs: tuple[Maps, ...], output: Maps) -> Maps:
    """What a layer says, with 0 outside the visible cells."""
    return output * spread(cells, output)


@contextmanager
def only(module: nn.Module, cells: Cells | None) -> Iterator[None]:
    """While it lasts, sites of ``module`` outside visible cells are 0 behind every layer."""
    if cells is None:
        yield
        return
    mixing = (nn.Conv2d, nn.MaxPool2d)
    norms = [m for m in module.modules() if isinstance(m, SparseGroupNorm | SparseBatchNorm)]
    layers = [m for m in module.modules() if isinstance(m, mixing)]
    hooks = [m.register_forward_hook(partial(hide, cells)) for m in layers]
    try:
        for norm in norms:
            norm.cells = cells
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in norms:
            norm.cells = None


# Encoders


class Level(nn.Module):
    """Half the size: strided convolution, then a residual branch."""

    def __init__(self, c_in: int, c_out: int, drop: float):
        super().__init__()
        groups = math.gcd(8, c_out) if c_out > 8 else 1  # one channel per group erases its mean
        self.shrink = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1)
        self.branch = nn.Sequential(
            SparseGroupNorm(groups, c_out),
            nn.SiLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1),
            SparseGroupNorm(groups, c_out),
            nn.SiLU(),
            *([skipped_branch(drop)] if drop else []),
        )

    def forward(self, x: Maps) -> Maps:
        """Features at half the resolution."""
        h = self.shrink(x)
        return h + self.branch(h)


class Encoder(nn.Module):
    """One vector per slice: levels, mean over the slice, a linear layer.

    Attributes:
        widths: channels of each level's map, finest first.
        stride: pixels between sites of the coarsest map.
    """

    def __init__(self, options: EncoderOptions, *, features: int, channels: int = 1):
        super().__init__()
        if options.kind == "small":
            self.widths, self.stride = options.widths, 2 ** len(options.widths)
            drops = rising(options.drop, len(options.widths))
            pairs = zip(pairwise((channels, *options.widths)), drops, strict=True)
            self.levels = nn.ModuleList(Level(a, b, drop) for (a, b), drop in pairs)
            self.head = nn.Linear(self.widths[-1], features)
            return
        whole = image_encoder(features=features, channels=channels, drop=options.drop)
        net = dict(whole.named_children())
        self.widths, self.stride = (256, 512, 1024, 2048), 32
        stem = [net[name] for name in ("conv1", "bn1", "act", "maxpool", "layer1")]
        rest = [net[name] for name in ("layer2", "layer3", "layer4")]
        self.levels = nn.ModuleList([nn.Sequential(*stem), *rest])
        self.head = net["fc"]
        sparse_norms(self.levels)

    def maps(self, x: Images, cells: Cells | None = None) -> list[Maps]:
        """The map of each level, finest first; of the visible blocks of ``x`` alone, if given."""
        found, h = [], x if cells is None else x * spread(cells, x)
        with only(self.levels, cells):
            for level in self.levels:
                h = level(h)
                found.append(h)
        return found

    def forward(self, x: Images) -> Embedding:
        """The vector of each slice."""
        return self.head(self.maps(padded(x, self.stride))[-1].mean((2, 3)))


class Densify(nn.Module):
    """A sparse map made dense: a learned token at every hidden site, then a convolution."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.norm = SparseBatchNorm(c_in)
        self.token = nn.Parameter(torch.zeros(1, c_in, 1, 1))
        nn.init.trunc_normal_(self.token, std=0.02)
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)

    def forward(self, x: Maps, cells: Cells) -> Maps:
        """The dense map."""
        with only(self.norm, cells):
            normed = self.norm(x)
        return self.conv(torch.where(spread(cells, x) > 0, normed, self.token.to(normed)))


def painter(c_in: int, c_out: int) -> nn.Sequential:
    """A stage of the light decoder: twice the size, ``c_out`` channels."""
    return nn.Sequential(
        nn.ConvTranspose2d(c_in, c_in, 4, stride=2, padding=1),
        nn.Conv2d(c_in, c_in, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_in),
        nn.ReLU6(inplace=True),
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
    )


class Pretraining(nn.Module):
    """An encoder and the light decoder that paints what the encoder did not see.

    The decoder is thrown away afterwards. Its batch norm, like that of a ResNet, couples the
    images of a batch.
    """

    def __init__(self, encoder: Encoder, options: PretrainOptions, *, channels: int = 1):
        super().__init__()
        options.check(encoder.stride)
        self.encoder, self.options = encoder, options
        stages = encoder.stride.bit_length() - 1
        top = max(encoder.widths[-1] // 4, 2**stages)
        widths = [top >> stage for stage in range(stages + 1)]
        coarse_first = enumerate(zip(reversed(encoder.widths), widths, strict=False))
        self.densify = nn.ModuleList(
            Densify(a, b, 3 if level else 1) for level, (a, b) in coarse_first
        )
        self.paint = nn.ModuleList(painter(a, b) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], channels, 1)

    def forward(self, x: Images, cells: Cells) -> Images:
        """The painted slices; the cells must divide ``x`` into equal blocks."""
        found = self.encoder.maps(x, cells)
        h: Maps | None = None
        for level, paint in enumerate(self.paint):
            if level < len(self.densify):
                dense = self.densify[level](found.pop(), cells)
                h = dense if h is None else h + dense
            h = paint(h)
        return self.out(h)

    def loss(self, x: Images, *, rng: Rng) -> PerItem:
        """Error of the paint on hidden cells drawn for each image."""
        cells = self.draw_cells(x, rng=rng)
        whole = padded(x, self.options.cell_px)
        return hidden_error(self(whole, cells), whole, cells)

    def draw_cells(self, x: Images, *, rng: Rng) -> Cells:
        """Which cells of each image are visible: as many in every image, others in each.

        Raises:
            UsageError: images of a single cell.
        """
        rows, columns = (-(-size // self.options.cell_px) for size in x.shape[2:])
        if rows * columns < 2:
            raise UsageError(
                f"pretraining: an image of {x.shape[2]} x {x.shape[3]} px is a single cell of "
                f"{self.options.cell_px} px; use smaller cells, or do not pre-train"
            )
        count = min(max(round(rows * columns * self.options.visible), 1), rows * columns - 1)
        rank = rng.uniforms(rows * columns).argsort(1).argsort(1)
        return (rank < count).reshape(-1, 1, rows, columns).to(x.device)


def hidden_error(painted: Images, x: Images, cells: Cells) -> PerItem:
    """Mean squared error of each image over its hidden cells."""
    hidden = 1 - spread(cells, painted)
    error = (painted - x).square().mean(1, keepdim=True) * hidden
    return error.sum((1, 2, 3)) / hidden.sum((1, 2, 3))
