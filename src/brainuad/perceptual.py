"""Perceptual distance of two images (LPIPS), for the methods whose publications use it."""

import warnings
from functools import cache
from importlib import import_module
from typing import Literal, TypeAlias

import torch
from torch import nn

from brainuad.types import AnomalyMap, Images, UnavailableError, UsageError

Perceptual: TypeAlias = Literal["none", "lpips"]
"""Perceptual distance that a method multiplies by or adds: none, or LPIPS."""
SMALLEST = 17
"""Pixels along a side; of fewer nothing is left after the strides of SqueezeNet."""


@cache
def lpips_net() -> nn.Module:
    """The published network on features of SqueezeNet, one distance per pixel.

    It comes with the optional package ``lpips``, which fetches the features when it is first used.

    Raises:
        UnavailableError: without the package, or without its weights.
    """
    try:
        lpips = import_module("lpips")
    except ImportError as error:
        raise UnavailableError(
            "perceptual: lpips is not installed; `pip install 'brainuad[perceptual]'`, or set "
            "perceptual to none"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package calls torchvision in an old way
            net = lpips.LPIPS(net="squeeze", spatial=True, verbose=False)
    except OSError as error:
        raise UnavailableError(
            f"perceptual: lpips could not fetch its weights ({error}); connect once to the "
            "network, or set perceptual to none"
        ) from error
    return net.eval().requires_grad_(False)


def check_perceptual(perceptual: Perceptual, x: Images) -> None:
    """Fail before a training where the distance could not be taken after it.

    Args:
        perceptual: what a method asks for.
        x: one of its training images.

    Raises:
        UnavailableError: the network cannot be had.
        UsageError: images that are too small for it.
    """
    if perceptual == "lpips":
        check_sides(x)
        lpips_net()


def check_sides(x: Images) -> None:
    """Refuse images of which the network would leave nothing."""
    if min(x.shape[2:]) < SMALLEST:
        sides = " x ".join(str(side) for side in x.shape[2:])
        raise UsageError(
            f"perceptual: images of {sides} pixels; give at least {SMALLEST} along each side, or "
            "set perceptual to none"
        )


@torch.no_grad()
def perceptual_map(x: Images, healthy: Images) -> AnomalyMap:
    """Distance >= 0 at each pixel of images in [0, 1]; mean over the channels.

    Each channel is shown to the network as a grey photograph.

    Raises:
        UnavailableError: without the package, or without its weights.
        UsageError: images with fewer than 17 pixels along a side.

    References:
        Zhang, Isola, Efros, Shechtman, Wang 2018, "The unreasonable effectiveness of deep features
        as a perceptual metric", CVPR, arXiv 1801.03924.
    """
    check_sides(x)
    net = lpips_net().to(x.device)
    grey = [2 * each.flatten(0, 1)[:, None].float().expand(-1, 3, -1, -1) - 1
            for each in (x, healthy)]  # fmt: skip
    return net(*grey).reshape(x.shape).mean(1, keepdim=True)
