"""A scan: voxels with geometry. The only module that knows how NIfTI files are read and written."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brainuad.types import Affine, Mask, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """One 3-D acquisition in RAS+ voxel order.

    Attributes:
        voxels: float32 intensities, (i, j, k) in RAS+ order.
        affine: voxel indices to RAS+ millimetres.
        modality: T1w, T2w, FLAIR, PD, CT.
        subject: who it is of; names random streams and output files.
        brain: True inside the brain, on the same grid, or None when not known yet.
        source: geometry and header of the file it came from, for writing outputs on its own grid.
    """

    voxels: Volume
    affine: Affine
    modality: str
    subject: str
    brain: Mask | None = None
    source: Any = field(default=None, repr=False)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm, along i, j, k."""
        return tuple(float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
