"""What maps are compared with: settings, and what every model of healthy people does."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from brainuad.difference import Sign
from brainuad.encoding import brain_of
from brainuad.postprocess import median
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, UsageError, Volume

PREFIX = "normative."
"""Names of its arrays among a detector's weights start with this."""
SLACK = 0.2
"""A scan may be less like healthy ones than the least like of these, by this."""


Compared = Float[np.ndarray, "values i j k"]


@dataclass(frozen=True, kw_only=True)
class NormativeOptions:
    """How a map is compared with healthy people."""

    of: Literal["residual", "conditional", "map"] = "residual"
    """What is compared: the scan minus its healthy counterpart, with its sign; the scan given that
    counterpart, by a regression over healthy people; or the method's own map."""
    sign: Sign = "absolute"
    """Which deviations count: both, only darker, or only brighter; of a ``map`` only higher."""
    median: int = 3
    """Edge in voxels of the median filter before the comparison, odd; 0 or 1 = off."""
    blur_px: float = 0.0
    """Standard deviation in voxels of a Gaussian after that median, which keeps the sign: a lesion
    shifts its voxels one way, noise and grain do not; 0 = off."""
    smooth_px: float = 0.7
    """Standard deviation in voxels of the Gaussian that smooths mean and deviation over places."""
    floor: float = 0.01
    """Added to the deviation as a root of the sum of squares, in the unit of what is compared, so
    that places where healthy people are all alike do not shout; > 0."""
    ridge: float = 1e-5
    """Of ``conditional``: added to the variance of the counterparts, > 0; the larger, the less a
    counterpart counts that varies little among healthy people, up to not at all."""
    scan_weight: float = 0.0
    """Of ``conditional``: the deviation of the scan alone, without its counterpart, is added with
    this weight; what is unusual in itself then counts even where the counterpart follows it."""
    minimum_count: int = 10
    """Voxels inside fewer healthy brains than this are never called anomalous."""
    scans: int = 60
    """At most so many of the scans of the fit, evenly chosen."""
    nearest: int | None = None
    """Compare each axial slice with so many slices of healthy people most like it, for stacks and
    slices that are not aligned; None: each place with the same place in all scans."""
    components: int = 50
    """Principal components of the healthy slices in which ``nearest`` measures likeness."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.median < 0 or (self.median > 1 and self.median % 2 == 0):
            raise UsageError(f"normative.median: must be odd or 0, got {self.median}; mend it")
        for name in ("floor", "ridge"):
            if not (getattr(self, name) > 0 and np.isfinite(getattr(self, name))):
                raise UsageError(f"normative.{name}: is {getattr(self, name)}; give more than 0")
        for name in ("blur_px", "smooth_px", "scan_weight"):
            if not (getattr(self, name) >= 0 and np.isfinite(getattr(self, name))):
                raise UsageError(f"normative.{name}: is {getattr(self, name)}; give 0 or more")
        self._check_counts()
        if self.scan_weight and self.of != "conditional":
            raise UsageError(
                f"normative.scan_weight: is {self.scan_weight}, but of is {self.of}; set "
                "normative.of to conditional, or leave the weight out"
            )
        if self.of == "map" and self.sign != "absolute":
            raise UsageError(
                "normative.sign: has no meaning for a map, which is only ever too high; leave it "
                "out, or compare the residual"
            )

    def _check_counts(self) -> None:
        if self.nearest is not None and self.nearest < self.minimum_count:
            raise UsageError(
                f"normative.nearest: is {self.nearest}, below minimum_count {self.minimum_count}, "
                "so nothing could be anomalous; raise it"
            )
        if self.minimum_count < 2 or (self.nearest is None and self.minimum_count > self.scans):
            raise UsageError(
                f"normative: minimum_count {self.minimum_count} of {self.scans} scans; give "
                "numbers of at least 2, the count not above the scans"
            )
        if self.components < 1:
            raise UsageError(f"normative.components: is {self.components}; give 1 or more")

    def compared(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Compared:
        """What is compared with healthy people, median and blur done; 0 outside the brain.

        Returns:
            One volume; for ``conditional`` two, the scan and its healthy counterpart.

        Raises:
            DataError: the residual of a method without healthy counterparts.
        """
        if self.of != "map" and healthy is None:
            raise DataError(
                f"{scan.subject}: normative.of is {self.of}, but this method gives no healthy "
                "counterpart; set normative.of to map"
            )
        if healthy is None or self.of == "map":
            parts = [anomaly]
        else:
            parts = [scan.voxels, healthy] if self.of == "conditional" else [scan.voxels - healthy]
        brain = brain_of(scan)
        return np.stack([self._filtered(part, brain) for part in parts])

    def _filtered(self, value: np.ndarray, brain: Mask) -> np.ndarray:
        value = np.where(brain, value, 0).astype(np.float32)
        within_slices = self.nearest is not None
        value = median(value, self.median, axial_only=within_slices)
        sigma = (self.blur_px, self.blur_px, 0 if within_slices else self.blur_px)
        return ndimage.gaussian_filter(value, sigma, mode="constant") * brain

    def chosen(self, subjects: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the subjects that it is made of."""
        count = min(self.scans, len(subjects))
        return tuple(subjects[len(subjects) * i // count] for i in range(count))

    def deviations(self, apart: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Differences to healthy people in units of their deviation, those of the wanted sign."""
        z = apart / np.sqrt(deviation**2 + np.float32(self.floor) ** 2)
        if self.of != "map" and self.sign == "absolute":
            return np.abs(z)
        return np.maximum(-z if self.sign == "dark" else z, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Normative(ABC):
    """What healthy people show, as learned from the scans of the fit.

    Attributes:
        options: how it was made.
        likeness: how like healthy ones the least like of the healthy scans is, in -1 .. 1.
    """

    options: NormativeOptions
    likeness: Any

    @staticmethod
    @abstractmethod
    def arrays(options: NormativeOptions) -> tuple[str, ...]:
        """Names of what is kept among a detector's weights."""

    @abstractmethod
    def likeness_of(self, scan: Scan) -> float:
        """How like healthy ones a prepared scan is: a correlation, in -1 .. 1."""

    @abstractmethod
    def map(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Volume:
        """Deviations of the wanted sign in healthy standard deviations, >= 0, 0 where unknown.

        Args:
            scan: as prepared for the detector.
            anomaly: the method's own map of it.
            healthy: its healthy counterpart, where the method gives one.

        Raises:
            DataError: a scan on another grid.
        """

    def check_contrast(self, scan: Scan, who: str) -> float:
        """How like healthy ones a prepared scan is, in -1 .. 1.

        Raises:
            DataError: so little that it must be of another contrast, or badly aligned.
        """
        found = self.likeness_of(scan)
        if found < float(self.likeness) - SLACK:
            raise DataError(
                f"{scan.subject}: does not look like the {scan.modality} scans that detector {who} "
                f"knows (correlation {found:.2f} with their mean, theirs is {self.likeness:.2f} or "
                "more): another contrast, no brain, or badly aligned; choose another detector, or "
                "force it"
            )
        return found

    def state(self) -> dict[str, Tensor]:
        """Its arrays, to be kept among the weights."""
        return {
            f"{PREFIX}{name}": torch.from_numpy(np.array(getattr(self, name)))
            for name in self.arrays(self.options)
        }


class Normer(ABC):
    """Takes what is compared of healthy scans one at a time, then gives the model."""

    @abstractmethod
    def add(self, values: Compared, scan: Scan) -> None:
        """Count one healthy scan where it has brain; ``values`` is what is compared."""

    @abstractmethod
    def finish(self) -> Normative:
        """The model of all scans so far.

        Raises:
            DataError: too few healthy scans or slices.
        """


def slope_and_variance(covariance: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the first value on the second, and the variance that remains of the first.

    Slopes are held between 0 and 1: at 0 the counterpart says nothing of the scan, at 1 their
    difference is what counts. Of one value there is no slope (0), and its variance remains.

    Args:
        covariance: (1, 1, ...) or (2, 2, ...).
        ridge: added to the variance of the second.
    """
    own = covariance[0, 0]
    if len(covariance) == 1:
        return np.zeros_like(own), own
    both, other = covariance[0, 1], covariance[1, 1]
    slope = np.clip(both / (other + np.float32(ridge)), 0, 1)
    return slope, np.maximum(own - 2 * slope * both + slope**2 * other, 0)


def along(values: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The first value less the slope times the second, where there is one."""
    return values[0] if len(values) == 1 else values[0] - slope * values[1]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; 0 where either is constant or there are fewer than two values."""
    if one.size < 2 or not (one.std() > 0 and other.std() > 0):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
