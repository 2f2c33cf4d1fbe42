"""Images of the toolkit lie where the scan lies."""

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class
from tests.prepare.heads import grid

from brainuad.prepare.toolkit import array, image, one_thread


def test_a_voxel_has_its_value_and_its_place():
    shape = (5, 6, 7)
    affine = grid(shape, (1, 2, 3), (10, 20, 30))
    values = np.arange(210, dtype=np.float32).reshape(shape)
    made = image(values, affine)
    left, back, up = made.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose((-left, -back, up), affine[:3, :3] @ (1, 2, 3) + affine[:3, 3])
    assert made.GetPixel(1, 2, 3) == values[1, 2, 3]
    np.testing.assert_array_equal(array(made), values)


def test_threads_are_as_before_also_after_an_error():
    before = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        with one_thread():
            assert itk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
            raise KeyError
    except KeyError:
        pass
    assert itk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
