"""Masks of scattered squares: ragged regions of many sizes, which a net learns to fill."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainuad.config import Share
from brainuad.corrupt import centres
from brainuad.rng import Rng
from brainuad.types import Brain, PerItem, UsageError

Length = Annotated[float, Field(gt=0)]
Points = Float[Tensor, "batch points 2"]
Used = Bool[Tensor, "batch points"]
Variances = Float[Tensor, "batch 2"]
PerSide = Float[Tensor, "batch 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScatterLaw:
    """Law of the masks; the defaults are those of the released code of IterMask2.

    Squares of three sides lie around a random place of the brain; their centres are normal, with
    variances c1 and c2 along the axes and a random correlation. The number of small squares is
    uniform within bounds that grow with sqrt(c1 c2), as the area does.
    """

    pixel_mm: Length = 2.0
    """Side of a pixel in millimetres."""
    sides_mm: tuple[Length, Length, Length] = (4.0, 8.0, 16.0)
    """Sides of the small, middling and large squares, in millimetres."""
    variance: tuple[Length, Length] = (0.3, 10.0)
    """Least and largest variance c along an axis, uniform between, in squared units."""
    wide_mm: Length = 10.0
    """Unit of the wide masks, in millimetres."""
    narrow_mm: Length = 2.5
    """Unit of the narrow masks, in millimetres."""
    narrow: Share = 1 / 3
    """Probability of a narrow mask."""
    wide_count: tuple[int, int] = (100, 200)
    """Bounds on the small squares of a wide mask, as multiples of sqrt(c1 c2)."""
    narrow_count: tuple[int, int] = (5, 20)
    """The same of a narrow mask."""
    middling: tuple[int, int] = (5, 9)
    """Least and largest number of middling squares."""
    large: tuple[int, int] = (3, 9)
    """Least and largest number of large squares."""

    def __post_init__(self) -> None:
        """Refuse bounds that do not rise."""
        named = ("variance", "wide_count", "narrow_count", "middling", "large")
        pairs = {name: getattr(self, name) for name in named}
        wrong = {name: pair for name, pair in pairs.items() if not 0 <= pair[0] <= pair[1]}
        if wrong:
            raise UsageError(f"scatter law: {wrong}; give the least first, and nothing below 0")

    @property
    def most(self) -> tuple[int, int, int]:
        """Bound on the number of squares of each side."""
        small = max(self.wide_count[1], self.narrow_count[1]) * self.variance[1]
        return int(small) + 1, self.middling[1], self.large[1]

    def side(self, mm: float) -> int:
        """Side of a square in pixels, at least 1."""
        return max(1, round(mm / self.pixel_mm))


def scattered(law: ScatterLaw, brain: Brain, *, rng: Rng) -> Brain:
    """One mask for each 2-D image, inside its brain; none where there is no brain."""
    low, high = law.variance
    form = rng.fork("form").uniforms(4)
    variances, slant, narrow = low + (high - low) * form[:, :2], form[:, 2], form[:, 3] < law.narrow
    unit = torch.where(narrow, law.narrow_mm, law.wide_mm) / law.pixel_mm
    counts = numbers(law, variances, narrow, rng.fork("count").uniforms(3))
    middle = centres(brain, 1, rng=rng.fork("centre"))
    mask = torch.zeros(len(brain), 1, *brain.shape[2:], dtype=torch.bool)
    for n, (mm, most) in enumerate(zip(law.sides_mm, law.most, strict=True)):
        # As many numbers for every image, whatever the counts of the others.
        z = rng.fork("points", n).normal(most, 2)
        points = middle + unit[:, None, None] * slanted(z, variances, 2 * slant - 1)
        used = torch.arange(most) < counts[:, n : n + 1]
        mask |= squares(points, used, law.side(mm), mask)
    return mask.to(brain.device) & brain


def numbers(
    law: ScatterLaw, variances: Variances, narrow: Bool[Tensor, " batch"], u: PerSide
) -> Int[Tensor, "batch 3"]:
    """How many squares of each side an image gets, made of numbers uniform in [0, 1)."""
    per = torch.where(narrow[:, None], torch.tensor(law.narrow_count), torch.tensor(law.wide_count))
    small = per * variances.prod(1, keepdim=True).sqrt()
    fixed = [torch.tensor(pair).expand(len(u), 2) for pair in (law.middling, law.large)]
    least, largest = (torch.stack([small[:, i], *(f[:, i] for f in fixed)], 1) for i in (0, 1))
    return (least + u * (largest + torch.tensor([0, 1, 1]) - least).clamp(min=0)).long()


def slanted(z: Points, variances: Variances, correlation: PerItem) -> Points:
    """Standard normal points with these variances and a correlation between their axes."""
    rho = correlation[:, None]
    second = rho * z[..., 0] + (1 - rho.square()).sqrt() * z[..., 1]
    return torch.stack([z[..., 0], second], dim=2) * variances.sqrt()[:, None]


def squares(points: Points, used: Used, side: int, like: Brain) -> Brain:
    """Pixels in any square of this side around one of the used points (rows, columns)."""
    rows, columns = like.shape[2:]
    place = points.round().long()
    inside = ((place >= 0) & (place < torch.tensor([rows, columns]))).all(2)
    flat = (place[..., 0] * columns + place[..., 1]).clamp(0, rows * columns - 1)
    marks = torch.zeros(len(points), rows * columns)
    marks = marks.scatter_add(1, flat, (inside & used).float()).reshape(-1, 1, rows, columns)
    before, after = side // 2, side - 1 - side // 2
    wide = F.pad(marks, (after, before, after, before))
    return F.max_pool2d(wide, side, stride=1) > 0
