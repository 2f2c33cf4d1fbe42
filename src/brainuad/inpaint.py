"""Replacing the marked part of an image by what a diffusion model finds likely there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from brainuad.config import Share
from brainuad.rng import Rng
from brainuad.sample import ddim_step
from brainuad.schedule import Schedule
from brainuad.types import Images, UsageError

Count = Annotated[int, Field(ge=1)]
Cells = Bool[Tensor, "batch 1 *space"]
PredictEps = Callable[[Images, Int[Tensor, " batch"]], Images]
"""(noised image, step of each image) -> the noise in it."""
Draw = Callable[..., Images]
"""(images, rng=one stream per image) -> noise in their shape."""


def white(x: Images, *, rng: Rng) -> Images:
    """Standard normal numbers."""
    return rng.normal_like(x)


@torch.no_grad()
def inpaint(
    predict_eps: PredictEps,
    z0: Images,
    mask: Cells,
    *,
    schedule: Schedule,
    start: int,
    steps: int,
    resamples: int = 1,
    init: Literal["qsample", "noise"] = "qsample",
    eta: float = 0.0,
    noise: Draw = white,
    rng: Rng,
) -> Images:
    """The image with its marked part sampled anew and every other element bit for bit the same.

    In each step the marked part goes one step back in time, the rest is the true image noised
    afresh to that level.

    Args:
        predict_eps: the network's guess of the noise.
        z0: clean images or latents.
        mask: what to replace.
        schedule: the schedule the network was trained on.
        start: step from which the walk goes down; the higher, the less of the old part is left.
        steps: steps of the walk, evenly spread; start + 1 is the whole chain.
        resamples: how often each step is taken; in between the image is noised back again.
        init: start the marked part from the noised image, or from noise without any image.
        eta: share of fresh noise in a step; 0 none (DDIM), 1 as in DDPM.
        noise: the noise that the network was trained on.
        rng: one stream per image; nothing depends on the other images.

    Raises:
        UsageError: steps that the schedule or the start does not allow.

    References:
        Lugmayr et al. 2022, "RePaint", CVPR, arXiv 2201.09865, Algorithm 1.
    """
    indices = schedule.descent(start=start, count=steps)
    if not 0 <= eta <= 1 or resamples < 1:
        raise UsageError(
            f"inpaint: eta {eta}, {resamples} resamples; give 0 .. 1, and at least 1 resample"
        )
    levels = zip(*(level.tolist() for level in schedule.chain(indices)), strict=True)
    z = noised(start_from(z0, mask, init), float(schedule.abar[start]), rng.fork("start"), noise)
    for t, (abar, before) in zip(indices, levels, strict=True):
        when = torch.full((len(z0),), t, device=z0.device)
        for turn in range(resamples):
            own = rng.fork("inpaint", t, turn)
            x0 = (z - (1 - abar) ** 0.5 * predict_eps(z, when)) / abar**0.5
            fresh = partial(noise, z, rng=own.fork("fresh"))
            moved = ddim_step(x0, z, (abar, before), eta=eta, fresh=fresh)
            z = torch.where(mask, moved, noised(z0, before, own.fork("known"), noise))
            if before < 1 and turn + 1 < resamples:
                z = noised(z, abar / before, own.fork("back"), noise)
    return z


def start_from(z0: Images, mask: Cells, init: Literal["qsample", "noise"]) -> Images:
    """What is noised at the start: the image, or the image without its marked part."""
    return z0.masked_fill(mask, 0) if init == "noise" else z0


def noised(z: Images, left: float, rng: Rng, noise: Draw) -> Images:
    """``z`` with the share ``left`` of its variance, filled up by noise; ``z`` itself at 1."""
    return z if left == 1 else left**0.5 * z + (1 - left) ** 0.5 * noise(z, rng=rng)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaint:
    """How flagged cells are sampled anew; steps are counted from 0."""

    start: Annotated[int, Field(ge=0)] = 500
    """Step from which the walk goes down; the higher, the less of a lesion is left at the start."""
    steps: Count = 50
    """Steps of the walk, evenly spread; ``start`` + 1 is the whole chain."""
    resamples: Count = 1
    """How often each step is taken."""
    init: Literal["noise", "qsample"] = "noise"
    """Start flagged cells from noise alone, or from the noised image."""
    eta: Share = 0.0
    """Share of fresh noise in a step: 0 none (DDIM), 1 as in DDPM."""

    def check(self, steps: int) -> None:
        """Refuse a walk that a schedule of so many steps does not have."""
        if self.start >= steps or self.steps > self.start + 1:
            raise UsageError(
                f"repaint in {self.steps} steps from step {self.start} of {steps}; start below "
                f"{steps} and take at most start + 1 steps"
            )

    @property
    def calls(self) -> int:
        """Network calls for one image."""
        return self.steps * self.resamples

    def __call__(
        self, predict_eps: PredictEps, z0: Images, mask: Cells, *, schedule: Schedule, rng: Rng
    ) -> Images:
        """Images with their marked part sampled anew; see :func:`inpaint`."""
        return inpaint(
            predict_eps,
            z0,
            mask,
            schedule=schedule,
            start=self.start,
            steps=self.steps,
            resamples=self.resamples,
            init=self.init,
            eta=self.eta,
            rng=rng,
        )
