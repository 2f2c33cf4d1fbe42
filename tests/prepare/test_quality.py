"""Noise and movement are measured as they were made, and left alone by gain and shape."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.prepare.heads import person

from brainuad.nifti import read_scan
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.measure import known_brain
from brainuad.prepare.quality import equal_neighbours, noise_share, uneven_lines
from brainuad.prepare.template import template
from brainuad.prepare.work import Work
from brainuad.scan import Scan


def cube(voxels: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)) -> Scan:
    return Scan(
        voxels=voxels.astype(np.float32),
        affine=np.diag([*spacing, 1.0]),
        modality="T1w",
        subject="cube",
        brain=np.ones(voxels.shape, bool),
    )


def white(shape=(64, 64, 64), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def restless(voxels: np.ndarray, axis: int, degrees: float) -> np.ndarray:
    """Half of the lines, but for the lowest, from a head that has turned meanwhile."""
    turned = ndimage.rotate(voxels, degrees, axes=(axis, (axis + 1) % 3), reshape=False, order=1)
    count = voxels.shape[axis]
    lines = np.abs(np.fft.fftfreq(count)) > 0.03
    lines &= np.random.default_rng(0).random(count) < 0.5
    lines = np.moveaxis(lines[:, None, None], 0, axis)
    spectra = [np.fft.fft(v, axis=axis) for v in (turned, voxels)]
    return np.abs(np.fft.ifft(np.where(lines, *spectra), axis=axis))


@settings(max_examples=10, deadline=None)
@given(sigma=st.floats(0.02, 0.3), gain=st.floats(0.01, 1000), slope=st.floats(0.5, 2))
def test_noise_on_a_slope_is_what_was_added(sigma, gain, slope):
    ramp = np.indices((40, 40, 40)).sum(0) / 117 * slope
    voxels = ramp + sigma * white((40, 40, 40))
    low, high = np.percentile(voxels, (1, 99))
    assert noise_share(cube(gain * voxels)) == pytest.approx(sigma / (high - low), rel=0.03)


def test_noise_is_taken_within_the_planes_of_the_finest_voxels():
    jumps = np.broadcast_to(white((40, 1, 40)), (40, 40, 40))
    assert noise_share(cube(jumps, (1, 1, 5))) == pytest.approx(0, abs=1e-6)
    assert noise_share(cube(jumps, (1, 5, 1))) == pytest.approx(0.215, rel=0.05)


def test_a_brain_without_contrast_has_no_noise_to_speak_of():
    assert noise_share(cube(np.ones((20, 20, 20)))) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_movement_along_any_axis_shows(axis):
    calm = template()
    moved = restless(calm.voxels, axis, 4).astype(np.float32)
    assert uneven_lines(calm) < 1.25 < uneven_lines(replace(calm, voxels=moved))


def test_neighbours_that_are_equal_are_counted_one_by_one():
    draw = np.random.default_rng(3)
    voxels, brain = draw.integers(0, 3, (5, 4, 6)), draw.random((5, 4, 6)) < 0.8
    pairs = equal = 0
    for at in np.ndindex(5, 4, 6):
        for step in np.eye(3, dtype=int):
            beside = tuple(at + step)
            if all(np.less(beside, (5, 4, 6))) and brain[at] and brain[beside]:
                pairs += 1
                equal += voxels[at] == voxels[beside]
    scan = replace(cube(voxels), brain=brain)
    assert equal_neighbours(scan) == pytest.approx(equal / pairs)
    alone = np.zeros((5, 4, 6), bool)
    alone[2, 2, 2] = True
    assert equal_neighbours(replace(scan, brain=alone)) == 0


def test_short_axes_and_empty_lines_tell_nothing():
    assert uneven_lines(cube(white((64, 64, 20))[:40, :40])) == 1
    filled = np.fft.rfft(white(), axis=0)
    filled[20:] = 0
    assert uneven_lines(cube(np.fft.irfft(filled, axis=0))) < 1.25
    assert uneven_lines(cube(np.ones((64, 64, 64)))) == 1


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("noise", lambda v, top: v, "pass"),
        ("noise", lambda v, top: v + 0.1 * top * white(v.shape), "warn"),
        ("noise", lambda v, top: v + 0.5 * top * white(v.shape), "reject"),
        ("movement", lambda v, top: v, "pass"),
        ("movement", lambda v, top: restless(v, 1, 8), "warn"),
    ],
)
def test_what_the_checks_make_of_it(name, change, status):
    scan, _ = person()
    scan = replace(scan, brain=scan.voxels > 0)
    top = float(np.percentile(scan.voxels, 99))
    worse = replace(scan, voxels=change(scan.voxels, top).astype(np.float32))
    notes = Checks(strict=False, overlap=None)(Work.start(worse)).notes
    assert notes["checks"][name]["status"] == status


@pytest.mark.parametrize(("edge", "status"), [(1, "pass"), (6, "warn"), (11, "reject")])
def test_long_voxels(edge, status):
    scan = cube(white((20, 20, 20)), (1, 1, edge))
    notes = Checks(strict=False, overlap=None, noise=None)(Work.start(scan)).notes
    assert notes["checks"]["edge_mm"] == {
        "value": edge, "limits": [0, 10], "usual": [0, 5], "status": status
    }  # fmt: skip


@pytest.mark.real
def test_real_scans_pass_and_a_real_head_that_moved_does_not(shared_data):
    names = ("healthy_t1_ixi_2mm/IXI*.nii.gz", "healthy_t1_cc0_ds002748/sub-*.nii.gz")
    files = [f for name in names for f in sorted((shared_data / "data").glob(name))[:3]]
    assert len(files) == 6
    for file in files:
        work = Brain(how="background")(Work.start(read_scan(file, modality="T1w")))
        calm = work.scan
        assert noise_share(calm) < 0.075
        assert uneven_lines(calm) < 1.25
        moved = np.where(known_brain(calm), restless(calm.voxels, 1, 4), 0)
        assert uneven_lines(replace(calm, voxels=moved.astype(np.float32))) > 1.25
