"""SimpleITK for the steps that use it: images with the right place, and one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class
from jaxtyping import Num

from brainuad.types import Affine

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""SimpleITK grows to the left and to the back where RAS+ grows to the right and to the front."""


def image(values: Num[np.ndarray, "i j k"], affine: Affine) -> itk.Image:
    """A volume with an orthogonal affine to RAS+ millimetres, as the toolkit has it."""
    made = itk.GetImageFromArray(np.ascontiguousarray(values.T))
    axes = (LPS @ affine)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    made.SetSpacing(spacing.tolist())
    made.SetDirection((axes / spacing).ravel().tolist())
    made.SetOrigin((LPS @ affine)[:3, 3].tolist())
    return made


def array(made: itk.Image) -> Num[np.ndarray, "i j k"]:
    """The voxels of an image of the toolkit."""
    return np.ascontiguousarray(itk.GetArrayFromImage(made).T)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the whole toolkit while the block runs.

    Some of its parts ignore the number set for them, and with several threads the order of sums,
    hence the result, differs from run to run.
    """
    before = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
