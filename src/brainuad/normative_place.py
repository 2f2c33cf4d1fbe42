"""What healthy people show at each place of an aligned grid, in mean and standard deviation."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from brainuad.encoding import brain_of
from brainuad.normative_model import (
    Compared,
    Normative,
    NormativeOptions,
    Normer,
    along,
    correlation,
    slope_and_variance,
)
from brainuad.scan import Scan
from brainuad.types import DataError, Volume


class PlaceNormer(Normer):
    """Takes what is compared of healthy scans one at a time (Welford); keeps the scans as well."""

    def __init__(self, options: NormativeOptions, shape: tuple[int, ...]):
        self.options = options
        self.count = np.zeros(shape)
        values = 2 if options.of == "conditional" else 1
        self.mean = np.zeros((values, *shape))
        self.products = np.zeros((values, values, *shape))
        self.image = np.zeros(shape)
        self.scans: list[Scan] = []

    def add(self, values: Compared, scan: Scan) -> None:
        """Count one healthy scan where it has brain; ``values`` is what is compared."""
        brain = brain_of(scan)
        self.count += brain
        step = np.where(brain, values - self.mean, 0)
        self.mean += step / np.maximum(self.count, 1)
        self.products += step[:, None] * (values - self.mean)[None]
        self.image += np.where(brain, scan.voxels - self.image, 0) / np.maximum(self.count, 1)
        self.scans.append(scan)

    def finish(self) -> "PlaceNormative":
        """The model of all scans so far.

        Means and covariances of a place are those of its surroundings, weighted by the number of
        healthy brains there.

        Raises:
            DataError: fewer scans than ``minimum_count``.
        """
        o = self.options
        if self.count.max() < o.minimum_count:
            raise DataError(
                f"normative: made of {int(self.count.max())} healthy scans, but minimum_count is "
                f"{o.minimum_count}; give more scans or lower it"
            )
        mean = np.stack([self._around(part) for part in self.mean])
        off = self.mean - mean
        apart = self.products / np.maximum(self.count, 1) + off[:, None] * off[None]
        covariance = np.stack([[self._around(part) for part in row] for row in apart])
        slope, variance = slope_and_variance(covariance, o.ridge)
        covered = self.count >= o.minimum_count
        image = np.where(covered, self.image, 0).astype(np.float16)
        own = np.sqrt(np.maximum(covariance[0, 0], 0))
        alone = np.where(covered, np.stack([mean[0], own]), 0).astype(np.float16)
        return PlaceNormative(
            options=o,
            alone=alone if o.scan_weight else np.zeros(()),
            mean=np.where(covered, along(mean, slope), 0).astype(np.float16),
            slope=np.where(covered, slope, 0).astype(np.float16),
            deviation=np.where(covered, np.sqrt(variance), -1).astype(np.float16),
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
    return correlation(scan.voxels[known], image[known].astype(np.float32))


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaceNormative(Normative):
    """What healthy people show at each place.

    Attributes:
        mean: of what is compared.
        slope: of the scan on its healthy counterpart; 0 unless the scan is taken given that.
        deviation: standard deviation of the same; < 0 where too few healthy people have brain.
        alone: mean and standard deviation of the scan without its counterpart, where that counts.
        image: mean of the scans themselves, which ``likeness`` is a correlation with.
    """

    mean: np.ndarray
    deviation: np.ndarray
    image: np.ndarray
    slope: np.ndarray = field(default_factory=lambda: np.zeros(()))
    alone: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @staticmethod
    def arrays(options: NormativeOptions) -> tuple[str, ...]:
        """The slope, and the scan alone, only where they count."""
        slope = ("slope",) if options.of == "conditional" else ()
        alone = ("alone",) if options.scan_weight else ()
        return ("mean", "deviation", "image", "likeness", *slope, *alone)

    def likeness_of(self, scan: Scan) -> float:
        """Correlation with the mean of the healthy scans."""
        return likeness(scan, self.image)

    def map(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Volume:
        """Deviations from the same place in healthy people."""
        if scan.voxels.shape != self.mean.shape:
            raise DataError(
                f"{scan.subject}: has shape {scan.voxels.shape}, healthy people are known on "
                f"{self.mean.shape}; prepare it with the detector's recipe"
            )
        o, deviation = self.options, self.deviation.astype(np.float32)
        values = o.compared(scan, anomaly, healthy)
        value = along(values, self.slope.astype(np.float32)) - self.mean.astype(np.float32)
        found = o.deviations(value, deviation)
        if o.scan_weight:
            mean, own = self.alone.astype(np.float32)
            found = found + o.scan_weight * o.deviations(values[0] - mean, own)
        return np.where(brain_of(scan) & (deviation >= 0), found, 0).astype(np.float32)
