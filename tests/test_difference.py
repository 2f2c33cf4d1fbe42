"""Residuals against their definitions; SSIM against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from brainuad.difference import (
    SIGMAS,
    absolute,
    residual,
    squared,
    ssim,
    structural,
    structural_ensemble,
)
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


def brute_similarity(x, healthy, sigma):
    """SSIM at every pixel by loops over an 11 x 11 window, borders repeated; float64."""
    offset = np.arange(-5, 6)
    weights = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    wide = [np.pad(image, 5, mode="edge") for image in (x, healthy)]
    found = np.zeros(x.shape)
    for i, j in np.ndindex(*x.shape):
        a, b = (image[i : i + 11, j : j + 11] for image in wide)
        ma, mb = (weights * a).sum(), (weights * b).sum()
        va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
        both = (weights * (a - ma) * (b - mb)).sum()
        found[i, j] = (2 * ma * mb + 1e-4) * (2 * both + 9e-4)
        found[i, j] /= (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
    return found


def test_the_ensemble_equals_its_definition_pixel_by_pixel():
    x, healthy = images(1, 1, 14, 12), images(1, 1, 14, 12, seed=1)
    a, b = (image[0, 0].double().numpy() for image in (x, healthy))
    each = [brute_similarity(a, b, sigma) for sigma in (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7)]
    wanted = np.zeros((14, 12))
    for place in np.ndindex(14, 12):
        here = [similarity[place] for similarity in each]
        total = sum(np.exp(-s) for s in here)
        wanted[place] = 1 - sum(np.exp(-s) / total * s for s in here)
    np.testing.assert_allclose(structural_ensemble(x, healthy)[0, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("space", [(20, 21), (8, 9, 10)])
def test_the_ensemble_lies_between_its_widths_and_not_below_their_mean(space):
    """Weights that fall with the similarity cannot raise its mean (Chebyshev's inequality)."""
    x, healthy = images(2, 1, *space), images(2, 1, *space, seed=1)
    each = torch.stack([structural(x, healthy, sigma=sigma) for sigma in SIGMAS])
    found = structural_ensemble(x, healthy)
    assert (found <= each.amax(0) + 1e-5).all()
    assert (found >= each.mean(0) - 1e-5).all()
    assert (found > each.mean(0) + 1e-3).any()
    assert found.max() <= 2
    torch.testing.assert_close(structural_ensemble(x, x), torch.zeros_like(x), atol=1e-5, rtol=0)


def test_residuals_are_means_over_the_channels_of_their_measure():
    x, healthy = images(2, 3, 9, 10), images(2, 3, 9, 10, seed=1)
    measures = {
        "l1": (x - healthy).abs(),
        "squared": (x - healthy) ** 2,
        "ssim": structural(x, healthy, sigma=1.0),
        "ssim_ensemble": structural_ensemble(x, healthy),
    }
    for kind, measure in measures.items():
        wanted = (measure[:, :1] + measure[:, 1:2] + measure[:, 2:]) / 3
        torch.testing.assert_close(residual(x, healthy, kind=kind), wanted)
    dark = (healthy - x).clamp(min=0).square().mean(1, keepdim=True)
    torch.testing.assert_close(residual(x, healthy, kind="squared", sign="dark"), dark)


@pytest.mark.parametrize("kind", ["ssim", "ssim_ensemble"])
@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_a_similarity_has_no_sign(kind, sign):
    x = images(1, 1, 12, 12)
    with pytest.raises(UsageError, match=f"residual: {kind} has no sign, and sign is {sign}; set"):
        residual(x, x, kind=kind, sign=sign)
