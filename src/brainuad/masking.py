"""Masks that corrupt what a net sees while it trains: pieces of a slice, erased or filtered.

The target stays the clean slice (Iqbal et al. 2023, MLMI, arXiv 2305.19867). Lesions are neither
filtered nor cut out, but the net learns that what it sees need not be what it should say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from brainuad.boxes import Inside, inside
from brainuad.rng import Rng
from brainuad.types import Brain, Images, UsageError

Number = Int[Tensor, " batch"]
Ends = tuple[Number, Number]
ManyBoxes = Int[Tensor, "batch boxes 4"]
"""Boxes of each image as in :data:`brainuad.boxes.Boxes`; one of no area is none."""


@dataclass(frozen=True, kw_only=True)
class MaskLaw:
    """Law of the random masks; the defaults are those of the released code of mDDPM."""

    rectangles: int = 5
    """Largest number of rectangles in an image; the number is uniform from 0 up to it."""
    longest: float = 0.18
    """Largest side of a rectangle as a share of the number of rows that hold brain, in (0, 1].
    The smallest side is half of it; sides are uniform between, each drawn by itself."""
    margin_px: int = 5
    """Least distance in pixels from a rectangle to the first and last row and column of brain."""
    radius_min: int = 2
    """Smallest half side of the square of frequencies that a filter keeps or removes, in bins."""
    radius_max: int = 10
    """Largest half side of that square, in bins; uniform between the two."""
    low_kept: float = 0.5
    """Probability that the filter keeps low frequencies (a blur) instead of removing them."""

    def __post_init__(self) -> None:
        """Refuse a law that is none."""
        if self.rectangles < 0 or self.margin_px < 0 or not 0 < self.longest <= 1:
            raise UsageError(
                f"mask law: {self.rectangles} rectangles, longest {self.longest}, margin "
                f"{self.margin_px} px; use at least 0 rectangles and pixels, and a share in (0, 1]"
            )
        if not 1 <= self.radius_min <= self.radius_max or not 0 <= self.low_kept <= 1:
            raise UsageError(
                f"mask law: radius {self.radius_min} to {self.radius_max}, low_kept "
                f"{self.low_kept}; use 1 <= radius_min <= radius_max and a probability in [0, 1]"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """What was drawn for each image of a batch."""

    boxes: ManyBoxes
    """The rectangles, in pixels."""
    radius: Number
    """Half side of the square of frequencies, in bins."""
    low_kept: Bool[Tensor, " batch"]
    """Whether the filter keeps low frequencies instead of removing them."""


def draw_masks(law: MaskLaw, brain: Brain, *, rng: Rng) -> Masks:
    """Masks of each image; none where the brain has no room for a rectangle of the largest side."""
    count = rng.fork("count").integers(0, law.rectangles + 1)
    u = rng.fork("boxes").uniforms(law.rectangles, 4).double()
    shortest, longest = sides(law, brain)
    rows, columns = (starts(law, brain, axis, longest) for axis in (1, 2))
    height, width = (pick(u[..., i], shortest, longest) for i in (0, 1))
    top, left = pick(u[..., 2], *rows), pick(u[..., 3], *columns)
    fits = (longest > 0) & (rows[0] <= rows[1]) & (columns[0] <= columns[1])
    used = (torch.arange(law.rectangles) < count[:, None]) & fits[:, None]
    boxes = torch.stack([left, top, left + width, top + height], dim=2) * used[..., None]
    radius = rng.fork("radius").integers(law.radius_min, law.radius_max + 1)
    low_kept = rng.fork("side").uniform() < law.low_kept
    return Masks(boxes=boxes, radius=radius, low_kept=low_kept)


def sides(law: MaskLaw, brain: Brain) -> Ends:
    """Smallest and largest side of each image's rectangles, in pixels."""
    rows = brain[:, 0].any(2).sum(1).cpu()
    longest = (law.longest * rows.double() + 1e-9).long()  # 0.18 * 50 is 9, whatever its rounding
    return longest // 2, longest


def starts(law: MaskLaw, brain: Brain, axis: int, longest: Number) -> Ends:
    """First and last row (axis 1) or column (axis 2) that a rectangle may begin in."""
    used = brain[:, 0].any(3 - axis).int().cpu()
    first = used.argmax(1)
    last = used.shape[1] - 1 - used.flip(1).argmax(1)
    return first + law.margin_px, last - law.margin_px - longest


def pick(u: torch.Tensor, low: Number, high: Number) -> Int[Tensor, "batch boxes"]:
    """Integers uniform in low .. high of each image, made of numbers uniform in [0, 1)."""
    return low[:, None] + (u * (high - low + 1)[:, None]).long()


def filtered(x: Images, radius: Number, low_kept: Bool[Tensor, " batch"]) -> Images:
    """Real part of each slice without, or with only, the square of frequencies around 0.

    Args:
        x: 2-D images.
        radius: half side of the square: it holds frequencies -radius .. radius - 1 of both axes.
        low_kept: whether only the square is kept; otherwise it is removed.
    """
    reach = radius.to(x.device)[:, None]
    near = []
    for size in x.shape[2:]:
        bins = torch.fft.fftfreq(size, 1 / size, device=x.device).round().long()
        near.append((bins >= -reach) & (bins < reach))
    square = near[0][:, None, :, None] & near[1][:, None, None, :]
    keep = square == low_kept.to(x.device)[:, None, None, None]
    return torch.fft.ifft2(torch.fft.fft2(x.float()) * keep).real.to(x)


def union(boxes: ManyBoxes, x: Images) -> Inside:
    """Pixels that lie in any of the boxes of their image."""
    chosen = torch.zeros(len(x), 1, *x.shape[2:], dtype=torch.bool, device=x.device)
    for each in boxes.unbind(1):
        chosen |= inside(each, x)
    return chosen


def blended(x: Images, other: Images, brain: Brain, boxes: ManyBoxes) -> Images:
    """``other`` in the boxes, ``x`` elsewhere, 0 outside the brain; ``x`` where no box is."""
    chosen = union(boxes, x)
    some = chosen.flatten(1).any(1)[:, None, None, None]
    return torch.where(some, torch.where(chosen, other, x) * brain, x)


def ipm(x: Images, brain: Brain, masks: Masks) -> Images:
    """Image patch masking: rectangles at 0."""
    return blended(x, torch.zeros_like(x), brain, masks.boxes)


def fpm(x: Images, brain: Brain, masks: Masks) -> Images:
    """Frequency patch masking: the whole brain filtered; no rectangles, so none has to fit."""
    return filtered(x, masks.radius, masks.low_kept) * brain


def fpm_cm(x: Images, brain: Brain, masks: Masks) -> Images:
    """Both, as in CutMix: rectangles of the filtered slice in the clean one."""
    return blended(x, filtered(x, masks.radius, masks.low_kept), brain, masks.boxes)


MASKINGS: dict[str, Callable[[Images, Brain, Masks], Images]] = {
    "ipm": ipm,
    "fpm": fpm,
    "fpm_cm": fpm_cm,
}
