import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.smooth import gaussian_blur


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 6), st.integers(0, 1000), st.sampled_from([(9, 14), (7, 6, 8)]))
def test_equals_scipy_at_its_defaults(sigma, seed, shape):
    x = np.random.default_rng(seed).normal(size=shape)
    ours = gaussian_blur(torch.tensor(x)[None, None], sigma)[0, 0].numpy()
    assert ours == pytest.approx(ndimage.gaussian_filter(x, sigma), abs=1e-9)


def test_each_axis_can_have_its_own_width():
    x = np.random.default_rng(3).normal(size=(9, 14))
    ours = gaussian_blur(torch.tensor(x)[None, None], [0.0, 2.5])[0, 0].numpy()
    assert ours == pytest.approx(ndimage.gaussian_filter1d(x, 2.5, axis=1), abs=1e-9)
    ours = gaussian_blur(torch.tensor(x)[None, None], [1.2, 2.5])[0, 0].numpy()
    assert ours == pytest.approx(ndimage.gaussian_filter(x, (1.2, 2.5)), abs=1e-9)


def test_no_blur_is_the_image_itself():
    x = torch.rand(1, 1, 5, 5)
    assert torch.equal(gaussian_blur(x, 0.0), x)


def test_a_constant_stays_constant_up_to_the_border():
    x = torch.full((2, 3, 10, 12), 0.7)
    assert torch.allclose(gaussian_blur(x, 2.5), x, atol=1e-6)


@pytest.mark.golden
def test_published_smoothed_map(golden):
    from brainuad.walk_map import MapOptions, cut, smoothed

    data = golden("madad_anomaly_map")
    difference = torch.tensor(data["reference_image"] - data["corrected_image"]).abs()[:, None]
    how = MapOptions()
    ours = smoothed(cut(difference, how), how.smooth_px)[:, 0]
    assert ours.numpy() == pytest.approx(data["anomaly_map"], abs=1e-6)
