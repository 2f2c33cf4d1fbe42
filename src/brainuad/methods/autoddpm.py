"""AutoDDPM: mask what a reverse diffusion changes, then paint the masked part anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from brainuad import training_published
from brainuad.diffusion import SIMPLEX_X0, SMALL, TINY, Level
from brainuad.inpaint import inpaint
from brainuad.method import Detection
from brainuad.perceptual import perceptual_map
from brainuad.reverse import PUBLISHED, Reverse, ReverseOptions, noise_by
from brainuad.rng import Rng
from brainuad.types import AnomalyMap, Brain, Images, PerItem, UsageError

__all__ = ["Autoddpm"]

TOP = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoddpmOptions(ReverseOptions):
    """Options of :class:`Autoddpm`."""

    levels: tuple[Level, ...] = (200,)
    """Levels that the first restoration starts from, counted from 1; several: mean."""
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Value of the first map, in (0, 1], from which pixels are painted anew; None: the 95th
    percentile in each slice's brain."""
    paint_level: Level = 50
    """Level that the painting starts from, counted from 1."""
    resamples: Annotated[int, Field(ge=1)] = 5
    """How often each step of the painting is taken."""

    def __post_init__(self) -> None:
        """Refuse a painting from a level that the schedule does not have."""
        super(AutoddpmOptions, self).__post_init__()
        if self.paint_level > self.steps:
            raise UsageError(
                f"autoddpm: paint_level {self.paint_level} of {self.steps} steps; give a level "
                f"between 1 and {self.steps}"
            )


OURS: dict[str, Any] = {
    "stride": 10,
    "resamples": 2,
    "eta": 0.0,
    **SIMPLEX_X0,
    "augment": {},
}
SMALL_OURS = {**OURS, "stride": 25, "resamples": 1}


class Autoddpm(Reverse):
    """Mask, stitch and re-sample: a first restoration says where, a second one paints only there.

    References:
        Bercea, Neumayr, Rueckert, Schnabel 2023, "Mask, stitch, and re-sample: enhancing robustness
        and generalizability in anomaly detection through automatic diffusion models", ICML
        workshop IMLH, arXiv 2305.19643.
    """

    title = "AutoDDPM: mask, stitch, re-sample"
    paper = "Bercea et al. 2023, ICML-IMLH, arXiv 2305.19643"
    Options = AutoddpmOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.AUTODDPM
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, **OURS},
        "small": {"net": SMALL, **SMALL_OURS},
        "small-dark": {"net": SMALL, **SMALL_OURS, "sign": "dark"},
        "tiny": {"net": TINY, "stride": 50, "resamples": 1},
        "paper": {"net": PUBLISHED},
        "lpips": {"net": PUBLISHED, "perceptual": "lpips", "threshold": 0.13},
    }

    def passes(self, size: tuple[int, ...]) -> int:
        """The first walks, and the second one with its repetitions."""
        return super().passes(size) + self.paint_steps * self.options.resamples

    @property
    def paint_steps(self) -> int:
        """Steps of the second walk."""
        return max(1, self.options.paint_level // self.options.stride)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Residual to the painted image, weighted by the first map."""
        self.check_fitted()
        first = torch.stack([self.walked(x, n, rng) for n in self.options.levels]).mean(0) * brain
        weight = self.first_map(x, first, brain)
        healthy = self.painted(x, first, self.mask(weight, brain), rng=rng.fork("paint")) * brain
        return Detection(anomaly=self.residual(x, healthy) * weight * brain, healthy=healthy)

    def walked(self, x: Images, level: int, rng: Rng) -> Images:
        """Images in [0, 1] noised to a level and walked back down the chain."""
        own = rng.fork("walk", level)
        noise = self.options.noise
        eps = noise.like(x, rng=noise.stream(own).fork("noise"))
        end = self.walk(self.noised(2 * x - 1, eps, level), level, rng=own)
        return ((end + 1) / 2).clamp(0, 1)

    def first_map(self, x: Images, healthy: Images, brain: Brain) -> AnomalyMap:
        """Residual as a share of its 95th percentile in the brain, at most 1.

        Where it is asked for, times the perceptual distance, as published.
        """
        size = self.residual(x, healthy) * brain
        share = (size / column(percentile(size, brain).clamp(min=1e-12))).clamp(0, 1)
        return share if self.options.perceptual == "none" else share * perceptual_map(x, healthy)

    def mask(self, weight: AnomalyMap, brain: Brain) -> Brain:
        """Pixels to paint anew, and their neighbours."""
        given = self.options.threshold
        bar = percentile(weight, brain) if given is None else weight.new_full((len(weight),), given)
        chosen = (weight >= column(bar)) & (weight > 0)
        return F.max_pool2d(chosen.float(), 3, stride=1, padding=1) > 0

    def painted(self, x: Images, first: Images, mask: Brain, *, rng: Rng) -> Images:
        """Images whose masked part goes on from the first restoration, and fits to the rest."""
        level = self.options.paint_level
        stitched = 2 * torch.where(mask, first, x) - 1
        painted = inpaint(
            noise_by(self.bounded, self.schedule),
            stitched,
            mask,
            schedule=self.schedule,
            start=level - 1,
            steps=self.paint_steps,
            resamples=self.options.resamples,
            eta=self.options.eta,
            noise=self.options.noise.like,
            rng=rng,
        )
        return torch.where(mask, ((painted + 1) / 2).clamp(0, 1), x)


def percentile(anomaly: AnomalyMap, brain: Brain) -> PerItem:
    """95th percentile of each map inside its brain; 0 where there is none."""
    parts = [one[inside] for one, inside in zip(anomaly, brain, strict=True)]
    tops = [part.quantile(TOP) if part.numel() else anomaly.new_zeros(()) for part in parts]
    return torch.stack(tops)


def column(numbers: PerItem) -> Images:
    """One number per image, shaped to multiply maps."""
    return numbers.reshape(-1, 1, 1, 1)
