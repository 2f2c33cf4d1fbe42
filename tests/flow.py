"""The probability flow, walked with the package's own step, for images of unchanged brightness."""

from itertools import pairwise

import torch

from brainuad.sample import ddim_step


def euler(denoise, x, sigmas):
    """Follow the flow from ``sigmas[0]`` down to ``sigmas[-1]``: x = x0 + sigma eps.

    A step sees x divided by sqrt(1 + sigma^2), which keeps the variance.
    """
    for now, then in pairwise(sigmas.tolist()):
        x0 = denoise(x, x.new_full((len(x),), now))
        levels = (1 / (1 + now**2), 1 / (1 + then**2))
        state = ddim_step(x0, x * levels[0] ** 0.5, levels, eta=0.0, fresh=never)
        x = state / levels[1] ** 0.5
    return x


def never():
    """A step without fresh noise draws none."""
    raise AssertionError("noise was drawn")


def path(schedule, *, start, count):
    """Noise levels sigma from a step down, then 0: count + 1 numbers."""
    steps = list(schedule.descent(start=start, count=count))
    return torch.cat([schedule.sigmas[steps], schedule.sigmas.new_zeros(1)])
