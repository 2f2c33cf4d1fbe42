"""How far the healthy counterpart of a healthy scan is from that scan: a method's own error."""

from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

REACH = 5
"""Half the width of the SSIM's window in voxels (Gaussian of 1.5 voxels, cut at 3.5 of them)."""


class Restoration(NamedTuple):
    """Counterpart against scan inside the region; intensities normalised to [0, 1]."""

    l1: float
    """Mean absolute difference."""
    psnr: float
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal volumes."""
    ssim: float
    """Mean structural similarity (Wang et al. 2004, IEEE TIP 13:600), at most 1."""


def restoration(scan: np.ndarray, healthy: np.ndarray, region: np.ndarray) -> Restoration:
    """Errors over the voxels of the region; what lies outside it is taken as 0 in both.

    Args:
        scan: (i, j, k), normalised so that the brain lies in [0, 1].
        healthy: the counterpart in the same units.
        region: True where it counts, at least one voxel.
    """
    one, two = scan[region].astype(np.float64), healthy[region].astype(np.float64)
    square = float(np.mean((one - two) ** 2))
    return Restoration(
        l1=float(np.mean(np.abs(one - two))),
        psnr=float(-10 * np.log10(square)) if square else np.inf,
        ssim=_similarity(scan, healthy, region),
    )


def _similarity(scan: np.ndarray, healthy: np.ndarray, region: np.ndarray) -> float:
    """SSIM of 3-D windows around every voxel of the region."""
    one, two = (np.pad(np.where(region, v, 0), REACH).astype(np.float32) for v in (scan, healthy))
    found = structural_similarity(
        one, two, data_range=1.0, full=True, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    local = np.asarray(found[1])
    return float(local[np.pad(region, REACH)].mean(dtype=np.float64))
