"""Noise out of a scan while its edges stay."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class

from brainuad.prepare.toolkit import array, image, one_thread
from brainuad.prepare.work import Work
from brainuad.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Denoise:
    """Curvature flow (Sethian 1999): level lines move inwards as fast as they are curved.

    Every scan of the published pDDPM, mDDPM and cDDPM experiments goes through it. Distances are
    counted in voxels, as published, so it smooths less across thick slices than they deserve.
    """

    iterations: int = 3
    """Time steps."""
    time_step: float = 0.125
    """Length of a time step; above 0.125 the flow is not stable in 3-D."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or not 0 < self.time_step <= 0.125:
            raise UsageError(
                f"denoise: {self.iterations} iterations of {self.time_step}; use at least one "
                "iteration and a time step above 0 and at most 0.125"
            )

    def __call__(self, work: Work) -> Work:
        """The work with its scan smoothed."""
        with one_thread():
            noisy = image(work.scan.voxels, np.eye(4))
            flowed = itk.CurvatureFlow(noisy, self.time_step, self.iterations)
        return work.with_scan(voxels=array(flowed))
