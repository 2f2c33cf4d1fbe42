"""The brain of a CT, on heads made of ellipsoids in Hounsfield units."""

import numpy as np
import pytest
from tests.prepare.heads import grid, places

from brainuad.prepare import prepare_scan, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.measure import dice
from brainuad.prepare.skull import from_ct
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError


def head(spacing=(2.0, 2.0, 2.0), *, hole_mm=0.0):
    """Brain, skull, scalp and a neck that hangs below through a hole in the skull."""
    shape = tuple(int(n / s) for n, s in zip((180, 220, 200), spacing, strict=True))
    affine = grid(shape, spacing, (0, 0, 0))
    at = places(shape, affine)

    def ellipsoid(*half):
        return ((at - (0, 0, 20)) ** 2 / np.square(half)).sum(-1) <= 1

    brain, skull, scalp = ellipsoid(65, 82, 62), ellipsoid(72, 89, 69), ellipsoid(78, 95, 75)
    neck = (np.square(at[..., :2]).sum(-1) <= 50**2) & (at[..., 2] < -20) & ~skull
    hu = np.full(shape, -1000.0)
    hu[neck | scalp], hu[skull], hu[brain] = 45, 900, 35
    canal = (np.square(at[..., :2]).sum(-1) <= (hole_mm / 2) ** 2) & (at[..., 2] < -20) & skull
    hu[canal] = 40
    hu += np.random.default_rng(0).normal(0, 4, shape)
    ventricle = ((at - (0, 0, 25)) ** 2 / np.square((12, 30, 10))).sum(-1) <= 1
    hu[ventricle] = 6
    scan = Scan(voxels=hu.astype(np.float32), affine=affine, modality="CT", subject="sub-ct")
    return scan, brain


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.5, 1.5, 5.0)])
@pytest.mark.parametrize("hole_mm", [0.0, 14.0])
def test_the_brain_is_found_and_nothing_outside_the_skull(spacing, hole_mm):
    scan, brain = head(spacing, hole_mm=hole_mm)
    found = from_ct(scan)
    assert dice(found, brain) > 0.95
    assert (found & ~brain).sum() < 0.05 * brain.sum()


def test_blood_stays_part_of_the_brain():
    scan, _ = head()
    at = places(scan.voxels.shape, scan.affine)
    clot = np.square(at - (20, 0, 30)).sum(-1) <= 15**2
    scan.voxels[clot] = 75
    assert from_ct(scan)[clot].all()


def test_a_ct_without_a_skull_has_no_brain():
    air = Scan(
        voxels=np.random.default_rng(0).normal(-1000, 5, (20, 20, 20)).astype(np.float32),
        affine=np.eye(4),
        modality="CT",
        subject="sub-air",
    )
    with pytest.raises(DataError, match="sub-air: no brain found by ct"):
        Brain(how="ct")(Work.start(air))


def test_the_recipe_brings_a_ct_to_the_template():
    scan, _ = head()
    prepared = prepare_scan(scan, recipe("ct"))
    assert prepared.report["brain"] == "ct"
    assert prepared.scan.voxels.shape == (80, 96, 80)
    inside = prepared.scan.voxels[prepared.scan.brain]
    assert np.median(inside) == pytest.approx(35 / 80, abs=0.05)
