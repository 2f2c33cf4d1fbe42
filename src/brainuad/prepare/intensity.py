"""Intensities of a brain to [0, 1]; 0 outside."""

from dataclasses import dataclass

import numpy as np
import torch

from brainuad.equalise import equalise
from brainuad.prepare.measure import known_brain
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError, UsageError, Volume


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """Stretch the brain between two of its percentiles to [0, 1] and cut off what is beyond."""

    low: float = 1.0
    """Percentile of the brain that becomes 0; the value 0 itself stays 0 when this is 0."""
    high: float = 99.0
    """Percentile of the brain that becomes 1."""
    equalise: bool = False
    """Then replace values by their ranks in the brain (histogram of 256 bins)."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(
                f"intensity: percentiles {self.low} and {self.high} must ascend within 0 to 100; "
                "correct them"
            )

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan stretched."""
        low, high = _percentiles(work.scan, self.low, self.high)
        values = np.clip((work.scan.voxels - low) / (high - low), 0, 1)
        voxels = np.where(known_brain(work.scan), values, 0).astype(np.float32)
        if self.equalise:
            voxels = _equalised(voxels, work.scan)
        return work.with_scan(voxels=voxels).note(intensity=[low, high])


def _percentiles(scan: Scan, *percent: float) -> tuple[float, float]:
    inside = scan.voxels[known_brain(scan)]
    if not inside.size:
        raise DataError(f"{scan.subject}: no brain to measure intensities in; give a brain mask")
    low, high = (float(v) for v in np.percentile(inside, percent))
    if not high > low:
        raise DataError(
            f"{scan.subject}: the brain has one intensity, {low:g}; give a scan with contrast"
        )
    return low, high


def _equalised(voxels: Volume, scan: Scan) -> Volume:
    image, brain = (torch.from_numpy(a)[None, None] for a in (voxels, scan.brain))
    return equalise(image, brain)[0, 0].numpy()
