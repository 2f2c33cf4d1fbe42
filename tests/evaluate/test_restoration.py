"""Errors of a healthy counterpart against scikit-image and a loop over windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from brainuad.evaluate.restoration import restoration

SHAPE = (5, 4, 3)
volumes = arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=16))
regions = arrays(np.bool_, SHAPE).filter(np.any)


@given(scan=volumes, healthy=volumes, region=regions)
@settings(max_examples=40, deadline=None)
def test_l1_and_psnr_are_those_of_the_voxels_inside(scan, healthy, region):
    found = restoration(scan, healthy, region)
    one, two = scan[region].astype(float), healthy[region].astype(float)
    assert found.l1 == pytest.approx(
        sum(abs(a - b) for a, b in zip(one, two, strict=True)) / one.size
    )
    if mean_squared_error(one, two):
        expected = peak_signal_noise_ratio(one, two, data_range=1)
        assert found.psnr == pytest.approx(expected)
    else:
        assert found.psnr == np.inf


def brute_ssim(scan, healthy, region):
    """Mean over the region of the SSIM of Gaussian windows; both are 0 outside the region."""
    axis = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = axis[:, None, None] * axis[None, :, None] * axis[None, None, :]
    weights /= weights.sum()
    one, two = (np.pad(np.where(region, v, 0).astype(float), 5) for v in (scan, healthy))
    values = []
    for voxel in np.argwhere(region):
        box = tuple(slice(n, n + 11) for n in voxel)
        a, b = one[box], two[box]
        means = (weights * a).sum(), (weights * b).sum()
        spread = (weights * a**2).sum() - means[0] ** 2, (weights * b**2).sum() - means[1] ** 2
        both = (weights * a * b).sum() - means[0] * means[1]
        top = (2 * means[0] * means[1] + 0.01**2) * (2 * both + 0.03**2)
        values.append(top / ((means[0] ** 2 + means[1] ** 2 + 1e-4) * (sum(spread) + 9e-4)))
    return np.mean(values)


@given(scan=volumes, healthy=volumes, region=regions)
@settings(max_examples=40, deadline=None)
def test_ssim_equals_a_loop_over_windows(scan, healthy, region):
    found = restoration(scan, healthy, region)
    assert found.ssim == pytest.approx(brute_ssim(scan, healthy, region), abs=1e-3)


def test_what_lies_outside_the_region_does_not_matter():
    rng = np.random.default_rng(0)
    scan, healthy = rng.random((2, 16, 15, 14), np.float32)
    region = rng.random(scan.shape) < 0.5
    other = np.where(region, healthy, 7).astype(np.float32)
    assert restoration(scan, other, region) == restoration(scan, healthy, region)


def test_equal_volumes_have_no_error_and_noise_lowers_every_number():
    rng = np.random.default_rng(1)
    scan = rng.random((16, 16, 16), np.float32)
    region = np.ones(scan.shape, bool)
    same = restoration(scan, scan, region)
    assert (same.l1, same.psnr) == (0, np.inf)
    assert same.ssim == pytest.approx(1)
    few, many = (
        restoration(scan, scan + s * rng.normal(size=scan.shape), region) for s in (0.05, 0.2)
    )
    assert few.l1 < many.l1
    assert few.psnr > many.psnr
    assert 1 > few.ssim > many.ssim
