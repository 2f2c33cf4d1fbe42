"""Intensities of the brain in [0, 1], whatever the units of the scanner."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prepare.heads import simple

from brainuad.prepare.intensity import Intensity
from brainuad.prepare.measure import known_brain
from brainuad.prepare.work import Work
from brainuad.types import DataError, UsageError


def run(scan, **options):
    return Intensity(**options)(Work.start(scan)).scan


@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000))
def test_gain_and_offset_of_the_scanner_do_not_matter(gain, offset):
    scan = simple()
    other = replace(scan, voxels=(scan.voxels * gain + offset).astype(np.float32))
    np.testing.assert_allclose(run(other).voxels, run(scan).voxels, atol=2e-2)


@pytest.mark.parametrize(("low", "high"), [(0.0, 100.0), (1.0, 99.0), (5.0, 90.0)])
def test_the_share_cut_off_is_the_share_asked_for(low, high):
    scan = run(simple(), low=low, high=high)
    inside = scan.voxels[scan.brain]
    assert (inside.min(), inside.max()) == (0, 1)
    assert (inside == 0).mean() == pytest.approx(low / 100, abs=0.01)
    assert (inside == 1).mean() == pytest.approx(1 - high / 100, abs=0.01)
    assert not scan.voxels[~scan.brain].any()


def test_order_of_intensities_is_kept_by_both_forms():
    scan = simple()
    for equalise in (False, True):
        new = run(scan, low=0.0, high=100.0, equalise=equalise)
        order = np.argsort(scan.voxels[scan.brain], kind="stable")
        assert (np.diff(new.voxels[scan.brain][order]) >= 0).all()


def test_equalised_intensities_are_spread_evenly():
    scan = simple()
    squared = replace(
        scan, voxels=np.where(known_brain(scan), (scan.voxels / 50) ** 6, 0).astype("f4")
    )
    values = run(squared, equalise=True).voxels[scan.brain]
    for share in (0.25, 0.5, 0.75):
        assert (values <= share).mean() == pytest.approx(share, abs=0.15)


def test_the_limits_are_noted():
    work = Intensity(low=0.0, high=100.0)(Work.start(simple()))
    inside = work.original.voxels[work.scan.brain]
    assert work.notes["intensity"] == [inside.min(), inside.max()]


def test_one_intensity_is_no_image():
    scan = simple()
    flat = replace(scan, voxels=np.full_like(scan.voxels, 3))
    with pytest.raises(DataError, match="egg: the brain has one intensity, 3"):
        run(flat)


@pytest.mark.parametrize("brain", [None, np.zeros((40, 48, 40), bool)])
def test_without_a_brain_there_is_nothing_to_measure(brain):
    with pytest.raises(DataError, match="egg: no brain"):
        run(replace(simple(), brain=brain))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 99.0), (50.0, 50.0), (1.0, 101.0)])
def test_percentiles_must_ascend_within_range(low, high):
    with pytest.raises(UsageError, match="must ascend within 0 to 100"):
        Intensity(low=low, high=high)
