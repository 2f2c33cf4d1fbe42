"""THOR: a reverse diffusion that is pulled back to the image wherever it looks healthy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from brainuad import training_published
from brainuad.diffusion import SIMPLEX_X0, SMALL, TINY, Level
from brainuad.method import Detection
from brainuad.perceptual import perceptual_map
from brainuad.reverse import PUBLISHED, Reverse, ReverseOptions
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.types import AnomalyMap, Brain, Images, UsageError

__all__ = ["Thor"]

LARGEST = 0.999
PERCEPTUAL_BLUR_PX = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ThorOptions(ReverseOptions):
    """Options of :class:`Thor`."""

    levels: tuple[Level, ...] = (350,)
    """Levels that a walk starts from, counted from 1; several: mean of the maps."""
    harmonise: tuple[Level, ...] = (300, 150, 50)
    """Levels at which the walk is pulled back to the image where it looks healthy."""
    record: Level = 50
    """The map is made of the clean estimates at every multiple of this level."""
    reach_px: Annotated[int, Field(ge=1)] = 13
    """Edge of the square that closes and widens what counts as anomalous, in pixels, odd."""
    normalise: bool = False
    """Divide each partial map by its largest value in the slice, as published."""
    faithful: bool = False
    """Cut the blend to [0, 1] although it runs from -1 to 1, as the released code does."""

    def __post_init__(self) -> None:
        """Refuse levels that no walk comes by."""
        super(ThorOptions, self).__post_init__()
        missed = [
            (start, n)
            for start in self.levels
            for n in self.harmonise
            if n > start or (start - n) % self.stride
        ]
        if missed:
            raise UsageError(
                f"thor: a walk from level {missed[0][0]} in steps of {self.stride} never comes by "
                f"level {missed[0][1]} of harmonise; choose levels that it reaches"
            )
        if self.reach_px % 2 == 0:
            raise UsageError(f"thor: reach_px {self.reach_px}; use an odd number of pixels")


OURS: dict[str, Any] = {
    "stride": 10,
    "eta": 0.0,
    **SIMPLEX_X0,
    "augment": {},
}
SMALL_OURS = {**OURS, "stride": 50}


class Thor(Reverse):
    """Temporal harmonisation: the reverse walk keeps the image where its estimate agrees with it.

    At some levels the clean estimate is blended with the image: the estimate where the two
    differ, the image elsewhere. The map is the harmonic mean of the differences along the walk.

    References:
        Bercea, Wiestler, Rueckert, Schnabel 2024, "Diffusion models with implicit guidance for
        medical anomaly detection", MICCAI, arXiv 2403.08464.
    """

    title = "THOR, temporal harmonisation"
    paper = "Bercea et al. 2024, MICCAI, arXiv 2403.08464"
    Options = ThorOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.THOR
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, **OURS},
        "small": {"net": SMALL, **SMALL_OURS},
        "small-dark": {"net": SMALL, **SMALL_OURS, "sign": "dark"},
        "tiny": {"net": TINY, "stride": 50},
        "paper": {"net": PUBLISHED, "normalise": True},
        "lpips": {"net": PUBLISHED, "normalise": True, "perceptual": "lpips"},
        "simplex": {
            "net": PUBLISHED,
            "normalise": True,
            "noise": {"kind": "simplex"},
            "harmonise": [300, 250, 200, 150, 100, 50],
        },
    }

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Harmonic mean of the differences along the walk, and what the walk ends at."""
        self.check_fitted()
        walks = [self.harmonised(x, brain, n, rng.fork("walk", n)) for n in self.options.levels]
        anomaly, healthy = (torch.stack(parts).mean(0) for parts in zip(*walks, strict=True))
        return Detection(anomaly=anomaly * brain, healthy=healthy * brain)

    def harmonised(
        self, x: Images, brain: Brain, level: int, rng: Rng
    ) -> tuple[AnomalyMap, Images]:
        """Map and healthy counterpart of one walk."""
        noise = self.options.noise
        eps = noise.like(x, rng=noise.stream(rng).fork("noise"))
        maps: list[AnomalyMap] = []

        def change(now: int, x0: Images, then: int) -> Images | None:
            difference = self.difference(x, x0, brain)
            if now % self.options.record == 0:
                maps.append(difference)
            if now not in self.options.harmonise:
                return None
            return self.noised(self.blend(x, x0, difference), eps, then)

        start = self.noised(2 * x - 1, eps, level)
        end = self.walk(start, level, rng=rng, change=change).clamp(-1, 1)
        maps.append(self.difference(x, end, brain))
        if self.options.normalise:
            maps = [scaled(each) for each in maps]
        return harmonic_mean(torch.stack(maps)).clamp(0, LARGEST), (end + 1) / 2

    def difference(self, x: Images, x0: Images, brain: Brain) -> AnomalyMap:
        """Size of what differs between images in [0, 1] and estimates in [-1, 1].

        Where it is asked for, times the blurred perceptual distance, cut to [0, 1], as published.
        """
        healthy = (x0 + 1) / 2 * brain
        size = self.residual(x, healthy) * brain
        if self.options.perceptual == "none":
            return size
        return size * gaussian_blur(perceptual_map(x, healthy), PERCEPTUAL_BLUR_PX).clamp(0, 1)

    def blend(self, x: Images, x0: Images, difference: AnomalyMap) -> Images:
        """The estimate where it differs from the image, the image elsewhere; in [-1, 1]."""
        region = widened(scaled(difference), self.options.reach_px)
        lowest = 0 if self.options.faithful else -1
        return (region * x0 + (1 - region) * (2 * x - 1)).clamp(lowest, 1)


def scaled(anomaly: AnomalyMap) -> AnomalyMap:
    """Maps divided by their largest value; 0 stays 0."""
    largest = anomaly.flatten(1).amax(1).clamp(min=1e-12)
    return anomaly / largest.reshape(-1, 1, 1, 1)


def harmonic_mean(maps: torch.Tensor) -> AnomalyMap:
    """Harmonic mean over the first axis; 0 where any is 0."""
    mean = 1 / (1 / maps.clamp(min=1e-12)).mean(0)
    return torch.where((maps > 0).all(0), mean, 0.0)


def dilated(anomaly: AnomalyMap, px: int) -> AnomalyMap:
    """Largest value in a square around each pixel."""
    return F.max_pool2d(anomaly, px, stride=1, padding=px // 2)


def widened(anomaly: AnomalyMap, px: int) -> AnomalyMap:
    """Mean of a map and its closed, then dilated self, in [0, 1]."""
    closed = -dilated(-dilated(anomaly, px), px)
    return ((dilated(closed, px) + anomaly) / 2).clamp(0, 1)
