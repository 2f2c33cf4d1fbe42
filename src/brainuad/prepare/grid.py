"""Grids that scans are brought to: shape, spacing and place."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from brainuad.types import Affine, UsageError

NewVolume: TypeAlias = Float[np.ndarray, "u v w"]
"""One scalar per voxel of the grid that a function leads to."""
NewMask: TypeAlias = Bool[np.ndarray, "u v w"]
"""A set of voxels of the grid that a function leads to."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An axis-aligned grid in RAS+ millimetres."""

    shape: tuple[int, int, int]
    """Voxels to the right, to the front, upwards."""
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
    """Edge lengths of a voxel, mm."""
    origin: tuple[float, float, float]
    """Centre of the first voxel, mm."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not min(self.spacing) > 0:
            raise UsageError(
                f"grid: shape {self.shape} and spacing {self.spacing} must be above 0; correct them"
            )

    @property
    def affine(self) -> Affine:
        """Voxel indices to millimetres."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine


MNI_2MM = Grid(shape=(80, 96, 80), origin=(-79.0, -112.0, -74.0))
"""MNI152 at 2 mm: the whole brain of the template with at least 2.5 mm around it, and left-right
symmetric: the mirror image of voxel i is voxel 79 - i. All sides divide by 16."""
MNI_1MM = Grid(shape=(182, 218, 182), spacing=(1.0, 1.0, 1.0), origin=(-90.0, -126.0, -72.0))
"""MNI152 at 1 mm, on the voxels that most software uses."""
MNI_256 = Grid(shape=(256, 256, 182), spacing=(1.0, 1.0, 1.0), origin=(-127.5, -145.5, -72.0))
"""MNI152 at 1 mm with axial slices of 256 pixels, left-right symmetric."""
