"""From volumes to upright pictures: which slices to show, how to turn, crop and scale them.

Pictures follow the radiological convention: seen from the feet, the person's right is on the left
of the picture, the front on top.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from brainuad.types import Affine, DataError, Mask, Volume

Plane = Shaped[np.ndarray, "rows columns"]
Grey = Float[np.ndarray, "rows columns"]
Outline = Bool[np.ndarray, "rows columns"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Volumes:
    """What the pictures of one scan are made of; all on one grid in RAS+ voxel order."""

    scan: Volume
    """Intensities, any unit."""
    affine: Affine
    """Voxel indices to RAS+ millimetres."""
    healthy: Volume | None = None
    """The healthy counterpart, in the unit of ``scan``."""
    anomaly: Volume | None = None
    """The anomaly map, >= 0."""
    mask: Mask | None = None
    """Voxels called anomalous."""
    lesion: Mask | None = None
    """The truth, where it is known."""
    brain: Mask | None = None
    """True inside the brain."""
    threshold: float | None = None
    """Anomaly value above which a voxel is called anomalous; sets the colour scale."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm, along i, j, k."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def inside(self) -> Mask:
        """The brain, or where it is not known every voxel that is not background."""
        inside = self.scan > self.scan.min() if self.brain is None else self.brain
        if not inside.any():
            raise DataError(
                "pictures: the scan has no voxel inside the brain; check the brain mask"
            )
        return inside


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of each axial slice that is shown, and how large a millimetre is there."""

    rows: slice
    """Voxels along j."""
    columns: slice
    """Voxels along i."""
    aspect: float
    """Height of a pixel over its width."""

    @property
    def pixels(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def shape(self) -> float:
        """Height of a picture over its width, in millimetres."""
        rows, columns = self.pixels
        return rows * self.aspect / columns

    def cut(self, volume: Shaped[np.ndarray, "i j k"], k: int) -> Plane:
        """Axial slice ``k``, cropped and turned upright: right is left, front is on top."""
        return upright(volume[self.columns, self.rows, k])


def upright(plane: Shaped[np.ndarray, "across up"]) -> Plane:
    """Turn a plane whose axes grow to the right (or front) and up (or front) into a picture."""
    return plane.T[::-1, ::-1]


def window(volumes: Volumes, *, margin_mm: float = 6.0) -> Window:
    """The smallest window that shows the whole brain in every axial slice, with a margin."""
    inside = volumes.inside
    spacing = volumes.spacing
    columns = _extent(np.any(inside, axis=(1, 2)), round(margin_mm / spacing[0]))
    rows = _extent(np.any(inside, axis=(0, 2)), round(margin_mm / spacing[1]))
    return Window(rows=rows, columns=columns, aspect=spacing[1] / spacing[0])


def _extent(hit: Bool[np.ndarray, " n"], margin: int) -> slice:
    where = np.flatnonzero(hit)
    return slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + 1 + margin, len(hit)))


def brain_slices(volumes: Volumes, *, least: float = 0.05) -> list[int]:
    """Axial slices whose brain area is at least ``least`` of the largest one."""
    area = volumes.inside.sum((0, 1))
    return [int(k) for k in np.flatnonzero(area >= max(1.0, least * area.max()))]


def spread(candidates: list[int], count: int) -> list[int]:
    """At most ``count`` of the candidates, evenly spread, ends included, in order."""
    picks = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int)
    return [candidates[i] for i in picks]


def weight_per_slice(volumes: Volumes) -> Float[np.ndarray, " k"]:
    """How much each axial slice deserves to be seen: lesion first, then mask, then map."""
    for volume in (volumes.lesion, volumes.mask, volumes.anomaly):
        if volume is not None and volume.any():
            return volume.sum((0, 1)).astype(float)
    return volumes.inside.sum((0, 1)).astype(float)


def chosen_slices(volumes: Volumes, count: int) -> list[int]:
    """Slices for a still picture, in order from below.

    The one where lesion (or mask, or map) is largest is always there; the others are spread
    evenly over the middle of the brain.
    """
    shown = brain_slices(volumes, least=0.3)
    top = int(np.argmax(weight_per_slice(volumes)))
    if len(shown) <= count:
        return sorted({top, *shown})
    picks = spread(shown, count + 2)[1:-1]
    nearest = min(picks, key=lambda k: abs(k - top))
    return sorted({top, *picks} - ({nearest} - {top}))


def height_mm(volumes: Volumes, k: int) -> float:
    """World height of axial slice ``k`` in its centre, in mm (RAS+)."""
    i, j, _ = volumes.scan.shape
    return float((volumes.affine @ np.array([(i - 1) / 2, (j - 1) / 2, k, 1.0]))[2])


def grey_range(volumes: Volumes) -> tuple[float, float]:
    """Intensities shown as black (the background) and white (99.5 % quantile in the brain)."""
    low = float(np.quantile(volumes.scan, 0.005))
    high = float(np.quantile(volumes.scan[volumes.inside], 0.995))
    return low, max(high, low + 1e-6)


def anomaly_top(volumes: Volumes) -> float:
    """Anomaly value of the brightest colour.

    Three thresholds, so that scans compare; more where 0.5 % of the brain lie above that, because
    a map that is all one colour shows nothing.
    """
    high = 0.0
    if volumes.anomaly is not None:
        high = float(np.quantile(volumes.anomaly[volumes.inside], 0.995))
    if volumes.threshold is not None and volumes.threshold > 0:
        return max(3.0 * volumes.threshold, high)
    return high if high > 0 else 1.0


def to_unit(plane: Plane, low: float, high: float) -> Grey:
    """Values brought to [0, 1] and clipped there."""
    return np.clip((plane.astype(float) - low) / (high - low), 0.0, 1.0)
