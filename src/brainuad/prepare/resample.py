"""From one grid to another with a single interpolation, finer to coarser without aliasing."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from brainuad.prepare.grid import MNI_2MM, Grid, NewMask, NewVolume
from brainuad.prepare.measure import known_brain
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import Affine, DataError, Mask, UsageError, Volume

_EQUAL = 1e-5
"""Shares of a voxel that differ by less are equal; rounding makes some."""
_ALIKE = 0.15
"""In a small mask, voxels whose shares are this near the limit may stand for each other."""
_SMALL = 5000
"""Voxels up to which a mask is small: its middle hangs on a few of them."""
_MARGIN = 6
"""Voxels kept around the brain before an image is interpolated: the reach of a cubic spline."""


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Bring the image in the brain, and the brain, to a grid; everything outside becomes 0."""

    grid: Grid = MNI_2MM
    """Where to."""
    order: Literal[1, 3] = 3
    """1 linear, 3 cubic B-spline; the brain is always interpolated linearly."""

    def __call__(self, work: Work) -> Work:
        """The work with its scan on the grid."""
        return work.with_scan(**resampled(work.scan, self.grid.shape, self.grid.affine, self.order))


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Bring the scan to a fixed shape and spacing along its own axes, around its brain.

    A scan that has the spacing already is cropped and padded by whole voxels, so its values stay.
    """

    shape: tuple[int, int, int] = (80, 96, 80)
    """Voxels along i, j, k."""
    spacing: float | None = 2.0
    """Edge length of a voxel, mm; None keeps that of the scan."""
    order: Literal[1, 3] = 3
    """1 linear, 3 cubic B-spline."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not (self.spacing is None or self.spacing > 0):
            raise UsageError(
                f"crop: shape {self.shape} and spacing {self.spacing} must be above 0; correct them"
            )

    def __call__(self, work: Work) -> Work:
        """The work with its scan cropped and padded."""
        affine = self._affine(work.scan)
        return work.with_scan(**resampled(work.scan, self.shape, affine, self.order))

    def _affine(self, scan: Scan) -> Affine:
        edges = np.array(scan.spacing)
        zoom = np.ones(3) if self.spacing is None else self.spacing / edges
        zoom = np.where(np.abs(zoom - 1) < 1e-3, 1.0, zoom)
        low, high = box(known_brain(scan))
        first = (low + high - 1) / 2 - zoom * (np.array(self.shape) - 1) / 2
        first = np.where(zoom == 1, np.floor(first), first)
        step = np.diag([*zoom, 1.0])
        step[:3, 3] = first
        return scan.affine @ step


def resampled(
    scan: Scan, shape: tuple[int, int, int], affine: Affine, order: int
) -> dict[str, Any]:
    """Fields of a scan on another grid: the image inside the brain, and the brain.

    Values at the rim are means over brain alone (normalised by the share of brain), so that the
    rim is not darkened by the emptiness around it.
    """
    brain = known_brain(scan)
    low, high = box(brain)
    cut = tuple(slice(max(0, a - _MARGIN), b + _MARGIN) for a, b in zip(low, high, strict=True))
    inside = brain[cut]
    low, high = float(scan.voxels[brain].min()), float(scan.voxels[brain].max())
    image = np.where(inside, scan.voxels[cut] - low, 0).astype(np.float32)
    start = scan.affine.copy()
    start[:3, 3] += start[:3, :3] @ [s.start for s in cut]
    share = resample(inside.astype(np.float32), start, shape, affine)
    new = share > 0.5
    if order > 1:
        share = resample(inside.astype(np.float32), start, shape, affine, order=order, where=new)
    values = resample(image, start, shape, affine, order=order, where=new)
    values = np.clip(values / np.where(new, share, 1) + low, low, high)
    voxels = np.where(new, values, 0).astype(np.float32)
    return {"voxels": voxels, "brain": new, "affine": affine, "source": None}


def resample(
    volume: Volume,
    affine: Affine,
    shape: tuple[int, ...],
    to: Affine,
    *,
    order: int = 1,
    where: NewMask | None = None,
) -> NewVolume:
    """Values of a volume at the voxel centres of another grid; 0 beyond its border.

    Where the new grid is coarser the volume is smoothed first, so that a new voxel stands for the
    tissue it covers (Cardoso et al. 2015, "Scale factor point spread function matching").

    Args:
        volume: (i, j, k).
        affine: its voxel indices to mm.
        shape: of the new grid.
        to: voxel indices of the new grid to the same mm.
        order: 1 linear, 3 cubic B-spline.
        where: voxels of the new grid that are wanted; the others become 0. None means all.
    """
    matrix = np.linalg.inv(affine) @ to
    first = _whole_voxels(matrix, shape)
    if first is not None:
        return _shifted(volume, first, shape)
    values = _smoothed(np.asarray(volume, np.float32), matrix)
    where = np.ones(shape, bool) if where is None else where
    points = matrix[:3, :3] @ np.nonzero(where) + matrix[:3, 3:]
    out = np.zeros(shape, np.float32)
    out[where] = ndimage.map_coordinates(values, points, order=order, mode="grid-constant")
    return out


def resample_mask(mask: Mask, affine: Affine, shape: tuple[int, ...], to: Affine) -> NewMask:
    """A mask on another grid, with its volume kept: the fullest voxels, as many as add up to it.

    A fixed limit of one half would shrink small convex masks, and lose those thinner than a voxel.

    Args:
        mask: (i, j, k).
        affine: its voxel indices to mm.
        shape: of the new grid.
        to: voxel indices of the new grid to the same mm.
    """
    share = resample(mask.astype(np.float32), affine, shape, to)
    size = abs(np.linalg.det(affine[:3, :3]) / np.linalg.det(to[:3, :3]))
    # A mask that reaches the border of the new grid may be cut by it: what is left counts.
    count = round(share.sum(dtype=float) if _at_border(share) else mask.sum() * size)
    if count == 0 or not share.any():
        return np.zeros(shape, bool)
    low, high = box(share > 0)
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    out = np.zeros(shape, bool)
    out[cut] = _fullest(share[cut], count)
    return out


def _fullest(share: Volume, count: int) -> NewMask:
    """So many voxels of the largest share; of those about the limit, those that keep the middle.

    Where grids meet at half voxels a whole shell is equal in both, and in thick slices few voxels
    more or less move a small mask by millimetres.
    """
    rank = share + 1e-3 * ndimage.gaussian_filter(share, 1.0)
    rank = np.where(share > 0, rank, -1.0)
    count = min(count, int(np.count_nonzero(share > 0)))
    limit = np.partition(rank, rank.size - count, axis=None)[rank.size - count]
    near = _ALIKE if count <= _SMALL else _EQUAL
    inside = rank > limit + near
    alike = (np.abs(rank - limit) <= near) & (share > 0)
    equal = np.argwhere(alike)
    middle = np.array(ndimage.center_of_mass(share))
    off = (np.argwhere(inside) - middle).sum(axis=0)
    wanted = count - int(np.count_nonzero(inside))
    if wanted == len(equal):
        return inside | alike
    for _ in range(wanted):
        best = int(np.square(off + equal - middle).sum(axis=1).argmin())
        inside[tuple(equal[best])] = True
        off += equal[best] - middle
        equal = np.delete(equal, best, axis=0)
    return inside


def _at_border(share: Volume) -> bool:
    inner = share[1:-1, 1:-1, 1:-1]
    return int(np.count_nonzero(inner)) < int(np.count_nonzero(share))


def _whole_voxels(matrix: Affine, shape: tuple[int, ...]) -> np.ndarray | None:
    """The shift between two grids that differ by whole voxels; None when they differ otherwise."""
    nearest = np.eye(4)
    nearest[:3, 3] = np.round(matrix[:3, 3])
    off = np.abs(matrix - nearest).max(axis=0)[:3] @ np.array(shape)
    off += np.abs(matrix - nearest)[:3, 3].max()
    return nearest[:3, 3].astype(int) if off < 1e-3 else None


def box(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last index of a mask along each axis; an empty mask is an error."""
    if not mask.any():
        raise DataError("brain mask: is empty; give a mask with voxels inside")
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return np.array([s[0] for s in spans]), np.array([s[-1] + 1 for s in spans])


def _shifted(volume: Volume, first: np.ndarray, shape: tuple[int, ...]) -> NewVolume:
    """Whole voxels cropped and padded: no value changes."""
    out = np.zeros(shape, volume.dtype)
    ends = zip(first, shape, volume.shape, strict=True)
    spans = [(max(0, -a), min(n, m - a)) for a, n, m in ends]
    if all(b > a for a, b in spans):
        to = tuple(slice(a, b) for a, b in spans)
        source = tuple(slice(a + f, b + f) for (a, b), f in zip(spans, first, strict=True))
        out[to] = volume[source]
    return out


def _smoothed(volume: Volume, matrix: Float[np.ndarray, "4 4"]) -> Volume:
    width = np.linalg.norm(matrix[:3, :3], axis=1)
    sigma = 0.4247 * np.sqrt(np.maximum(width**2 - 1, 0))
    sigma = np.where(sigma < 0.1, 0, sigma)
    return ndimage.gaussian_filter(volume, sigma, mode="constant") if sigma.any() else volume
