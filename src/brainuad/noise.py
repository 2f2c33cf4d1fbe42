"""Noise that methods train and test with; every image draws from its own stream."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from brainuad.config import Share
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem, UsageError

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
BLOCK_PX, BLOCK_FRACTION = 16, 0.9


def gaussian(x: Images, *, rng: Rng) -> Images:
    """Standard normal noise, independent from pixel to pixel."""
    return rng.normal_like(x)


def coarse(x: Images, *, std: float, cell_px: float, rng: Rng) -> Images:
    """Smooth noise of about the size of lesions (Kascenas et al., MIDL 2022).

    Normal numbers on a coarse grid, stretched linearly to the image with corners on corners, then
    rolled by a random offset along every axis. Channels differ, the offset does not.

    Args:
        x: images whose shape the noise gets.
        std: standard deviation at the nodes of the grid; smaller between them.
        cell_px: distance between nodes, in pixels; a physical size divided by the spacing.
        rng: one stream per image.
    """
    if std < 0 or cell_px <= 0:
        raise UsageError(
            f"coarse noise: std {std}, cell_px {cell_px}; use a std of at least 0 and a distance "
            "above 0"
        )
    space = x.shape[2:]
    nodes = rng.normal(x.shape[1], *(max(2, round(n / cell_px)) for n in space))
    noise = F.interpolate(nodes, size=space, mode=LINEAR[len(space)], align_corners=True)
    shifts = (rng.uniforms(len(space)) * torch.tensor(space)).long().tolist()
    axes = tuple(range(1, x.ndim - 1))
    rolled = [torch.roll(one, shift, axes) for one, shift in zip(noise, shifts, strict=True)]
    return std * torch.stack(rolled).to(x)


def pyramid(x: Images, *, discount: float = 0.8, rng: Rng) -> Images:
    """Noise with power at all scales and unit variance (Frotscher et al. 2023, arXiv 2312.01904).

    Unlike the published code, the variance is made 1 in each image, not over the batch.

    Args:
        x: 2-D images whose shape the noise gets.
        discount: factor on the noise of each coarser level.
        rng: one stream per image.
    """
    seeds = rng.integers(0, 2**62).tolist()
    images = [one_pyramid(x.shape[1:], discount, Rng([seed])) for seed in seeds]
    return torch.cat(images).to(x)


def one_pyramid(shape: torch.Size, discount: float, rng: Rng) -> Float[Tensor, "1 c h w"]:
    """Pyramid noise of one image; each level is smaller by a random factor of 2 to 4 per octave."""
    channels, *space = shape
    noise, sides = rng.normal(*shape), list(space)
    for level in range(10):
        shrink = float(rng.uniform(2.0, 4.0)) ** level
        sides = [max(1, int(side / shrink)) for side in sides]
        small = rng.normal(channels, *sides)
        stretched = F.interpolate(small, size=space, mode="bilinear", antialias=True)
        noise = noise + discount**level * stretched
        if 1 in sides:
            break
    return noise / noise.std()


@dataclass(frozen=True, kw_only=True)
class PatchLaw:
    """Law of the random rectangles of MAD-AD (Beizaee et al., IPMI 2025)."""

    sides: tuple[int, ...] = (1, 2, 4, 8)
    """Sides of a rectangle in latent cells; each axis draws its own."""
    probabilities: tuple[float, ...] = (0.2, 0.3, 0.3, 0.2)
    """Probability of each side."""
    shared: bool = False
    """One pair of sides for the whole batch, as published, instead of one per image."""
    ratio_min: float = 0.0
    """Least share of rectangles that get noise, in [0, 1]."""
    ratio_max: float = 0.4
    """Largest share of rectangles that get noise; the share of an image is uniform between."""
    displaced: float = 0.0
    """Probability that an image's noise is its own latent, shifted at random, in [0, 1].
    0 is white noise everywhere, as published."""
    brain_rule: Literal["cell", "block"] = "cell"
    """Cells that may get noise: by the brain in the cell, or, as published, in 16-pixel blocks
    of at least 90 % brain."""
    brain_fraction: Share = 0.5
    """Share of a cell that must be brain, for the rule "cell"."""

    def __post_init__(self) -> None:
        """Refuse a law that is none."""
        total, shares = sum(self.probabilities), (self.ratio_min, self.ratio_max)
        if len(self.sides) != len(self.probabilities) or abs(total - 1) > 1e-6:
            raise UsageError(
                f"patch law: sides {self.sides} with probabilities {self.probabilities}; give one "
                "probability per side, with sum 1"
            )
        if not 0 <= self.displaced <= 1:
            raise UsageError(f"patch law: displaced {self.displaced} is no probability; use 0 to 1")
        if min(self.sides) < 1 or not 0 <= shares[0] <= shares[1] <= 1:
            raise UsageError(
                f"patch law: sides {self.sides}, ratio {shares[0]} to {shares[1]}; use sides of at "
                "least 1 and 0 <= ratio_min <= ratio_max <= 1"
            )


def brain_share(brain: Brain, px: int) -> Float[Tensor, "batch 1 *blocks"]:
    """Share of brain in blocks of ``px`` pixels; what lies beyond the image is no brain."""
    missing = [side for n in reversed(brain.shape[2:]) for side in (0, -n % px)]
    pool = {4: F.avg_pool2d, 5: F.avg_pool3d}[brain.ndim]
    return pool(F.pad(brain.float(), missing), px)


def brain_cells(law: PatchLaw, brain: Brain, factor: int) -> Bool[Tensor, "batch 1 *cells"]:
    """Latent cells that may get noise; a cell covers ``factor`` pixels along each axis."""
    if law.brain_rule == "cell":
        return brain_share(brain, factor) >= law.brain_fraction
    cells = brain_share(brain, BLOCK_PX) >= BLOCK_FRACTION
    for axis in range(2, brain.ndim):
        cells = cells.repeat_interleave(BLOCK_PX // factor, axis)
        cells = cells.narrow(axis, 0, -(-brain.shape[axis] // factor))
    return cells


def draw_patches(law: PatchLaw, cells: Brain, *, rng: Rng) -> Brain:
    """Cells that get noise: a random share of the rectangles, where ``cells`` allows it."""
    sides = draw_sides(law, cells.ndim - 2, rng=rng.fork("sides"))
    ratio = rng.uniform(law.ratio_min, law.ratio_max)
    order = rng.uniforms(cells[0].numel())
    return patch_mask(sides, ratio, order, cells.shape[2:]).to(cells.device) & cells


def draw_sides(law: PatchLaw, axes: int, *, rng: Rng) -> Int[Tensor, "batch axes"]:
    """Sides of each image's rectangles, in cells along each axis."""
    bounds = torch.tensor(law.probabilities).cumsum(0)[:-1]
    which = torch.bucketize(rng.uniforms(axes), bounds, right=True)
    return torch.tensor(law.sides)[which[:1].expand_as(which) if law.shared else which]


def patch_noise(law: PatchLaw, z: Images, *, rng: Rng) -> Images:
    """Unit noise for latents: white, or for some images their own latent, shifted at random.

    White noise, as published, teaches the mask head to find a texture that no lesion has. A piece
    of the same brain in the wrong place (CutPaste, Li et al. 2021, CVPR) teaches it to find what
    does not belong; latents are scaled to unit variance, so the schedule holds as it is.
    """
    white = rng.fork("white").normal_like(z)
    if law.displaced == 0:
        return white
    where = rng.fork("shift").uniforms(z.ndim - 2) * torch.tensor(z.shape[2:])
    axes = tuple(range(1, z.ndim - 1))
    moved = [torch.roll(a, tuple(w.long().tolist()), axes) for a, w in zip(z, where, strict=True)]
    use = rng.fork("displaced").uniform() < law.displaced
    return torch.where(use.to(z.device).reshape(-1, *[1] * (z.ndim - 1)), torch.stack(moved), white)


def patch_mask(
    sides: Int[Tensor, "batch axes"],
    ratio: PerItem,
    order: Float[Tensor, "batch cells"],
    grid: torch.Size | tuple[int, ...],
) -> Brain:
    """Cells of the noised rectangles when the grid is cut into rectangles, row by row.

    Of G rectangles the floor(G (1 - ratio)) with the lowest ``order`` stay clean. Where the sides
    do not divide the grid, the last rectangles are cut off by its border.

    Args:
        sides: rectangle of each image, in cells along each axis.
        ratio: share of the rectangles of each image that get noise.
        order: a number per rectangle, lowest first; entries beyond G are ignored.
        grid: cells along each axis.
    """
    block, blocks = rectangles(sides, grid)
    exists = torch.arange(order.shape[1]) < blocks[:, None]
    rank = order.masked_fill(~exists, torch.inf).argsort(1).argsort(1)
    clean = (blocks * (1 - ratio.double())).floor().long()
    noised = rank >= clean[:, None]
    return noised.gather(1, block.flatten(1)).reshape(len(sides), 1, *grid)


def rectangles(
    sides: Int[Tensor, "batch axes"], grid: torch.Size | tuple[int, ...]
) -> tuple[Int[Tensor, "batch *cells"], Int[Tensor, " batch"]]:
    """Number of the rectangle that each cell lies in, row by row, and how many there are."""
    block = torch.zeros(len(sides), *[1] * len(grid), dtype=torch.long)
    blocks = torch.ones(len(sides), dtype=torch.long)
    for axis, cells in enumerate(grid):
        side = sides[:, axis]
        along = torch.arange(cells) // side[:, None]
        count = -(-cells // side)
        shape = [len(sides)] + [cells if a == axis else 1 for a in range(len(grid))]
        block = block * count.reshape(-1, *[1] * len(grid)) + along.reshape(shape)
        blocks = blocks * count
    return block, blocks
