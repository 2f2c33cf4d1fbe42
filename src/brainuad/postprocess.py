"""From a raw anomaly map to the map that is thresholded: named steps that can be hashed.

A threshold is valid for one post-processing only; its hash is stored beside every threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from brainuad.manifest import hash_of
from brainuad.types import Affine, DataError, Mask, UsageError, Volume

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that share a face, an edge or a corner belong together."""
TOP_SHARE = 0.001
"""Share of the brain's voxels whose mean is the score of a scan."""


@dataclass(frozen=True, kw_only=True)
class Postprocess:
    """Erosion of the brain, median, smoothing, sharper slopes; small components leave the mask.

    The defaults suit maps on a 2 mm grid: a median of 3 voxels takes away single bright voxels
    and keeps lesions of 0.1 ml.
    """

    erode_mm: float = 0.0
    """Brain voxels at most this far (mm) from the outside count as outside; 0 = off."""
    median: int = 3
    """Edge of the median's cube in voxels, odd; 0 or 1 = off."""
    smooth_mm: float = 0.0
    """Full width at half maximum (mm) of a Gaussian; 0 = off."""
    minimum_ml: float = 0.0
    """Components of the mask smaller than this volume (ml) are dropped; 0 = off."""
    axial_only: bool = False
    """Erosion, median, smoothing and slopes act within axial slices instead of in 3-D."""
    peak_drop: float = 0.0
    """How far, in the unit of the map, a voxel may lie below the highest that touches it before it
    is lowered by the rest: masks then end where the map falls steeply instead of running down the
    slope (a soft non-maximum suppression); 0 = off."""
    relative: float = 0.0
    """How far a voxel counts in relation to its scan: the map is divided by that power of the scan
    score (mean of the highest 0.1 % of the brain's voxels), at least 0 and below 1. The order of a
    scan's voxels stays, and that of scans by their scores. 0 = values as they are; towards 1 the
    threshold becomes a share of the scan's own peak, as uptake is outlined in PET: what stands out
    leaves less of its surroundings, and of weak finds elsewhere, in the mask."""

    def __post_init__(self) -> None:
        for name in ("erode_mm", "smooth_mm", "minimum_ml", "peak_drop"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"postprocess.{name}: must be finite and >= 0, got {value}; mend it"
                )
        if not 0 <= self.relative < 1:
            raise UsageError(
                f"postprocess.relative: must be >= 0 and < 1, got {self.relative}; mend it"
            )
        if self.median < 0 or (self.median > 1 and self.median % 2 == 0):
            raise UsageError(f"postprocess.median: must be odd or 0, got {self.median}; mend it")

    @property
    def hash(self) -> str:
        """Stable name of exactly these steps."""
        # A step that came later and is off leaves the hashes of older post-processing alone.
        off = {name for name in ("peak_drop", "relative") if not getattr(self, name)}
        return hash_of({"postprocess": {k: v for k, v in asdict(self).items() if k not in off}})

    def apply(self, anomaly: np.ndarray, brain: np.ndarray, spacing: Sequence[float]) -> Volume:
        """The map that is thresholded: >= 0, 0 outside the brain, the map's own precision.

        Args:
            anomaly: finite, >= 0; larger is less healthy.
            brain: True where the map counts, on the same grid.
            spacing: edge lengths of a voxel in mm.

        Raises:
            DataError: on two grids, or with NaN, infinite or negative voxels.
        """
        check_map(anomaly, brain)
        kept = erode(brain, self.erode_mm, spacing, axial_only=self.axial_only)
        result = median(np.where(kept, anomaly, 0), self.median, axial_only=self.axial_only)
        result = smooth(result, self.smooth_mm, spacing, axial_only=self.axial_only)
        result = steepen(result, self.peak_drop, axial_only=self.axial_only)
        result = np.where(brain, result, 0)
        result = in_relation(result, brain, self.relative)
        return result.astype(anomaly.dtype, copy=False)

    def mask(self, anomaly: Volume, threshold: float, spacing: Sequence[float]) -> Mask:
        """Voxels strictly above the threshold, without components below ``minimum_ml``."""
        mask = anomaly > threshold
        needed = math.ceil(self.minimum_ml * 1000 / math.prod(spacing) - 1e-9)
        return drop_small(mask, needed - 1) if needed > 1 else mask


def check_map(anomaly: np.ndarray, brain: np.ndarray, who: str = "anomaly map") -> None:
    """Raise unless the map lies on the brain's grid, is finite and nowhere negative."""
    if anomaly.shape != brain.shape:
        raise DataError(
            f"{who}: has shape {anomaly.shape}, its brain mask {brain.shape}; "
            "put both on the same grid first"
        )
    bad = np.count_nonzero(~np.isfinite(anomaly))
    if bad:
        raise DataError(f"{who}: {bad} voxels are NaN or infinite; look for what made them")
    if anomaly.size and anomaly.min() < 0:
        raise DataError(
            f"{who}: has values down to {anomaly.min():.3g}; a map must be >= 0 everywhere"
        )


def erode(brain: Mask, radius_mm: float, spacing: Sequence[float], *, axial_only: bool) -> Mask:
    """Brain voxels farther than ``radius_mm`` from every voxel outside the brain.

    Distances run from voxel centre to voxel centre; beyond the edge of the grid is outside.
    """
    if radius_mm == 0:
        return brain
    padded = np.pad(brain, 1)
    far = 1e6 if axial_only else spacing[2]
    sampling = (spacing[0], spacing[1], far)
    distance = np.asarray(ndimage.distance_transform_edt(padded, sampling=sampling))
    return (distance > radius_mm * (1 + 1e-9))[1:-1, 1:-1, 1:-1]


def erode_slices(brain: Mask, iterations: int) -> Mask:
    """Axial slices eroded ``iterations`` times by the 4-neighbour cross; the border is outside."""
    if iterations == 0:
        return brain
    cross = ndimage.generate_binary_structure(2, 1)[:, :, None]
    return ndimage.binary_erosion(brain, cross, iterations=iterations, border_value=0)


def median(anomaly: Volume, size: int, *, axial_only: bool = False) -> Volume:
    """Median over a cube (or an axial square) of ``size`` voxels; the border is mirrored.

    Far from every non-zero voxel the result is 0, so only their surroundings are looked at.
    """
    if size <= 1:
        return anomaly
    radius = size // 2
    box = _box_around(anomaly != 0, radius)
    # the reach beyond the box is background, or the grid's own border where scipy mirrors alike
    result = np.zeros_like(anomaly)
    shape = (size, size, 1 if axial_only else size)
    result[box] = ndimage.median_filter(anomaly[box], shape, mode="reflect")
    return result


def smooth(
    anomaly: Volume, width_mm: float, spacing: Sequence[float], *, axial_only: bool = False
) -> Volume:
    """Gaussian smoothing by its full width at half maximum; beyond the grid is 0."""
    if width_mm == 0:
        return anomaly
    sigma = [width_mm / math.sqrt(8 * math.log(2)) / s for s in spacing]
    if axial_only:
        sigma[2] = 0.0
    return ndimage.gaussian_filter(anomaly, sigma, mode="constant")


def steepen(anomaly: Volume, drop: float, *, axial_only: bool = False) -> Volume:
    """Lower voxels by how far they lie more than ``drop`` below the highest that touches them.

    Peaks, and all that lies near enough below them, stay as they are; no voxel falls below 0.
    """
    if drop == 0:
        return anomaly
    reach = (3, 3, 1 if axial_only else 3)
    below = ndimage.maximum_filter(anomaly, reach, mode="constant") - anomaly
    return np.maximum(anomaly - np.maximum(below - drop, 0), 0)


def in_relation(anomaly: Volume, brain: Mask, power: float) -> Volume:
    """The map divided by a power of its scan score; a map of zeros stays one.

    Args:
        anomaly: >= 0.
        brain: where the map counts.
        power: 0 leaves the map as it is, 1 would make every score 1.
    """
    score = scan_score(anomaly, brain) if power and brain.any() else 0.0
    if score == 0:
        return anomaly
    # In double precision: the power of a low score is 0 in half precision.
    result = anomaly.astype(np.float64) / score**power
    return np.minimum(result, np.finfo(anomaly.dtype).max).astype(anomaly.dtype)


def label_components(mask: Mask) -> tuple[np.ndarray, int]:
    """26-connected components: an array of their numbers 1, 2, ... (0 outside), and how many."""
    found: Any = ndimage.label(mask, TOUCHING)
    return found[0], int(found[1])


def drop_small(mask: Mask, largest: int, *, fill_holes: bool = False) -> Mask:
    """The mask without its 26-connected components of at most ``largest`` voxels.

    Args:
        mask: any set of voxels.
        largest: components of this many voxels still go.
        fill_holes: count the voxels of holes as well (a hollow component is then larger).
    """
    labels, count = label_components(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    small = sizes <= largest
    small[0] = True
    if fill_holes:
        boxes = ndimage.find_objects(labels)
        for number in np.flatnonzero(small[1:]) + 1:
            small[number] = _filled_size(labels[boxes[number - 1]] == number) <= largest
    return ~small[labels]


def components(
    mask: Mask, anomaly: Volume, affine: Affine, spacing: Sequence[float]
) -> list[dict[str, Any]]:
    """One row per 26-connected component, the largest volume first.

    Returns:
        Rows with ``index`` (1, 2, ...), ``volume_mm3``, ``max`` and ``mean`` of the map inside,
        and the centre of gravity ``centroid_x``, ``centroid_y``, ``centroid_z`` in RAS+ mm.
    """
    labels, count = label_components(mask)
    if not count:
        return []
    voxels = np.argwhere(mask)
    values, owner = anomaly[mask], labels[mask] - 1
    sizes = np.bincount(owner)
    peaks = np.zeros(count)
    np.maximum.at(peaks, owner, values)
    means = np.bincount(owner, values) / sizes
    sums = np.stack([np.bincount(owner, voxels[:, axis]) for axis in range(3)], axis=1)
    centres = sums / sizes[:, None] @ affine[:3, :3].T + affine[:3, 3]
    order = np.lexsort((-peaks, -sizes))  # stable: then as they lie in the grid
    return [
        {
            "index": index,
            "volume_mm3": float(sizes[c] * math.prod(spacing)),
            "max": float(peaks[c]),
            "mean": float(means[c]),
            **{f"centroid_{axis}": float(v) for axis, v in zip("xyz", centres[c], strict=True)},
        }
        for index, c in enumerate(order, start=1)
    ]


def scan_score(anomaly: Volume, brain: Mask) -> float:
    """How unlike a healthy brain the whole scan is: mean of its highest 0.1 % of brain voxels.

    A lesion fills a small part of the brain, so the mean over all voxels hardly moves; the single
    highest voxel is noise. A thousandth of an adult brain is about 1.3 ml, the size of a small
    lesion; at least one voxel is taken. The score is in the unit of the map.
    """
    values = anomaly[brain]
    if not values.size:
        raise DataError("scan score: the brain mask is empty; check the brain extraction")
    count = max(1, round(TOP_SHARE * values.size))
    return float(np.partition(values, values.size - count)[-count:].mean(dtype=np.float64))


def _filled_size(component: np.ndarray) -> int:
    return int(np.sum(np.asarray(ndimage.binary_fill_holes(component, TOUCHING))))


def _box_around(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Smallest box that holds the mask and ``margin`` voxels around it, cut at the grid."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes or boxes[0] is None:
        return tuple(slice(0, 0) for _ in mask.shape)
    return tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin))
        for s, n in zip(boxes[0], mask.shape, strict=True)
    )
