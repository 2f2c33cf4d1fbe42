"""How likely a denoiser finds each part of an image: one-shot divergences at many noise levels.

At every step the denoiser's guess of the step before is compared with the true one, which is known
because the noise is our own. Both are Gaussians of one variance, so only their means differ, and
one network call per step is enough; no chain is run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from brainuad.rng import Rng
from brainuad.schedule import PerStep, Schedule
from brainuad.types import AnomalyMap, Images, UsageError

PredictEps: TypeAlias = Callable[[Images, Int[Tensor, " batch"]], Images]
"""(noised image, step of each image) -> the noise in it."""
Count = Annotated[int, Field(ge=1)]
LEAST = 1e-20  # keeps logarithms and reciprocals finite


def kl_weight(schedule: Schedule) -> PerStep:
    """Factor from a squared error of the noise to a divergence, per step.

    With the variance of the true posterior in both Gaussians,
    KL_t = (mu - mu_theta)^2 / (2 var) = beta_t / (2 alpha_t (1 - abar_{t-1})) (eps - eps_theta)^2.
    Step 0 has no step before it: not a number.

    References:
        Ho et al. 2020, NeurIPS, arXiv 2006.11239, Eq. 5, 7 and 12, with sigma_t^2 = posterior
        variance.
    """
    weight = schedule.betas / (2 * (1 - schedule.betas) * (1 - schedule.abar_prev))
    weight[0] = torch.nan
    return weight


def mean_weight(schedule: Schedule) -> PerStep:
    """Factor from a squared error of the noise to one of the posterior mean, per step (ANDi)."""
    return schedule.betas.square() / ((1 - schedule.betas) * (1 - schedule.abar))


WEIGHTS: dict[str, Callable[[Schedule], PerStep]] = {
    "kl": kl_weight,
    "eps": lambda schedule: torch.ones_like(schedule.betas),
    "andi": mean_weight,
}
AGGREGATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mean": (lambda x: x, lambda x: x),
    "gmean": (lambda x: x.clamp(min=LEAST).log(), torch.exp),
    "hmean": (lambda x: x.clamp(min=LEAST).reciprocal(), torch.reciprocal),
}
"""What is averaged over the steps, and what undoes it afterwards."""


def snr_window(schedule: Schedule, high: float = 0.306, low: float = 0.0493) -> tuple[int, int]:
    """First and last step whose signal-to-noise ratios are nearest to ``high`` and ``low``.

    Equal ratios mean equal corruption under any schedule; equal steps do not. The defaults are
    steps 400 and 600 of the scaled-linear schedule.

    Args:
        schedule: where to look.
        high: abar / (1 - abar) of the first step.
        low: the same of the last step, below ``high``.
    """
    if not 0 < low < high:
        raise UsageError(f"snr_window: from {high} down to {low}; give high > low > 0")
    ratio = -2 * schedule.sigmas.log()
    first, last = (int((ratio - torch.tensor(r).log()).abs().argmin()) for r in (high, low))
    return first, last


@dataclass(frozen=True, kw_only=True)
class KLScorer:
    """How unlikely each part of an image is, averaged over a window of noise levels.

    References:
        The divergence of Pinaya et al. 2022 (MICCAI, arXiv 2206.03461) and of Graham et al. 2023
        (CVPR Workshops, arXiv 2211.07740); with weight ``andi`` and a geometric mean the score of
        ANDi.
    """

    window: tuple[int, int] | None = None
    """First and last step, from 0; None: signal-to-noise ratios from 0.306 down to 0.0493."""
    stride: Count = 10
    """Distance between the steps that are asked."""
    draws: Count = 1
    """Noise images per step."""
    aggregator: Literal["mean", "gmean", "hmean"] = "mean"
    """Arithmetic, geometric or harmonic mean over steps and draws."""
    weight: Literal["kl", "eps", "andi"] = "kl"
    """Divergence, squared error of the noise, or squared error of the posterior mean."""
    shared_noise: bool = False
    """The same noise at every step instead of fresh noise."""

    def __post_init__(self) -> None:
        """Refuse a window that holds no step, or step 0."""
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise UsageError(
                f"likelihood: window {self.window}; give first and last step, "
                "first at least 1 and not after the last"
            )

    def check(self, steps: int) -> None:
        """Refuse a window beyond a schedule of so many steps."""
        if self.window is not None and self.window[1] >= steps:
            raise UsageError(
                f"likelihood: window up to step {self.window[1]} of {steps}; the last step is "
                f"{steps - 1}"
            )

    def steps(self, schedule: Schedule) -> tuple[int, ...]:
        """The steps that are asked, rising."""
        self.check(schedule.steps)
        first, last = self.window or snr_window(schedule)
        return tuple(range(max(first, 1), last + 1, self.stride))

    def calls(self, schedule: Schedule) -> int:
        """Network calls for one image."""
        return len(self.steps(schedule)) * self.draws

    @torch.no_grad()
    def at(
        self, predict_eps: PredictEps, z: Images, t: int, *, schedule: Schedule, rng: Rng
    ) -> Float[Tensor, "draws batch channel *space"]:
        """Weighted squared error of the noise at one step, once per draw.

        The noise depends on each image's stream and on the step, not on the other steps.
        """
        weight = float(WEIGHTS[self.weight](schedule)[t])
        when = torch.full((len(z),), t, device=z.device)
        errors = []
        for draw in range(self.draws):
            eps = rng.fork("kl", "shared" if self.shared_noise else t, draw).normal_like(z)
            guess = predict_eps(schedule.add_noise(z, eps, when), when)
            errors.append(weight * (eps - guess).square())
        return torch.stack(errors)

    def elements(
        self, predict_eps: PredictEps, z: Images, *, schedule: Schedule, rng: Rng
    ) -> Images:
        """The score of every element of ``z``, at least 0."""
        into, back = AGGREGATORS[self.aggregator]
        steps = self.steps(schedule)
        total = torch.zeros_like(z)
        for t in steps:
            total += into(self.at(predict_eps, z, t, schedule=schedule, rng=rng)).mean(0)
        return back(total / len(steps))

    def score(
        self, predict_eps: PredictEps, z: Images, *, schedule: Schedule, rng: Rng
    ) -> AnomalyMap:
        """The score of every place: the mean over the channels.

        Args:
            predict_eps: the network's guess of the noise.
            z: clean images or latents.
            schedule: the schedule the network was trained on.
            rng: one stream per image.
        """
        return self.elements(predict_eps, z, schedule=schedule, rng=rng).mean(1, keepdim=True)


def percentile(values: Float[Tensor, " values"], percent: float) -> float:
    """Smallest of the values that at most the remaining share of them exceeds; infinite if none."""
    if not len(values):
        return float("inf")
    rank = min(len(values), max(1, -int(-percent * len(values) // 100)))
    return float(values.kthvalue(rank).values)
