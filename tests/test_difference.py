"""Residuals against their definitions; SSIM against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from brainuad.difference import absolute, squared, ssim, structural
from brainuad.types import UsageError


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_dark_and_bright_share_out_the_absolute_difference():
    x, healthy = images(2, 1, 5, 6), images(2, 1, 5, 6, seed=1)
    dark, bright = (absolute(x, healthy, sign=s) for s in ("dark", "bright"))
    torch.testing.assert_close(dark + bright, absolute(x, healthy))
    assert ((dark > 0) == (x < healthy)).all()
    assert ((bright > 0) == (x > healthy)).all()
    torch.testing.assert_close(squared(x, healthy), (x - healthy) ** 2)


def test_ssim_equals_scikit_image_away_from_the_border():
    x, healthy = images(1, 1, 40, 44), images(1, 1, 40, 44, seed=1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pair = x[0, 0].numpy(), healthy[0, 0].numpy()
    wanted = np.asarray(structural_similarity(*pair, data_range=1.0, full=True, **settings)[1])
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(ssim(x, healthy)[0, 0].numpy()[inside], wanted[inside], atol=1e-4)


@pytest.mark.parametrize("space", [(12, 13), (6, 7, 8)])
def test_ssim_is_one_where_images_are_equal_and_symmetric(space):
    x, healthy = images(1, 1, *space), images(1, 1, *space, seed=1)
    torch.testing.assert_close(ssim(x, x), torch.ones_like(x))
    torch.testing.assert_close(ssim(x, healthy), ssim(healthy, x))
    assert structural(x, healthy).min() >= 0
    assert ssim(x, healthy).abs().max() <= 1 + 1e-5


def test_a_lesion_is_structurally_unlike_only_around_itself():
    healthy = 0.1 * images(1, 1, 40, 40)
    x = healthy.clone()
    x[..., 19:22, 19:22] += 0.5
    unlike = structural(x, healthy)
    assert unlike[..., 20, 20] > 0.1
    assert unlike[..., :13, :].abs().max() < 1e-5


@pytest.mark.parametrize(("window", "sigma"), [(10, 1.5), (11, 0.0), (-1, 1.0)])
def test_impossible_windows_are_refused(window, sigma):
    x = images(1, 1, 12, 12)
    with pytest.raises(UsageError, match="use an odd window and a sigma above 0"):
        ssim(x, x, window=window, sigma=sigma)
