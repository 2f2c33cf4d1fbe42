"""How unlike its healthy counterpart an image is, pixel by pixel."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from brainuad.types import AnomalyMap, Images, UsageError

Sign: TypeAlias = Literal["absolute", "dark", "bright"]
"""Which differences count: both, only where the image is darker, or only where it is brighter."""
Residual: TypeAlias = Literal["l1", "squared", "ssim", "ssim_ensemble"]
"""Measure of a difference: its size, its square, or 1 - structural similarity over one window or
over windows of eight widths."""
SIGMAS = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7)
"""Standard deviations of the ensemble's Gaussian windows, in pixels (Behrendt et al. 2024)."""


def check_residual(kind: Residual, sign: Sign) -> None:
    """Refuse to look for one sign of a similarity, which has none.

    Raises:
        UsageError: structural similarity with a sign other than ``absolute``.
    """
    if kind in ("ssim", "ssim_ensemble") and sign != "absolute":
        raise UsageError(
            f"residual: {kind} has no sign, and sign is {sign}; set sign to absolute, or residual "
            "to l1 or squared"
        )


def residual(
    x: Images, healthy: Images, *, kind: Residual = "l1", sign: Sign = "absolute"
) -> AnomalyMap:
    """How unlike its healthy counterpart an image is, mean over the channels, >= 0.

    Both are 0 outside the brain, or a window at its rim sees a difference that is none.

    Raises:
        UsageError: structural similarity with a sign other than ``absolute``.
    """
    check_residual(kind, sign)
    if kind == "ssim":
        found = structural(x, healthy, sigma=1.0)
    elif kind == "ssim_ensemble":
        found = structural_ensemble(x, healthy)
    else:
        measure = absolute if kind == "l1" else squared
        found = measure(x, healthy, sign=sign)
    return found.mean(1, keepdim=True)


def one_sided(difference: Images, sign: Sign) -> Images:
    """Size of ``difference`` (image minus healthy) where it has the wanted sign, else 0."""
    if sign == "absolute":
        return difference.abs()
    return (-difference if sign == "dark" else difference).clamp(min=0)


def absolute(x: Images, healthy: Images, *, sign: Sign = "absolute") -> Images:
    """Absolute difference of the wanted sign (L1 residual), in the unit of the images."""
    return one_sided(x - healthy, sign)


def squared(x: Images, healthy: Images, *, sign: Sign = "absolute") -> Images:
    """Squared difference of the wanted sign."""
    return absolute(x, healthy, sign=sign).square()


def ssim(
    x: Images, healthy: Images, *, sigma: float = 1.5, window: int = 11, contrast: float = 1.0
) -> Images:
    """Structural similarity around each pixel, 1 where the images are equal, at least -1.

    Args:
        x: images.
        healthy: their healthy counterparts.
        sigma: standard deviation of the Gaussian window, in pixels.
        window: its odd width in pixels; borders are repeated outwards.
        contrast: range of intensities.

    References:
        Wang et al. 2004, IEEE Trans. Image Process. 13:600, Eq. 13 (K1 0.01, K2 0.03).
    """
    if window % 2 == 0 or window < 1 or sigma <= 0:
        raise UsageError(
            f"ssim: window {window} px, sigma {sigma} px; use an odd window and a sigma above 0"
        )
    weights = window_weights(sigma, window)
    # Variances are small differences of large numbers.
    a, b = precise(x), precise(healthy)
    mean_x, mean_h, xx, hh, xh = (window_mean(i, weights) for i in (a, b, a * a, b * b, a * b))
    c1, c2 = (0.01 * contrast) ** 2, (0.03 * contrast) ** 2
    both = mean_x * mean_h
    squares = mean_x.square() + mean_h.square()
    # Rounding can leave variances a little below 0.
    variances = (xx + hh - squares).clamp(min=0)
    similarity = (2 * both + c1) * (2 * (xh - both) + c2) / ((squares + c1) * (variances + c2))
    return similarity.to(x.dtype)


def structural(x: Images, healthy: Images, *, sigma: float = 1.5, window: int = 11) -> Images:
    """1 minus :func:`ssim`, from 0 (equal) to 2, never below 0."""
    return (1 - ssim(x, healthy, sigma=sigma, window=window)).clamp(min=0)


def structural_ensemble(x: Images, healthy: Images, *, window: int = 11) -> Images:
    """1 minus a mean of :func:`ssim` over eight widths of the window, from 0 (equal) to 2.

    At each pixel the weight of similarity S is exp(-S), so the widths that see a difference count
    for more: no single width suits lesions of every size.

    References:
        Behrendt et al. 2024, "Diffusion models with ensembled structure-based anomaly scoring for
        unsupervised anomaly detection", ISBI, arXiv 2403.14262.
    """
    found = torch.stack([ssim(x, healthy, sigma=sigma, window=window) for sigma in SIGMAS])
    return (1 - (torch.softmax(-found, 0) * found).sum(0)).clamp(min=0)


def precise(x: Tensor) -> Tensor:
    """The same numbers with 64 bits; with 32 on Apple's GPUs, which have no more."""
    return x if x.device.type == "mps" else x.double()


def window_weights(sigma: float, window: int) -> Tensor:
    """Gaussian weights over ``window`` pixels that sum to 1."""
    offset = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()


def window_mean(x: Images, weights: Tensor) -> Images:
    """Weighted mean around each pixel along every space axis in turn."""
    kernel, half = weights.to(x), len(weights) // 2
    padded = F.pad(x, [half, half] * (x.ndim - 2), mode="replicate")
    for axis in range(2, x.ndim):
        padded = padded.unfold(axis, len(kernel), 1) @ kernel
    return padded
