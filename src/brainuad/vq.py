"""The VQ-VAE of latent diffusion methods: images to a small grid of codebook vectors, and back.

The codebook follows running means of the vectors assigned to it (van den Oord et al. 2017,
arXiv 1711.00937, appendix A.1); gradients reach the encoder alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, distributed, nn

from brainuad.layers import Maps
from brainuad.rng import seed_of
from brainuad.types import PerItem, UsageError

Latents = Float[Tensor, "batch latent *cells"]
Indices = Int[Tensor, "batch 1 *cells"]
Rows = Float[Tensor, "rows latent"]
PerCode = Float[Tensor, " codes"]
Share = Annotated[float, Field(ge=0, lt=1)]
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}
FIRST_COUNT = 1e-3


@dataclass(frozen=True, kw_only=True)
class VqSizes:
    """Sizes of a VQ-VAE."""

    widths: tuple[int, ...]
    """Channels after each halving, finest first."""
    units: int
    """Residual units per level, in the encoder and in the decoder."""
    codes: int
    """Vectors in the codebook (K)."""
    latent_channels: int
    """Length of each vector (n_z)."""


PRESETS = {
    "vq-f4": VqSizes(widths=(256, 256), units=2, codes=32, latent_channels=64),
    "vq-f8-lineage": VqSizes(widths=(72, 72, 144), units=3, codes=256, latent_channels=256),
    "vq-f4-small": VqSizes(widths=(32, 64), units=1, codes=64, latent_channels=8),
    "tiny": VqSizes(widths=(8, 8), units=1, codes=16, latent_channels=4),
}
"""``vq-f8-lineage`` has the class defaults of the authors' later code; the others are ours."""


@dataclass(frozen=True, kw_only=True)
class VqOptions:
    """Which VQ-VAE: a preset, and what differs from it."""

    preset: Literal["vq-f4", "vq-f8-lineage", "vq-f4-small", "tiny"] = "vq-f4-small"
    """Sizes by name; f4 halves the image twice, f8 three times."""
    channels: int = 1
    """Channels of the image."""
    dimensions: Literal[2, 3] = 2
    """Space axes: 2 for slices, 3 for volumes."""
    widths: tuple[int, ...] | None = None
    """Channels after each halving, finest first; None: as the preset."""
    units: int | None = None
    """Residual units per level; None: as the preset."""
    codes: int | None = None
    """Vectors in the codebook; None: as the preset."""
    latent_channels: int | None = None
    """Length of each vector; None: as the preset."""
    dropout: Share = 0.0
    """Share of channels dropped in every residual unit while training."""
    commitment: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the squared distance of the encoder's output to its code."""
    decay: Share = 0.5
    """Share of the codebook's running means that a training step keeps."""
    eps: Annotated[float, Field(gt=0)] = 1e-5
    """Laplace smoothing of the running counts, in assigned cells."""
    revive: Share = 0.03
    """A code with less than this share of an even use starts anew at a cell of the batch; 0: no."""

    @property
    def sizes(self) -> VqSizes:
        """The sizes that hold."""
        names = (field.name for field in fields(VqSizes))
        given = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return replace(PRESETS[self.preset], **given)

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        s = self.sizes
        if not s.widths or min(self.channels, *s.widths, s.codes, s.latent_channels) < 1:
            raise UsageError(
                f"VQ-VAE: {s} on {self.channels} channels; use at least one level and numbers "
                "above 0"
            )


class Unit(nn.Module):
    """Residual unit: two convolutions without normalisation, added to the input."""

    def __init__(self, channels: int, options: VqOptions):
        super().__init__()
        kind, drop = CONVOLUTION[options.dimensions], DROPOUT[options.dimensions]
        self.branch = nn.Sequential(
            kind(channels, channels, 3, padding=1),
            nn.ReLU(),
            drop(options.dropout),
            kind(channels, channels, 1),
        )

    def forward(self, x: Maps) -> Maps:
        """Input plus branch, where above 0."""
        return (x + self.branch(x)).relu()


def units(channels: int, options: VqOptions) -> list[nn.Module]:
    """The residual units of one level."""
    return [Unit(channels, options) for _ in range(options.sizes.units)]


def encoder(options: VqOptions) -> nn.Sequential:
    """Image -> one vector per cell, not yet a code."""
    s, kind, layers = options.sizes, CONVOLUTION[options.dimensions], []
    for c_in, c_out in pairwise((options.channels, *s.widths)):
        layers += [kind(c_in, c_out, 4, stride=2, padding=1), nn.ReLU(), *units(c_out, options)]
    return nn.Sequential(*layers, kind(s.widths[-1], s.latent_channels, 3, padding=1))


def decoder(options: VqOptions) -> nn.Sequential:
    """Codes -> image, not cut to any range."""
    s, grow = options.sizes, TRANSPOSED[options.dimensions]
    layers: list[nn.Module] = [
        CONVOLUTION[options.dimensions](s.latent_channels, s.widths[-1], 3, padding=1)
    ]
    for c_in, c_out in pairwise((*reversed(s.widths), options.channels)):
        layers += [*units(c_in, options), grow(c_in, c_out, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def summed(x: Tensor) -> Tensor:
    """The sum over all processes of a distributed training; ``x`` itself where there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x


def of_first(x: Tensor) -> Tensor:
    """The values of the first process of a distributed training."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.broadcast(x, src=0)
    return x


def perplexity(counts: Tensor) -> float:
    """Effective number of codes in use: exp of the entropy, from 1 to the number of codes."""
    share = counts.double() / counts.double().sum()
    return float(torch.special.entr(share).sum().exp())


class EmaQuantiser(nn.Module):
    """A codebook learnt by running means, in float32 whatever the training runs in."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, options: VqOptions):
        super().__init__()
        self.options = options
        size = options.sizes
        codes = torch.randn(size.codes, size.latent_channels)
        # Next to no weight: the first cells that are assigned to a code decide where it lies.
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.full((size.codes,), FIRST_COUNT))
        self.register_buffer("sums", FIRST_COUNT * codes)

    def distances(self, rows: Rows) -> Float[Tensor, "rows codes"]:
        """Squared distance of each vector to each code."""
        with torch.autocast(rows.device.type, enabled=False):
            products = rows @ self.codes.T
        squares = rows.square().sum(1, keepdim=True) + self.codes.square().sum(1)
        return (squares - 2 * products).clamp(min=0)

    def nearest(self, z: Latents) -> Indices:
        """The number of each cell's code; changes nothing, in training mode neither."""
        found = self.distances(as_rows(z)).argmin(1)
        return found.reshape(len(z), 1, *z.shape[2:])

    def lookup(self, indices: Indices) -> Latents:
        """The codes with these numbers."""
        return self.codes[indices[:, 0]].movedim(-1, 1)

    def perplexity(self) -> float:
        """Effective number of codes in use, by the running counts."""
        return perplexity(self.counts)

    def forward(self, z: Latents) -> tuple[Latents, PerItem]:
        """Codes that pass gradients on to ``z``, and the commitment loss of each image.

        In training mode the codebook moves, after these codes were taken from it.
        """
        z = z.float()
        indices = self.nearest(z.detach())
        codes = self.lookup(indices)
        loss = self.options.commitment * (codes - z).square().flatten(1).mean(1)
        if self.training:
            self.update(as_rows(z.detach()), indices.flatten())
        return z + (codes - z).detach(), loss

    @torch.no_grad()
    def update(self, rows: Rows, indices: Int[Tensor, " rows"]) -> None:
        """Move the codes towards the vectors that were assigned to them."""
        o = self.options
        new = torch.bincount(indices, minlength=len(self.codes)).to(rows)
        total = torch.zeros_like(self.sums).index_add_(0, indices, rows)
        new, total = summed(new), summed(total)
        self.counts.lerp_(new, 1 - o.decay)
        self.sums.lerp_(total, 1 - o.decay)
        n = self.counts.sum()
        smooth = (self.counts + o.eps) / (n + len(self.codes) * o.eps) * n
        self.codes.copy_(self.sums / smooth[:, None])
        self.revive(rows, o.revive * float(new.sum()) / len(self.codes))

    def revive(self, rows: Rows, least: float) -> None:
        """Put codes with a count below ``least`` where the batch is badly served."""
        dead = (self.counts < least).nonzero()[:, 0]
        if not len(dead):
            return
        chosen = of_first(rows[far_rows(self.distances(rows).amin(1), len(dead))])
        self.counts[dead] = least
        self.codes[dead], self.sums[dead] = chosen, least * chosen


def as_rows(z: Latents) -> Rows:
    """One row per cell, in float32."""
    return z.float().movedim(1, -1).flatten(0, -2)


def far_rows(distance: Float[Tensor, " rows"], count: int) -> Int[Tensor, " count"]:
    """Random rows, likely far ones; what is drawn depends on the distances alone."""
    weight = distance.double().cpu().nan_to_num()
    generator = torch.Generator().manual_seed(seed_of(0, "revive", float(weight.sum())))
    weight = weight / weight.sum().clamp(min=1e-30) + 1e-9
    return torch.multinomial(weight, count, count > len(weight), generator=generator).to(
        distance.device
    )


class VqAutoencoder(nn.Module):
    """Images to codes and back."""

    def __init__(self, options: VqOptions | None = None):
        super().__init__()
        self.options = options or VqOptions()
        self.latent_channels: int = self.options.sizes.latent_channels
        self.factor: int = 2 ** len(self.options.sizes.widths)
        self.encoder = encoder(self.options)
        self.quantiser = EmaQuantiser(self.options)
        self.decoder = decoder(self.options)

    def features(self, x: Maps) -> Latents:
        """What the encoder says of each cell, before it becomes a code.

        Raises:
            UsageError: an axis that ``factor`` does not divide.
        """
        check_size(x.shape[2:], self.factor)
        return self.encoder(x)

    def indices(self, x: Maps) -> Indices:
        """The number of each cell's code."""
        return self.quantiser.nearest(self.features(x))

    def encode(self, x: Maps) -> Latents:
        """The codes of an image, ``factor`` times smaller."""
        return self.quantiser.lookup(self.indices(x))

    def decode(self, z: Latents) -> Maps:
        """Image of a latent, which need not consist of codes."""
        return self.decoder(z)

    def forward(self, x: Maps) -> tuple[Maps, PerItem]:
        """Reconstruction and commitment loss; in training mode the codebook moves."""
        codes, loss = self.quantiser(self.features(x))
        return self.decoder(codes), loss


def check_size(shape: Sequence[int], factor: int) -> None:
    """Refuse images that ``factor`` does not divide."""
    if any(size % factor for size in shape):
        raise UsageError(
            f"VQ-VAE: image of {' x '.join(map(str, shape))} cannot be divided by {factor}; "
            "crop or pad it to a multiple"
        )
