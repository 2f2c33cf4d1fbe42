"""Curvature flow."""

import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.prepare.denoise import Denoise
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import UsageError


@pytest.mark.parametrize("case", [0, 1])
def test_flow_equals_the_published_preparation(golden, case):
    arrays = golden("preprocess")
    raw = arrays[f"case{case}_raw"].astype(np.float32)
    scan = Scan(voxels=raw, affine=np.eye(4), modality="T1w", subject="sub-01")
    flowed = Denoise()(Work.start(scan)).scan.voxels
    np.testing.assert_allclose(flowed, arrays[f"case{case}_curvature_flow"], atol=1e-2)


def test_noise_falls_and_a_flat_edge_stays():
    voxels = np.zeros((24, 24, 24), np.float32)
    voxels[12:] = 100
    noisy = voxels + np.random.default_rng(0).normal(0, 5, voxels.shape).astype(np.float32)
    scan = Scan(voxels=noisy, affine=np.eye(4), modality="T1w", subject="sub-01")
    flowed = Denoise(iterations=10)(Work.start(scan)).scan.voxels
    assert flowed[2:10].std() < 0.6 * noisy[2:10].std()
    assert flowed[12:14].mean() - flowed[10:12].mean() > 90


def test_the_grid_and_the_brain_stay():
    scan = simple()
    work = Denoise()(Work.start(scan))
    assert work.scan.brain is scan.brain
    assert (work.scan.affine == scan.affine).all()


@pytest.mark.parametrize(("iterations", "time_step"), [(0, 0.1), (3, 0.0), (3, 0.2)])
def test_steps_that_are_none_or_not_stable_are_refused(iterations, time_step):
    with pytest.raises(UsageError, match=f"denoise: {iterations} iterations of {time_step}"):
        Denoise(iterations=iterations, time_step=time_step)
