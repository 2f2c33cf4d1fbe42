"""Noise schedules: how much of an image is left at each step, in float64.

Index t = 0 already carries one step of noise. Two languages for one thing: variance preserving,
x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps, and sigma_t = sqrt((1 - abar_t) / abar_t), the noise
on an image of unchanged brightness.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from brainuad.types import Images, UsageError

PerStep = Float[Tensor, " steps"]
LARGEST_BETA = 0.999
EXACT: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A forward process of ``steps`` steps."""

    steps: int = 1000
    """Number of noise levels."""

    def __post_init__(self) -> None:
        """Refuse a schedule without steps."""
        if self.steps < 1:
            raise UsageError(f"schedule: {self.steps} steps; use at least 1")

    @abstractmethod
    def make_betas(self) -> PerStep:
        """Share of the variance replaced by noise in each step."""

    @cached_property
    def betas(self) -> PerStep:
        """Share of the variance replaced by noise in each step, in (0, 1)."""
        return self.make_betas()

    @cached_property
    def abar(self) -> PerStep:
        """Share of the image's variance left after each step."""
        return (1 - self.betas).cumprod(0)

    @cached_property
    def abar_prev(self) -> PerStep:
        """``abar`` one step earlier; 1 before the first."""
        return earlier(self.abar)

    @cached_property
    def sigmas(self) -> PerStep:
        """Standard deviation of the noise on an image of unchanged brightness."""
        return ((1 - self.abar) / self.abar).sqrt()

    @cached_property
    def posterior_variance(self) -> PerStep:
        """Variance of the step before, given this step and the image (Ho et al. 2020, Eq. 7)."""
        return self.betas * (1 - self.abar_prev) / (1 - self.abar)

    @cached_property
    def posterior_mean(self) -> tuple[PerStep, PerStep]:
        """Weights of x0 and of x_t in the mean of the step before (Ho et al. 2020, Eq. 7)."""
        rest = 1 - self.abar
        on_x0 = self.betas * self.abar_prev.sqrt() / rest
        return on_x0, (1 - self.betas).sqrt() * (1 - self.abar_prev) / rest

    def add_noise(self, x0: Images, eps: Images, t: Int[Tensor, " batch"]) -> Images:
        """x_t of each image at its own step ``t``, variance preserving."""
        abar = self.abar[t.cpu()].reshape(-1, *[1] * (x0.ndim - 1))
        return abar.sqrt().to(x0) * x0 + (1 - abar).sqrt().to(x0) * eps

    def timesteps(self, count: int) -> tuple[int, ...]:
        """``count`` steps, evenly spread from 0 by a whole stride (Nichol and Dhariwal 2021).

        The smallest stride that gives exactly ``count`` steps is taken, as in the published code.

        Raises:
            UsageError: no whole stride gives that count.
        """
        for stride in range(1, self.steps):
            chosen = range(0, self.steps, stride)
            if len(chosen) == count:
                return tuple(chosen)
        possible = sorted({len(range(0, self.steps, s)) for s in range(1, self.steps)})
        raise UsageError(
            f"schedule: {count} of {self.steps} steps cannot be reached by a whole stride; "
            f"use one of {nearest(possible, count)}, or list the steps"
        )

    def chain(self, indices: Sequence[int]) -> tuple[PerStep, PerStep]:
        """``abar`` of the listed steps, and of the step before each of them in the list.

        Args:
            indices: steps in falling order, as a sampler walks them.

        Raises:
            UsageError: indices that are out of range or do not fall.
        """
        inside = all(0 <= i < self.steps for i in indices)
        if not indices or not inside or any(a <= b for a, b in pairwise(indices)):
            raise UsageError(
                f"schedule: steps {list(indices)} of {self.steps}; list at least one, falling, "
                f"between {self.steps - 1} and 0"
            )
        abar = self.abar[list(indices)]
        return abar, earlier(abar.flip(0)).flip(0)

    def descent(self, *, start: int, count: int) -> tuple[int, ...]:
        """``count`` steps from ``start`` down, evenly spread.

        Args:
            start: first step, 0 .. steps - 1.
            count: sampler steps, at least 1 and at most start + 1.

        Raises:
            UsageError: a start or a count out of range.
        """
        if not 0 <= start < self.steps or not 1 <= count <= start + 1:
            raise UsageError(
                f"schedule: {count} steps from step {start} of {self.steps}; start at "
                f"0 .. {self.steps - 1} and take 1 .. {max(start + 1, 1)} steps"
            )
        return tuple((start + 1) * left // count - 1 for left in range(count, 0, -1))


def earlier(abar: PerStep) -> PerStep:
    """The level before each of these rising steps; nothing was replaced before the first."""
    return torch.cat([abar.new_ones(1), abar[:-1]])


def nearest(numbers: list[int], wanted: int) -> str:
    """The six of these numbers that are nearest to the wanted one, in order."""
    near = sorted(numbers, key=lambda n: abs(n - wanted))[:6]
    return ", ".join(map(str, sorted(near)))


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """abar(u) = cos^2 of a quarter turn (Nichol and Dhariwal 2021, Eq. 17), beta cut at 0.999."""

    offset: float = 0.008
    """Keeps the first steps from being too small, as a share of the whole time."""

    def level(self, u: Tensor) -> Tensor:
        """Share of variance left at time ``u`` in [0, 1]."""
        return ((u + self.offset) / (1 + self.offset) * math.pi / 2).cos() ** 2

    def make_betas(self) -> PerStep:
        """Ratios of neighbouring levels."""
        level = self.level(torch.arange(self.steps + 1, **EXACT) / self.steps)
        return (1 - level[1:] / level[:-1]).clamp(max=LARGEST_BETA)


@dataclass(frozen=True, kw_only=True)
class LinearBeta(Schedule):
    """Betas in equal steps (Ho et al. 2020)."""

    first: float = 1e-4
    """Beta of the first step."""
    last: float = 0.02
    """Beta of the last step."""

    def make_betas(self) -> PerStep:
        """Equally spaced."""
        return torch.linspace(self.first, self.last, self.steps, **EXACT)


@dataclass(frozen=True, kw_only=True)
class ScaledLinear(Schedule):
    """Square roots of betas in equal steps (Rombach et al. 2022; Pinaya et al. 2022)."""

    first: float = 0.0015
    """Beta of the first step."""
    last: float = 0.0195
    """Beta of the last step."""

    def make_betas(self) -> PerStep:
        """Squares of equally spaced roots."""
        ends = math.sqrt(self.first), math.sqrt(self.last)
        return torch.linspace(*ends, self.steps, **EXACT) ** 2
