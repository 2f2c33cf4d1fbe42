"""How a network is trained: the settings, when a stage ends, and the learning rate on the way."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field

from brainuad.config import Seconds, Share
from brainuad.types import UsageError

DEFAULT_STEPS = 3000
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train; a stage ends at whichever of steps, epochs and time budget comes first."""

    steps: Count | Mapping[str, Count] | None = None
    """Optimiser steps of each stage, or by stage; 3000 when no end at all is set."""
    epochs: Count | Mapping[str, Count] | None = None
    """Times that each stage sees every image, or by stage; a stage may have steps instead."""
    time_budget: Annotated[Seconds, Field(gt=0)] | None = None
    """Seconds for all stages together; each gets the share that the method says."""
    batch_size: Count | Mapping[str, Count] = 16
    """Images in a step, or by stage."""
    lr: Positive | Mapping[str, Positive] = 3e-4
    """Highest learning rate, or by stage."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of a stage in which the learning rate rises."""
    final_lr: Share = 0.05
    """Learning rate at the end of a stage, as a share of the highest; a cosine leads there."""
    weight_decay: Decay | Mapping[str, Decay] = 0.0
    """Decay of AdamW, or by stage."""
    betas: tuple[Share, Share] | Mapping[str, tuple[Share, Share]] = (0.9, 0.99)
    """Averaging of AdamW: of gradients, of their squares; or by stage."""
    ema_decay: Share = 0.999
    """Averaging of the weights; less in the first steps."""
    clip: Positive | None = 1.0
    """Longest gradient (Euclidean norm); None leaves gradients alone."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic: ``auto`` is bf16 mixed with float32 on CUDA and float32 elsewhere; few CPUs have
    instructions for bf16, and the others take ten times as long with it."""
    seed: int = 0
    """Seed of every random stream of the training."""
    checkpoint_seconds: Positive = 300.0
    """Seconds between checkpoints; does not change the result."""
    checkpoint_steps: Count | None = None
    """Steps between checkpoints, besides; does not change the result."""
    log_every: Count = 50
    """Steps between log lines; does not change the result."""
    num_threads: Count | None = None
    """Threads of a CPU; another number may change the last bits of a result."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the settings mean for one stage; two equal plans on the same images give one result.

    Attributes:
        steps: at most so many, or None.
        seconds: at most so long, or None.
    """

    steps: int | None
    seconds: float | None
    batch_size: int
    lr: float
    warmup: float
    final_lr: float
    weight_decay: float
    betas: tuple[float, float]
    ema_decay: float
    clip: float | None
    precision: str
    seed: int

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the stage that is over once ``step`` steps took ``elapsed`` seconds."""
        shares = [step / self.steps] if self.steps else []
        shares += [elapsed / self.seconds] if self.seconds else []
        return min(1.0, max(shares))

    def lr_at(self, step: int, elapsed: float) -> float:
        """Learning rate of a step (from 0): a straight rise, then half a cosine down."""
        # The end of the step counts, so that the first step is not lost and the last is the lowest.
        done = max(self.progress(step + 1, elapsed), 1e-3)
        if done < self.warmup:
            return self.lr * done / self.warmup
        fall = (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2
        return self.lr * (self.final_lr + (1 - self.final_lr) * fall)


def arithmetic(asked: str, device: str) -> str:
    """What ``precision`` means on a kind of device: ``32`` or ``bf16``.

    A CPU that must emulate bf16 does as it is told, and a warning says what that costs.
    """
    if asked == "auto":
        return "bf16" if device == "cuda" else "32"
    if asked == "bf16" and device == "cpu" and not has_bf16():
        logging.getLogger(__name__).warning(
            "training.precision bf16: this CPU has no instructions for it and may take ten times "
            "as long as with 32; where time is the limit, it learns that much less"
        )
    return asked


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16; True where torch is too old to say."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    names = ("amx_bf16", "avx512_bf16", "bf16")
    told = [known[name] for name in names if name in known]
    return any(told) if told else True


def plan(
    settings: TrainSettings, stage: str, *, shares: Mapping[str, float], images: int, precision: str
) -> Plan:
    """What the settings mean for a stage.

    Args:
        settings: of the whole training.
        stage: its name.
        shares: of the time budget, by stage; empty when there is one stage only.
        images: how many there are to learn from.
        precision: what ``auto`` stands for.

    Raises:
        UsageError: a setting that is given by stage lacks this one.
    """
    given = {name: _of_stage(getattr(settings, name), stage, name) for name in _PER_STAGE}
    batch_size = min(images, given.pop("batch_size"))
    return Plan(
        steps=_steps(settings, stage, images // batch_size),
        seconds=_seconds(settings.time_budget, stage, shares),
        batch_size=batch_size,
        precision=precision,
        **given,
        **{name: getattr(settings, name) for name in _TAKEN_OVER},
    )


_PER_STAGE = ("batch_size", "lr", "weight_decay", "betas")
_TAKEN_OVER = ("warmup", "final_lr", "ema_decay", "clip", "seed")


def _steps(settings: TrainSettings, stage: str, per_epoch: int) -> int | None:
    """Steps at which a stage ends; None where only time ends it."""
    ends = []
    for given, size in ((settings.steps, 1), (settings.epochs, per_epoch)):
        value = given.get(stage) if isinstance(given, Mapping) else given
        ends += [value * size] if value else []
    if not ends and isinstance(settings.steps, Mapping):
        _of_stage(settings.steps, stage, "steps")
    if not ends and isinstance(settings.epochs, Mapping):
        _of_stage(settings.epochs, stage, "epochs")
    if not ends and settings.time_budget is None:
        return DEFAULT_STEPS
    return min(ends, default=None)


def _of_stage(value: T | Mapping[str, T], stage: str, name: str) -> T:
    if not isinstance(value, Mapping):
        return value
    if stage not in value:
        raise UsageError(
            f"training.{name}: has no value for stage {stage!r}, only for {', '.join(value)}; "
            "add it, or give one value for all stages"
        )
    return value[stage]


def _seconds(budget: float | None, stage: str, shares: Mapping[str, Any]) -> float | None:
    if budget is None or not shares:
        return budget
    if stage not in shares:
        raise UsageError(
            f"training.time_budget: nothing says which share of it stage {stage!r} gets; "
            f"the stages are {', '.join(shares)}"
        )
    return budget * shares[stage] / sum(shares.values())
