"""A scan: voxels with geometry, and where they came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from brainuad.types import Affine, Mask, Volume

AXES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, kw_only=True, eq=False)
class FileGrid:
    """How the voxels lie in the file that a scan was read from.

    Attributes:
        path: the file.
        shape: its shape, singleton axes included.
        affine: its voxel indices to RAS+ millimetres.
        orientation: for each axis of the file, the RAS+ axis that it runs along and its sign.
        header: its header, byte for byte.
        left_out: files that lay with it and are no part of it, where somebody may expect so.
    """

    path: str
    shape: tuple[int, ...]
    affine: Affine
    orientation: Float[np.ndarray, "3 2"]
    header: bytes = field(repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def codes(self) -> str:
        """Directions that the axes of the file grow to, such as ``PSR``."""
        return "".join(AXES[int(axis)][int(sign > 0)] for axis, sign in self.orientation)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """One 3-D acquisition in RAS+ voxel order.

    Attributes:
        voxels: float32 intensities, (i, j, k) in RAS+ order.
        affine: voxel indices to RAS+ millimetres.
        modality: T1w, T2w, FLAIR, PD, CT, or unknown.
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
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k
