"""Voxel-wise z-score against healthy people: what a statistician would do first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from brainuad.difference import Sign, one_sided
from brainuad.equalise import equalise
from brainuad.method import Batches, Detection, Method, Minimise
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.types import Brain, DataError, Images, UsageError

__all__ = ["HealthyAtlas"]

LEARNED = ("mean", "deviation", "count", "healthy")


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthyAtlasOptions:
    """Options of :class:`HealthyAtlas`."""

    sign: Sign = "absolute"
    """Which deviations count: both, only darker, or only brighter than healthy."""
    equalise: bool = True
    """Equalise each scan's histogram inside its brain before comparing."""
    smooth_px: float = 0.0
    """Gaussian blur before comparing, standard deviation in voxels of the detector's grid."""
    floor_quantile: float = 0.05
    """The deviation is not let below this quantile of it over the brain, in [0, 1)."""
    minimum_count: int = 10
    """Voxels inside fewer healthy brains than this are never called anomalous."""


class HealthyAtlas(Method):
    """Deviation from the healthy mean at the same place, in healthy standard deviations.

    Mean and deviation are accumulated in one pass (Welford), over the brains that cover a voxel.
    Needs scans aligned to one grid.
    """

    title = "Healthy atlas z-score"
    paper = "baseline of this package"
    space = "intensity"
    views = ("volume",)
    Options = HealthyAtlasOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "dark": {"sign": "dark"},
        "bright": {"sign": "bright"},
        "raw": {"equalise": False},
        "raw-dark": {"equalise": False, "sign": "dark"},
    }
    mean: Tensor
    deviation: Tensor
    count: Tensor
    healthy: Tensor

    def __init__(self, options: HealthyAtlasOptions | None = None):
        super().__init__(options)
        for name in LEARNED:
            self.register_buffer(name, torch.zeros(0))

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One pass over the healthy volumes.

        Raises:
            DataError: when there are fewer scans than ``minimum_count``.
        """
        if len(batches) < self.options.minimum_count:
            raise DataError(
                f"healthy_atlas: {len(batches)} healthy scans; give at least "
                f"{self.options.minimum_count} or lower minimum_count"
            )
        count = mean = squares = healthy = torch.zeros(())
        for batch in batches.in_order(1):
            value, weight = self.feature(batch.x, batch.brain)[0], batch.brain[0].float()
            count = count + weight
            step = (value - mean) * weight
            mean = mean + step / count.clamp(min=1)
            squares = squares + step * (value - mean)
            healthy = healthy + (batch.x[0] - healthy) * weight / count.clamp(min=1)
        self.count, self.mean, self.healthy = count, mean, healthy
        self.deviation = self.floored((squares / (count - 1).clamp(min=1)).sqrt(), count)
        self.mark_fitted()

    def feature(self, x: Images, brain: Brain) -> Images:
        """What is compared: the volume, equalised and smoothed as the options say."""
        value = equalise(x, brain) if self.options.equalise else x
        return gaussian_blur(value, self.options.smooth_px) if self.options.smooth_px else value

    def floored(self, deviation: Tensor, count: Tensor) -> Tensor:
        """Deviation that does not fall below its low quantile over the well covered brain."""
        covered = deviation[(count >= self.options.minimum_count).expand_as(deviation)]
        if covered.numel() == 0:
            raise DataError(
                "healthy_atlas: no voxel lies inside enough healthy brains; align the scans first"
            )
        rank = max(1, round(self.options.floor_quantile * covered.numel()))
        return deviation.clamp(min=max(float(covered.kthvalue(rank).values), 1e-6))

    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Signed or absolute z-score; the healthy counterpart is the healthy mean."""
        self.check_fitted()
        if x.shape[1:] != self.mean.shape:
            raise UsageError(
                f"healthy_atlas: image has shape {tuple(x.shape[1:])}, the atlas "
                f"{tuple(self.mean.shape)}; prepare the scan with the detector's recipe"
            )
        z = (self.feature(x, brain) - self.mean) / self.deviation
        anomaly = one_sided(z, self.options.sign).mean(1, keepdim=True)
        known = self.count >= self.options.minimum_count
        return Detection(anomaly=anomaly * brain * known, healthy=self.healthy * brain)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over a saved atlas of any grid."""
        for name in LEARNED:
            setattr(self, name, torch.empty_like(state[name]))
        super().restore(state)
