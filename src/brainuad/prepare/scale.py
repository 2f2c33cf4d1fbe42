"""Other ways to [0, 1]: z-scores, the tissue mode, an inner median, a standard histogram."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.prepare.measure import known_brain
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError, UsageError

BINS = 256
DECILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


@dataclass(frozen=True, kw_only=True)
class ZScore:
    """Mean and standard deviation of the brain to 0.5 and a share of the range."""

    clip: float = 3.0
    """Standard deviations from the mean that become 0 and 1."""

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise UsageError(f"zscore: clip {self.clip} must be above 0; correct it")

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan stretched."""
        inside = brain_values(work.scan)
        mean, spread = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        return stretched(work, mean - self.clip * spread, mean + self.clip * spread)


@dataclass(frozen=True, kw_only=True)
class TissueMode:
    """The brightness that most of the brain has to a fixed value.

    That is white matter in T1w, grey in T2w and FLAIR; as in WhiteStripe (Shinohara et al. 2014).
    """

    at: float = 0.7
    """What the mode becomes, in (0, 1); twice this or more is cut off at 1."""

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise UsageError(f"tissue_mode: at {self.at} must lie between 0 and 1; correct it")

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan stretched."""
        inside = brain_values(work.scan)
        low = float(np.percentile(inside, 1))
        return stretched(work, low, low + (tissue_mode(inside) - low) / self.at)


@dataclass(frozen=True, kw_only=True)
class InnerMedian:
    """The median of what lies deep inside to a fixed value; 0 stays 0.

    For heads with their skull: the bright fat of the scalp, whose share differs from stack to
    stack, has no say.
    """

    depth_mm: float = 16.0
    """Distance from the outside, within the axial slice, from which on voxels count, mm."""
    at: float = 0.25
    """What the median becomes, in (0, 1); 1 / ``at`` medians and more are cut off at 1."""

    def __post_init__(self) -> None:
        if not (0 < self.at < 1 and self.depth_mm >= 0):
            raise UsageError(
                f"inner_median: at {self.at} must lie between 0 and 1, depth_mm {self.depth_mm} "
                "must be >= 0; correct them"
            )

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan stretched."""
        scan = work.scan
        padded = np.pad(known_brain(scan), ((1, 1), (1, 1), (0, 0)))
        # Slices so far apart that none is the way out of another.
        depth = np.asarray(
            ndimage.distance_transform_edt(padded, sampling=(*scan.spacing[:2], 1e6))
        )[1:-1, 1:-1]
        inside = scan.voxels[depth > self.depth_mm]
        middle = float(np.median(inside)) if inside.size else 0.0
        if not middle > 0:
            raise DataError(
                f"{scan.subject}: the median deeper than {self.depth_mm:g} mm is {middle:g}; "
                "check the mask of the head, or use another normalisation"
            )
        return stretched(work, 0.0, middle / self.at)


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Percentiles of the brain to those of a standard histogram (Nyul et al. 2000).

    The standard is part of the recipe, so it travels with the detector; :func:`learn_landmarks`
    makes one from healthy scans.
    """

    values: tuple[float, ...]
    """What each percentile becomes, rising within [0, 1]."""
    percentiles: tuple[float, ...] = DECILES
    """Of the brain; straight lines between them."""

    def __post_init__(self) -> None:
        rising = all(np.diff(self.values) > 0) and all(np.diff(self.percentiles) > 0)
        ends = (*self.values, *(p / 100 for p in self.percentiles))
        if (
            len(self.values) != len(self.percentiles)
            or not rising
            or min(ends) < 0
            or max(ends) > 1
        ):
            raise UsageError(
                f"landmarks: values {self.values} for percentiles {self.percentiles}; give as many "
                "of each, rising, values in [0, 1] and percentiles in 0 to 100"
            )

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan mapped piece by piece."""
        brain, own = known_brain(work.scan), own_landmarks(work.scan, self.percentiles)
        mapped = np.interp(work.scan.voxels, own, self.values)
        voxels = np.where(brain, mapped, 0).astype(np.float32)
        curve = [own.tolist(), list(self.values)]
        return work.with_scan(voxels=voxels).note(intensity_curve=curve)


def learn_landmarks(
    scans: Iterable[Scan], *, percentiles: tuple[float, ...] = DECILES
) -> Landmarks:
    """The mean histogram of healthy scans, each stretched between its first and last percentile.

    Raises:
        DataError: no scan at all.
    """
    curves = []
    for scan in scans:
        own = own_landmarks(scan, percentiles)
        curves.append((own - own[0]) / (own[-1] - own[0]))
    if not curves:
        raise DataError("landmarks: no scan to learn them from; give healthy scans")
    mean = np.mean(curves, axis=0)
    return Landmarks(values=tuple(float(v) for v in mean), percentiles=percentiles)


def own_landmarks(scan: Scan, percentiles: tuple[float, ...]) -> np.ndarray:
    """The percentiles of a brain, which must all differ."""
    own = np.percentile(brain_values(scan), percentiles)
    if not (np.diff(own) > 0).all():
        raise DataError(
            f"{scan.subject}: many voxels of the brain have one value, its percentiles "
            f"{np.round(own, 3).tolist()} do not rise; use another normalisation"
        )
    return own


def brain_values(scan: Scan) -> np.ndarray:
    """The values in a brain, which must not all be one."""
    inside = scan.voxels[known_brain(scan)]
    if not inside.size or inside.min() == inside.max():
        raise DataError(f"{scan.subject}: the brain has no contrast; give a scan of a brain")
    return inside


def tissue_mode(values: np.ndarray) -> float:
    """The most frequent value above the darkest tenth, from a smoothed histogram."""
    low, high = np.percentile(values, (10, 99.5))
    counts, edges = np.histogram(values, bins=BINS, range=(float(low), float(high)))
    peak = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(float), BINS / 64)))
    return float((edges[peak] + edges[peak + 1]) / 2)


def stretched(work: Work, low: float, high: float) -> Work:
    """The work with ``low`` to ``high`` brought to [0, 1] in the brain, and 0 elsewhere."""
    scan = work.scan
    values = np.clip((scan.voxels - low) / (high - low), 0, 1)
    voxels = np.where(known_brain(scan), values, 0).astype(np.float32)
    return work.with_scan(voxels=voxels).note(intensity=[low, high])
