"""What healthy people show at each place: a detector's map in healthy standard deviations.

A restored image differs from a healthy scan as well, and always at the same places: folds, borders
of the ventricles, vessels. A voxel-wise normative model of the residual knows these places, so that
what remains is unusual there. Needs scans that are aligned to one grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from brainuad.difference import Sign
from brainuad.encoding import brain_of
from brainuad.postprocess import median
from brainuad.scan import Scan
from brainuad.types import DataError, UsageError, Volume

__all__ = ["PREFIX", "Normative", "NormativeOptions", "Normer", "likeness", "split_state"]

PREFIX = "normative."
"""Names of its arrays among a detector's weights start with this."""
ARRAYS = ("mean", "deviation", "image", "likeness")
SLACK = 0.2
"""A scan may be less like the healthy mean than the least like of the healthy ones, by this."""


@dataclass(frozen=True, kw_only=True)
class NormativeOptions:
    """How a map is compared with healthy people."""

    of: Literal["residual", "map"] = "residual"
    """What is compared: the scan minus its healthy counterpart, with its sign, or the method's own
    map."""
    sign: Sign = "absolute"
    """Which deviations count: both, only darker, or only brighter; of a ``map`` only higher."""
    median: int = 3
    """Edge in voxels of the median filter before the comparison, odd; 0 or 1 = off."""
    smooth_px: float = 0.7
    """Standard deviation in voxels of the Gaussian that smooths mean and deviation over places."""
    floor: float = 0.01
    """Added to the deviation as a root of the sum of squares, in the unit of what is compared, so
    that places where healthy people are all alike do not shout; > 0."""
    minimum_count: int = 10
    """Voxels inside fewer healthy brains than this are never called anomalous."""
    scans: int = 60
    """At most so many of the scans of the fit, evenly chosen."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.median < 0 or (self.median > 1 and self.median % 2 == 0):
            raise UsageError(f"normative.median: must be odd or 0, got {self.median}; mend it")
        if not (self.floor > 0 and self.smooth_px >= 0 and np.isfinite(self.floor)):
            raise UsageError(
                f"normative: floor {self.floor}, smooth_px {self.smooth_px}; give a floor above 0 "
                "and a smoothing of at least 0"
            )
        if not 2 <= self.minimum_count <= self.scans:
            raise UsageError(
                f"normative: minimum_count {self.minimum_count} of {self.scans} scans; give "
                "numbers of at least 2, the count not above the scans"
            )
        if self.of == "map" and self.sign != "absolute":
            raise UsageError(
                "normative.sign: has no meaning for a map, which is only ever too high; leave it "
                "out, or compare the residual"
            )

    def compared(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Volume:
        """What is compared with healthy people, after the median; 0 outside the brain.

        Raises:
            DataError: the residual of a method without healthy counterparts.
        """
        if self.of == "residual" and healthy is None:
            raise DataError(
                f"{scan.subject}: normative.of is residual, but this method gives no healthy "
                "counterpart; set normative.of to map"
            )
        brain = brain_of(scan)
        value = anomaly if healthy is None or self.of == "map" else scan.voxels - healthy
        return median(np.where(brain, value, 0).astype(np.float32), self.median) * brain

    def chosen(self, subjects: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the subjects that it is made of."""
        count = min(self.scans, len(subjects))
        return tuple(subjects[len(subjects) * i // count] for i in range(count))


class Normer:
    """Takes what is compared of healthy scans one at a time (Welford); keeps the scans as well."""

    def __init__(self, options: NormativeOptions, shape: tuple[int, ...]):
        self.options = options
        self.count = np.zeros(shape)
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)
        self.image = np.zeros(shape)
        self.scans: list[Scan] = []

    def add(self, value: Volume, scan: Scan) -> None:
        """Count one healthy scan where it has brain; ``value`` is what is compared."""
        brain = brain_of(scan)
        self.count += brain
        step = np.where(brain, value - self.mean, 0)
        self.mean += step / np.maximum(self.count, 1)
        self.squares += step * (value - self.mean)
        self.image += np.where(brain, scan.voxels - self.image, 0) / np.maximum(self.count, 1)
        self.scans.append(scan)

    def finish(self) -> "Normative":
        """The model of all scans so far.

        Mean and squared deviation of a place are those of its surroundings, weighted by the number
        of healthy brains there.

        Raises:
            DataError: fewer scans than ``minimum_count``.
        """
        o = self.options
        if self.count.max() < o.minimum_count:
            raise DataError(
                f"normative: made of {int(self.count.max())} healthy scans, but minimum_count is "
                f"{o.minimum_count}; give more scans or lower it"
            )
        mean = self._around(self.mean)
        apart = self.squares / np.maximum(self.count, 1) + (self.mean - mean) ** 2
        deviation = np.sqrt(self._around(apart))
        covered = self.count >= o.minimum_count
        image = np.where(covered, self.image, 0).astype(np.float16)
        return Normative(
            options=o,
            mean=np.where(covered, mean, 0).astype(np.float16),
            deviation=np.where(covered, deviation, -1).astype(np.float16),
            image=image,
            likeness=np.float32(min(likeness(scan, image) for scan in self.scans)),
        )

    def _around(self, value: np.ndarray) -> np.ndarray:
        sigma = self.options.smooth_px
        if sigma == 0:
            return value
        weight = ndimage.gaussian_filter(self.count, sigma, mode="constant")
        total = ndimage.gaussian_filter(value * self.count, sigma, mode="constant")
        return total / np.maximum(weight, 1e-6)


def likeness(scan: Scan, image: np.ndarray) -> float:
    """Correlation of a scan with an image, over the brain of the scan that the image knows."""
    known = brain_of(scan) & (image > 0)
    pair: np.ndarray = np.stack([scan.voxels[known], image[known].astype(np.float32)])
    if pair.shape[1] < 2 or not (pair.std(axis=1) > 0).all():
        return 0.0
    return float(np.corrcoef(pair)[0, 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Normative:
    """What healthy people show at each place.

    Attributes:
        options: how it was made.
        mean: of what is compared.
        deviation: standard deviation of the same; < 0 where too few healthy people have brain.
        image: mean of the scans themselves.
        likeness: least correlation of one of these scans with ``image``.
    """

    options: NormativeOptions
    mean: np.ndarray
    deviation: np.ndarray
    image: np.ndarray
    likeness: Any

    def check_contrast(self, scan: Scan, who: str) -> float:
        """How like the healthy mean a prepared scan is, in -1 .. 1.

        Raises:
            DataError: so little that it must be of another contrast, or badly aligned.
        """
        found = likeness(scan, self.image)
        if found < float(self.likeness) - SLACK:
            raise DataError(
                f"{scan.subject}: does not look like the {scan.modality} scans that detector {who} "
                f"knows (correlation {found:.2f} with their mean, theirs is {self.likeness:.2f} or "
                "more): another contrast, no brain, or badly aligned; choose another detector, or "
                "force it"
            )
        return found

    def map(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Volume:
        """Deviations of the wanted sign in healthy standard deviations, >= 0, 0 where unknown.

        Raises:
            DataError: a scan on another grid.
        """
        if scan.voxels.shape != self.mean.shape:
            raise DataError(
                f"{scan.subject}: has shape {scan.voxels.shape}, healthy people are known on "
                f"{self.mean.shape}; prepare it with the detector's recipe"
            )
        o, deviation = self.options, self.deviation.astype(np.float32)
        value = o.compared(scan, anomaly, healthy) - self.mean.astype(np.float32)
        z = value / np.sqrt(deviation**2 + np.float32(o.floor) ** 2)
        sided = np.abs(z) if o.of == "residual" and o.sign == "absolute" else np.maximum(z, 0)
        if o.sign == "dark":
            sided = np.maximum(-z, 0)
        return np.where(brain_of(scan) & (deviation >= 0), sided, 0).astype(np.float32)

    def state(self) -> dict[str, Tensor]:
        """Its arrays, to be kept among the weights."""
        return {
            f"{PREFIX}{name}": torch.from_numpy(np.array(getattr(self, name))) for name in ARRAYS
        }


def split_state(
    state: Mapping[str, Tensor], options: NormativeOptions | None
) -> tuple[dict[str, Tensor], Normative | None]:
    """The method's own weights, and the normative model that was kept among them.

    Raises:
        DataError: settings ask for a model, and there is none, or the other way round.
    """
    own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    arrays = {n.removeprefix(PREFIX): v.numpy() for n, v in state.items() if n not in own}
    if set(arrays) != (set(ARRAYS) if options else set()):
        raise DataError(
            f"normative: the settings {'ask for a model' if options else 'have none'}, the weights "
            f"hold {sorted(arrays) or 'none'}; fit the detector again"
        )
    return own, Normative(options=options, **arrays) if options else None
