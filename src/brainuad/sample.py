"""Samplers as pure functions: from a noisy, or allegedly noisy, image to a clean one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from brainuad.rng import Rng
from brainuad.schedule import Schedule
from brainuad.types import Denoiser, Images, UsageError

Cells = Bool[Tensor, "batch 1 *space"]
Logits = Float[Tensor, "batch 1 *space"]
PredictMasked = Callable[[Images, Int[Tensor, " batch"]], tuple[Images, Logits]]
"""(latent, step of each image) -> (clean estimate x0, logit that a cell is noisy)."""
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of one to four slopes, newest first, for equal steps."""


def plms(denoise: Denoiser, x: Images, sigmas: Float[Tensor, " levels"]) -> Images:
    """Follow the probability-flow equation down, with steps that remember the last four slopes.

    The pseudo linear multistep method of PNDM without Runge-Kutta steps at the start: the first
    step takes the mean of the slopes at its two ends (unless it ends at 0), the second and third
    remember what there is. The slope is the noise eps = (x - x0) / sigma; its weights are those
    for equal steps, though sigma rarely falls in equal ones, so the error falls with the square
    of the step: as published. One denoiser call per step, and one more for the first.

    Args:
        denoise: clean estimate of an image with noise of the given standard deviation.
        x: images with noise of standard deviation ``sigmas[0]``, of unchanged brightness.
        sigmas: falling noise levels; all but the last above 0.

    References:
        Liu, Ren, Lin, Zhao 2022, "Pseudo numerical methods for diffusion models on manifolds",
        ICLR, arXiv 2202.09778, Eq. 11 (which is a DDIM step) and 12.
    """
    slopes: list[Images] = []
    for now, then in pairwise(sigmas.tolist()):
        slopes = [slope_at(denoise, x, now), *slopes[:3]]
        weights = ADAMS_BASHFORTH[len(slopes) - 1]
        slope = sum((w * s for w, s in zip(weights, slopes, strict=True)), torch.zeros_like(x))
        if len(slopes) == 1 and then > 0:
            ahead = slope_at(denoise, x + (then - now) * slope, then)
            slope = (slope + ahead) / 2
        x = x + (then - now) * slope
    return x


def plms_calls(steps: int) -> int:
    """Denoiser calls of :func:`plms` for so many steps."""
    return steps + (steps > 1)


def slope_at(denoise: Denoiser, x: Images, sigma: float) -> Images:
    """Change of the image with sigma along the probability flow: the noise in it."""
    return (x - denoise(x, x.new_full((len(x),), sigma))) / sigma


def ddim_coefficients(abar: float, abar_prev: float, eta: float) -> tuple[float, float, float]:
    """Weights of x0, of x_t and of fresh noise in the step before (Song et al. 2021, Eq. 12).

    Args:
        abar: share of the image's variance left now, in (0, 1).
        abar_prev: the same after the step, in (abar, 1].
        eta: share of fresh noise; 0 none (DDIM), 1 as in DDPM.
    """
    fresh = eta * ((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev)) ** 0.5
    kept = ((1 - abar_prev - fresh**2) / (1 - abar)) ** 0.5
    return abar_prev**0.5 - abar**0.5 * kept, kept, fresh


def ddim_step(
    x0: Images, x: Images, abar: tuple[float, float], *, eta: float, fresh: Callable[[], Images]
) -> Images:
    """The state after one step, given the clean estimate (Song et al. 2021, Eq. 12).

    Args:
        x0: clean estimate.
        x: state before the step.
        abar: share of the image's variance left before, and after the step.
        eta: share of fresh noise; 0 none (DDIM), 1 as in DDPM.
        fresh: draws noise of the size of ``x``; called only where some is needed.
    """
    on_x0, on_x, share = ddim_coefficients(*abar, eta)
    stepped = on_x0 * x0 + on_x * x
    return stepped + share * fresh() if share > 0 else stepped


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedWalk:
    """What a masked walk did to each latent."""

    final: Images
    """The healthy latent."""
    updates: tuple[Cells, ...]
    """Cells that were updated, step by step."""
    probability: Logits
    """Probability that a cell is noisy, mean over the steps, in [0, 1]."""

    @property
    def flagged(self) -> Cells:
        """Cells that were updated at some step."""
        return torch.stack(self.updates).any(0)


@torch.no_grad()
def masked_ddim(
    predict: PredictMasked,
    z: Images,
    *,
    schedule: Schedule,
    indices: Sequence[int],
    eta: float = 0.0,
    rng: Rng | None = None,
    noise: Float[Tensor, "steps batch channel *space"] | None = None,
    on_step: Callable[[int, Images], None] | None = None,
) -> MaskedWalk:
    """Walk latents to healthy ones; only cells that look noisy move (Beizaee et al., IPMI 2025).

    No noise is added at the start: ``z`` itself is declared to be the noisiest state. In each step
    the cells with a probability above 0.5 take the DDIM step, all others are copied bit by bit.

    Args:
        predict: the denoiser with its mask head (1 = noisy).
        z: latents of the images.
        schedule: the schedule the denoiser was trained on.
        indices: its steps to walk, falling.
        eta: share of fresh noise in every step but the last; 0 for none, at most 1.
        rng: where fresh noise comes from, one stream per image.
        noise: fresh noise of each step, instead of ``rng``.
        on_step: told the index and the latents after each step.

    Raises:
        UsageError: indices that do not fall, or fresh noise without a source.
    """
    if not 0 <= eta <= 1 or (eta > 0 and rng is None and noise is None):
        raise UsageError(f"masked_ddim: eta {eta}; give 0 .. 1, and an rng or noise above 0")
    updates, probability = [], z.new_zeros(len(z), 1, *z.shape[2:])
    levels = zip(*(level.tolist() for level in schedule.chain(indices)), strict=True)
    for step, (index, (abar, abar_prev)) in enumerate(zip(indices, levels, strict=True)):
        x0, logit = predict(z, torch.full((len(z),), index, device=z.device))
        fresh = partial(fresh_noise, z, step, rng, noise)
        candidate = ddim_step(x0, z, (abar, abar_prev), eta=eta, fresh=fresh)
        updates.append(logit > 0)
        probability = probability + logit.sigmoid() / len(indices)
        z = torch.where(updates[-1], candidate, z)
        if on_step is not None:
            on_step(index, z)
    return MaskedWalk(final=z, updates=tuple(updates), probability=probability)


def fresh_noise(
    z: Images,
    step: int,
    rng: Rng | None,
    noise: Float[Tensor, "steps batch channel *space"] | None,
) -> Images:
    """Noise of one step: the given one, or the next of each image's stream."""
    if noise is not None:
        return noise[step].to(z)
    assert rng is not None
    return rng.normal_like(z)
