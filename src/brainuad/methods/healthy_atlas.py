"""Voxel-wise z-score against healthy people: what a statistician would do first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from brainuad import nearest
from brainuad.difference import Sign, one_sided
from brainuad.equalise import equalise
from brainuad.method import Batches, Detection, Method, Minimise
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.types import Brain, DataError, Images, UsageError

__all__ = ["HealthyAtlas"]

ATLAS = ("mean", "deviation", "count", "healthy")
NEAREST = ("images", "covered", "centre", "axes", "places")
TINY = 1e-6
READ = 64
"""Healthy images read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthyAtlasOptions:
    """Options of :class:`HealthyAtlas`."""

    sign: Sign = "absolute"
    """Which deviations count: both, only darker, or only brighter than healthy."""
    equalise: bool = True
    """Equalise each scan's histogram inside its brain before comparing; not with ``nearest``."""
    smooth_px: float = 0.0
    """Gaussian blur before comparing, standard deviation in voxels of the detector's grid."""
    smooth_map_px: float = 0.0
    """Gaussian blur of the deviations after comparing, in the same unit; not with ``nearest``."""
    floor_quantile: float = 0.05
    """The deviation is not let below this quantile of it over the brain, in [0, 1)."""
    floor: float = 0.0
    """Nor below this, in units of the intensity, >= 0."""
    minimum_count: int = 10
    """Voxels inside fewer healthy brains than this are never called anomalous."""
    nearest: int | None = None
    """Compare each axial slice with so many healthy slices most like it; None: each place with
    the same place of all scans."""
    components: int = 50
    """Principal components of the healthy slices in which ``nearest`` measures likeness."""
    stretch: bool = True
    """Whether ``nearest`` stretches the box around each brain to the whole slice first."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.nearest is not None and self.nearest < max(2, self.minimum_count):
            raise UsageError(
                f"healthy_atlas: nearest {self.nearest} is below 2 or minimum_count "
                f"{self.minimum_count}, so nothing could be anomalous; raise it"
            )
        if self.nearest is not None and self.equalise:
            raise UsageError(
                "healthy_atlas: nearest compares slices, whose histograms depend on what they "
                "show; set equalise to false"
            )
        if self.nearest is not None and self.smooth_map_px:
            raise UsageError(
                "healthy_atlas: smooth_map_px goes with one grid for all scans, and nearest has "
                "none; set it to 0 and postprocess.smooth_mm instead"
            )
        for name in ("smooth_px", "smooth_map_px"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(
                    f"healthy_atlas: {name} is {getattr(self, name)}; give a number >= 0"
                )
        if self.components < 1:
            raise UsageError(f"healthy_atlas: components is {self.components}; give 1 or more")
        if not (math.isfinite(self.floor) and self.floor >= 0):
            raise UsageError(f"healthy_atlas: floor is {self.floor}; give a number >= 0")


NEAR: Mapping[str, Any] = {"equalise": False, "nearest": 30, "floor": 0.03}


class HealthyAtlas(Method):
    """Deviation from the healthy mean at the same place, in healthy standard deviations.

    Mean and deviation are accumulated in one pass (Welford), over the brains that cover a voxel.
    Needs scans aligned to one grid. With ``nearest`` they are those of the healthy slices most
    like the slice in question, which needs no alignment between scans.
    """

    title = "Healthy atlas z-score"
    paper = "baseline of this package"
    space = "intensity"
    views = ("volume", "axial")
    Options = HealthyAtlasOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "dark": {"sign": "dark"},
        "bright": {"sign": "bright"},
        "raw": {"equalise": False},
        "smooth": {"equalise": False, "smooth_px": 1.0, "smooth_map_px": 1.0},
        "raw-dark": {"equalise": False, "sign": "dark"},
        "raw-bright": {"equalise": False, "sign": "bright"},
        "nearest": {**NEAR},
        "nearest-dark": {**NEAR, "sign": "dark"},
        "nearest-bright": {**NEAR, "sign": "bright"},
    }
    mean: Tensor
    deviation: Tensor
    count: Tensor
    healthy: Tensor
    images: Tensor
    covered: Tensor
    centre: Tensor
    axes: Tensor
    places: Tensor

    def __init__(self, options: HealthyAtlasOptions | None = None):
        super().__init__(options)
        for name in self.learned:
            self.register_buffer(name, torch.zeros(0))

    @classmethod
    def view_with(cls, options: HealthyAtlasOptions) -> str:
        """Slices for ``nearest``, volumes otherwise."""
        return "volume" if options.nearest is None else "axial"

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of what it keeps of the healthy scans."""
        return ATLAS if self.options.nearest is None else NEAREST

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One pass over the healthy volumes or slices.

        Raises:
            DataError: when there are fewer images than ``minimum_count`` or ``nearest``.
        """
        name = "minimum_count" if self.options.nearest is None else "nearest"
        needed = getattr(self.options, name)
        if len(batches) < needed:
            kind = "scans" if self.options.nearest is None else "slices"
            raise DataError(
                f"healthy_atlas: {len(batches)} healthy {kind}; give at least {needed} or lower "
                f"{name}"
            )
        if self.options.nearest is None:
            self._fit_atlas(batches)
        else:
            self._fit_nearest(batches)
        self.mark_fitted()

    def _fit_atlas(self, batches: Batches) -> None:
        count = mean = squares = healthy = torch.zeros(())
        for batch in batches.in_order(1):
            value, weight = self.feature(batch.x, batch.brain)[0], batch.brain[0].float()
            count = count + weight
            step = (value - mean) * weight
            mean = mean + step / count.clamp(min=1)
            squares = squares + step * (value - mean)
            healthy = healthy + (batch.x[0] - healthy) * weight / count.clamp(min=1)
        self.count, self.mean, self.healthy = count, mean, healthy
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
        if not (count >= self.options.minimum_count).any():
            raise DataError(
                "healthy_atlas: no voxel lies inside enough healthy brains; align the scans first"
            )
        self.deviation = self.floored(deviation, count)

    def _fit_nearest(self, batches: Batches) -> None:
        pairs = [self.compared(batch.x, batch.brain) for batch in batches.in_order(READ)]
        self.images = torch.cat([image for image, _ in pairs])
        self.covered = torch.cat([brain for _, brain in pairs])
        self.centre, self.axes = nearest.principal_axes(self.images, self.options.components)
        self.places = nearest.coordinates(self.images, self.centre, self.axes)

    @property
    def scarce(self) -> int:
        """Voxels inside some healthy brains but fewer than ``minimum_count``; 0 for ``nearest``."""
        if self.options.nearest is not None:
            return 0
        return int(((self.count > 0) & (self.count < self.options.minimum_count)).sum())

    def notes(self) -> tuple[str, ...]:
        """How many voxels are never called anomalous because too few brains cover them."""
        if self.options.nearest is not None:
            return ()
        known, least = int((self.count > 0).sum()), self.options.minimum_count
        return (
            f"{self.scarce} of the {known} voxels that lie inside any of these brains lie inside "
            f"fewer than {least} of them: there, as outside all of them, the map is always 0.",
        )

    def feature(self, x: Images, brain: Brain) -> Images:
        """What is compared: the volume, equalised and smoothed as the options say."""
        value = equalise(x, brain) if self.options.equalise else x
        return gaussian_blur(value, self.options.smooth_px)

    def compared(self, x: Images, brain: Brain) -> tuple[Images, Brain]:
        """What ``nearest`` compares: features and brains, stretched as the options say."""
        value = self.feature(x, brain)
        return nearest.stretched(value, brain) if self.options.stretch else (value * brain, brain)

    def floored(self, deviation: Tensor, count: Tensor) -> Tensor:
        """Deviation that does not fall below its low quantile over the well covered brain."""
        lowest = max(self.options.floor, TINY)
        covered = deviation[(count >= self.options.minimum_count).expand_as(deviation)]
        if covered.numel():
            rank = max(1, round(self.options.floor_quantile * covered.numel()))
            lowest = max(lowest, float(covered.kthvalue(rank).values))
        return deviation.clamp(min=lowest)

    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Signed or absolute z-score; the healthy counterpart is the healthy mean."""
        self.check_fitted()
        shape = (self.mean if self.options.nearest is None else self.images[0]).shape
        if x.shape[1:] != shape:
            raise UsageError(
                f"healthy_atlas: image has shape {tuple(x.shape[1:])}, the atlas {tuple(shape)}; "
                "prepare the scan with the detector's recipe"
            )
        if self.options.nearest is not None:
            return self._against_nearest(x, brain)
        anomaly = self._z(self.feature(x, brain), self.mean, self.deviation)
        known = brain & (self.count >= self.options.minimum_count)
        anomaly = gaussian_blur(anomaly * known, self.options.smooth_map_px) * known
        return Detection(anomaly=anomaly, healthy=self.healthy * brain)

    def _z(self, value: Images, mean: Tensor, deviation: Tensor) -> Images:
        """Deviations of the wanted sign, mean over channels."""
        return one_sided((value - mean) / deviation, self.options.sign).mean(1, keepdim=True)

    def _against_nearest(self, x: Images, brain: Brain) -> Detection:
        """Each image by itself, so that batches cannot matter."""
        found = [self._one(x[n : n + 1], brain[n : n + 1]) for n in range(len(x))]
        anomaly, healthy = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Detection(anomaly=anomaly * brain, healthy=healthy * brain)

    def _one(self, x: Images, brain: Brain) -> tuple[Images, Images]:
        """Map and healthy mean of one image, in its own place."""
        assert self.options.nearest is not None
        value, _ = self.compared(x, brain)
        place = nearest.coordinates(value, self.centre, self.axes)
        chosen = nearest.closest(place, self.places, self.options.nearest)
        there = nearest.around(self.images[chosen], self.covered[chosen])
        anomaly = self._z(value, there.mean, self.floored(there.deviation, there.count))
        anomaly = anomaly * (there.count >= self.options.minimum_count)
        if not self.options.stretch:
            return anomaly, there.mean[None]
        return (
            nearest.returned(anomaly, brain[0]),
            nearest.returned(there.mean[None], brain[0]),
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over a saved atlas of any grid."""
        for name in self.learned:
            setattr(self, name, torch.empty_like(state[name]))
        super().restore(state)
