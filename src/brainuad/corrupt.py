"""Random shapes inside the brain, where methods put the anomalies that they train on."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.types import Brain, Images, UsageError

Points = Int[Tensor, "*batch points 2"]
Shapes = Bool[Tensor, "batch objects *space"]
WAVES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobLaw:
    """Law of smooth outlines: a circle whose radius changes with the angle."""

    radius_min: float = 4.0
    """Smallest mean radius, in pixels."""
    radius_max: float = 24.0
    """Largest mean radius, in pixels; uniform between."""
    rough: float = 0.4
    """Largest change of the radius as a share of it, in [0, 1)."""
    blur_px: float = 5.0
    """Largest standard deviation of the Gaussian that softens the border; uniform from 0."""
    blurred: float = 0.7
    """Probability that the border is softened."""

    def __post_init__(self) -> None:
        """Refuse a law that is none."""
        fits = 0 < self.radius_min <= self.radius_max and 0 <= self.rough < 1
        if not fits or self.blur_px < 0 or not 0 <= self.blurred <= 1:
            raise UsageError(
                f"blob law: radius {self.radius_min} to {self.radius_max}, rough {self.rough}, "
                f"blur {self.blur_px} px with probability {self.blurred}; use rising radii above "
                "0, a roughness below 1 and a probability in [0, 1]"
            )


def centres(brain: Brain, count: int, *, rng: Rng) -> Int[Tensor, "batch count 2"]:
    """Places of 2-D brains, ``count`` in each, all equally likely; (0, 0) where there is none."""
    passed = brain.cpu().flatten(1).long().cumsum(1)
    nth = (rng.uniforms(count) * passed[:, -1:]).long() + 1
    flat = torch.searchsorted(passed, nth).clamp(max=passed.shape[1] - 1)
    flat = torch.where(passed[:, -1:] > 0, flat, 0)
    columns = brain.shape[3]
    return torch.stack([flat // columns, flat % columns], dim=2)


def blobs(law: BlobLaw, brain: Brain, *, rng: Rng) -> Images:
    """One soft shape per 2-D image, centred in the brain and cut to it; weights in [0, 1].

    The radius at angle a is the mean radius times 1 + rough sum_k w_k cos(k a + phase_k), where
    the sizes of the weights w_k sum to at most 1.
    """
    middle = centres(brain, 1, rng=rng.fork("centre"))[:, 0]
    axes = [torch.arange(n) - middle[:, i : i + 1] for i, n in enumerate(brain.shape[2:])]
    rows, columns = axes[0][:, :, None].float(), axes[1][:, None, :].float()
    angle, distance = torch.atan2(rows, columns), (rows.square() + columns.square()).sqrt()
    waves = rng.fork("waves").uniforms(WAVES, 2)
    wobble = torch.zeros_like(angle)
    for k in range(WAVES):
        size, phase = waves[:, k, 0], 2 * math.pi * waves[:, k, 1]
        turned = (k + 1) * angle + phase[:, None, None]
        wobble = wobble + (size / WAVES)[:, None, None] * turned.cos()
    radius = rng.fork("radius").uniform(law.radius_min, law.radius_max)[:, None, None]
    shape = (distance <= radius * (1 + law.rough * wobble)).float()[:, None]
    return softened(law, shape, rng=rng).to(brain.device) * brain


def softened(law: BlobLaw, shape: Images, *, rng: Rng) -> Images:
    """Shapes with soft borders, some of them."""
    sigma = rng.fork("blur").uniform(0.0, law.blur_px)
    sigma = sigma * (rng.fork("blurred").uniform() < law.blurred)
    pairs = zip(shape.split(1), sigma.tolist(), strict=True)
    return torch.cat([gaussian_blur(one, s) for one, s in pairs]).clamp(0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkLaw:
    """Law of the filled random walks of REFLECT (Beizaee et al., MICCAI 2025)."""

    steps: tuple[int, ...] = (200, 120, 100, 80)
    """Bound on the steps of each walk when there are 1, 2, .. objects, on a grid of 32 x 32."""
    heaviest: float = 10.0
    """Weight of the shortest walk relative to the longest; falls in equal steps to 1."""

    def __post_init__(self) -> None:
        """Refuse a law that is none."""
        if not self.steps or min(self.steps) < 1 or self.heaviest < 1:
            raise UsageError(
                f"walk law: steps {self.steps}, heaviest {self.heaviest}; use at least one bound, "
                "numbers of at least 1"
            )


def draw_walks(law: WalkLaw, cells: Brain, *, rng: Rng) -> Shapes:
    """The shapes of each image's objects, cut to ``cells``; objects it does not have are empty.

    An image has n objects with probability proportional to 1 / n. Each is a random walk from a
    random cell, read as a closed polygon and filled. A walk may leave the brain; only what lies
    inside is kept.
    """
    most, space = len(law.steps), (cells.shape[2], cells.shape[3])
    odds = 1 / torch.arange(1, most + 1)
    number = picked(odds.expand(len(cells), -1), rng.fork("number").uniforms(1))[:, 0]
    scale = math.prod(space) / 32**2
    bounds = (torch.tensor(law.steps) * scale).round().clamp(min=1).long()
    length = lengths(law, bounds[number], rng.fork("length").uniforms(most))
    # As many numbers for every image, whatever the walks of the others.
    moves = (rng.fork("moves").uniforms(most, int(bounds.max()), 2) * 3).long() - 1
    step = torch.arange(moves.shape[2])
    going = (step > 0) & (step <= length[..., None])
    start = centres(cells, most, rng=rng.fork("start"))
    points = start[:, :, None] + (moves * going[..., None]).cumsum(2)
    points = points.clamp(min=0).minimum(torch.tensor(space) - 1)
    there = torch.arange(most) <= number[:, None]
    return (filled(points, space) & there[:, :, None, None]).to(cells.device) & cells


def picked(
    weights: Float[Tensor, "batch choices"], u: Float[Tensor, "batch draws"]
) -> Int[Tensor, "batch draws"]:
    """Choices drawn in proportion to their weights, made of numbers uniform in [0, 1)."""
    passed = weights.double().cumsum(1)
    place = u.double() * passed[:, -1:]
    return torch.searchsorted(passed, place, right=True).clamp(max=weights.shape[1] - 1)


def lengths(
    law: WalkLaw, bounds: Int[Tensor, " batch"], u: Float[Tensor, "batch objects"]
) -> Int[Tensor, "batch objects"]:
    """Steps of each walk: 0 .. bound - 1, the shortest the most likely."""
    step = torch.arange(int(bounds.max()))
    share = step / (bounds[:, None] - 1).clamp(min=1)
    weights = law.heaviest - (law.heaviest - 1) * share
    return picked(torch.where(step < bounds[:, None], weights, 0.0), u)


def filled(points: Points, space: tuple[int, int]) -> Bool[Tensor, "*batch rows columns"]:
    """Cells on the corners of closed polygons or, by the even-odd rule, inside them."""
    after = points.roll(-1, dims=-2)
    rows, columns = torch.arange(space[0]), torch.arange(space[1])
    (r, c), (r_after, c_after) = points.unbind(-1), after.unbind(-1)
    crosses = (r[..., None] <= rows) != (r_after[..., None] <= rows)
    slope = (c_after - c) / torch.where(r_after == r, 1, r_after - r)
    where = c[..., None] + (rows - r[..., None]) * slope[..., None]
    left = crosses[..., None] & (columns < where[..., None])
    inside = left.sum(-3) % 2 == 1
    corners = torch.zeros(*points.shape[:-2], space[0] * space[1], dtype=torch.bool)
    return inside | corners.scatter(-1, r * space[1] + c, value=True).unflatten(-1, space)
