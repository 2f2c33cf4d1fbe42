"""Names of the arrays that cross module borders, and the errors that reach a person.

Axis order: batches first, channels second, then space. Volumes are in RAS+ voxel order:
the first axis grows to the person's right, the second to the front, the third upwards.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch channel *space"]
"""2-D slices or 3-D volumes; intensity normalised to [0, 1] in the brain, 0 outside it."""
Brain: TypeAlias = Bool[Tensor, "batch 1 *space"]
"""True inside the brain."""
AnomalyMap: TypeAlias = Float[Tensor, "batch 1 *space"]
""">= 0, larger is less healthy, 0 outside the brain."""
PerItem: TypeAlias = Float[Tensor, " batch"]
"""One number per image of a batch."""
Volume: TypeAlias = Float[np.ndarray, "i j k"]
"""One scalar per voxel of a scan, RAS+ voxel order."""
Mask: TypeAlias = Bool[np.ndarray, "i j k"]
"""A set of voxels of a scan, RAS+ voxel order."""
Affine: TypeAlias = Float[np.ndarray, "4 4"]
"""Homogeneous matrix from voxel indices to RAS+ millimetres, applied from the left."""
Denoiser: TypeAlias = Callable[[Images, PerItem], Images]
"""Image with noise of standard deviation sigma (per item) -> clean estimate x0."""


class BrainuadError(Exception):
    """Something a person can put right; the message says who, what is wrong and what to do."""

    exit_code = 70


class UsageError(BrainuadError, ValueError):
    """A wrong option, name or combination of options."""

    exit_code = 2


class DataError(BrainuadError, ValueError):
    """A file or array whose content cannot be used."""

    exit_code = 65


class MissingError(BrainuadError, FileNotFoundError):
    """A file or folder that does not exist."""

    exit_code = 66


class UnavailableError(BrainuadError, RuntimeError):
    """Weights, a device or an optional package that is not there."""

    exit_code = 69


class AccessError(BrainuadError, PermissionError):
    """A file or folder that may not be read or written."""

    exit_code = 77


class SpaceError(BrainuadError, OSError):
    """No space left, or another passing failure of the machine; trying again later may help."""

    exit_code = 75
