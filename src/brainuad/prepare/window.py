"""A fixed window of intensity to [0, 1], for units that mean the same in every scan."""

from dataclasses import dataclass

import numpy as np

from brainuad.prepare.measure import known_brain
from brainuad.prepare.work import Work
from brainuad.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Window:
    """Stretch a window to [0, 1], cut off what is beyond it, and make the rest outside 0.

    For CT in Hounsfield units and for 8-bit slices; MRI has no unit and takes
    :class:`~brainuad.prepare.intensity.Intensity`.
    """

    low: float = 0.0
    """What becomes 0, in the unit of the scan."""
    high: float = 255.0
    """What becomes 1, in the unit of the scan."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"window: {self.low} to {self.high} must ascend; correct it")

    def __call__(self, work: Work) -> Work:
        """The work with the voxels of its scan stretched."""
        values = np.clip((work.scan.voxels - self.low) / (self.high - self.low), 0, 1)
        voxels = np.where(known_brain(work.scan), values, 0).astype(np.float32)
        return work.with_scan(voxels=voxels).note(intensity=[self.low, self.high])
