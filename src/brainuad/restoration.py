"""Diffusion methods that compare an image with its restoration, and with how that varies."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field

from brainuad.config import Share
from brainuad.difference import Residual, check_residual, residual
from brainuad.diffusion import Diffusion, DiffusionOptions, Start, Steps
from brainuad.mahalanobis import unexplained
from brainuad.method import Detection
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.synthetic import AnomalyLaw, slices_with_anomalies
from brainuad.types import AnomalyMap, Brain, Images, UsageError

BLUR_PX = 1.0
"""Gaussian blur of the Mahalanobis factor, standard deviation in pixels (published)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorationOptions(DiffusionOptions):
    """Options of every diffusion method whose map is made of residuals."""

    residual: Residual = "l1"
    """Size or square of the difference, or 1 - structural similarity (one window, or eight)."""

    def __post_init__(self) -> None:
        """Refuse one sign of a residual that has none."""
        super(RestorationOptions, self).__post_init__()
        check_residual(self.residual, self.sign)


class Restoration(Diffusion):
    """Base of the methods that compare an image with its restoration."""

    Options: Any = RestorationOptions

    def residual(self, x: Images, healthy: Images) -> AnomalyMap:
        """The differences that count, as the options measure them; mean over the channels."""
        return residual(x, healthy, kind=self.options.residual, sign=self.options.sign)


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnOptions(RestorationOptions):
    """Options of the methods that draw noise once and restore."""

    draws: Annotated[int, Field(ge=1)] = 1
    """Restorations from fresh noise whose mean is the healthy counterpart: less of the noise is
    left in it, at as many times the cost."""
    mahalanobis: Annotated[int, Field(ge=0)] = 0
    """Restorations to draw of each image; the residual to their mean is multiplied by how far the
    image lies from their distribution. 0 is off: one restoration. Published: 10."""

    detection_noise: Share = 1.0
    """Factor on the noise in detection. 0: none, the image is scaled as the level asks, and the
    anomaly alone is taken for noise, as in the denoising autoencoder; published: 1."""
    sick: Share = 0.0
    """Share of the training images that the net is shown with synthetic anomalies, and asked to
    restore without; 0: none, as published."""
    anomalies: AnomalyLaw = field(default_factory=AnomalyLaw)
    """Law of the synthetic anomalies; ``sign`` says whether they are darker or brighter."""
    only_levels: bool = False
    """Whether the net learns at the levels of detection alone; published: at every step."""

    def __post_init__(self) -> None:
        """Refuse a single draw, which has no covariance, and anomalies without a clean target."""
        super(DrawnOptions, self).__post_init__()
        if self.sick and (self.net.channels_in, self.net.dimensions) != (1, 2):
            raise UsageError(
                f"sick: {self.sick} with {self.net.channels_in} channels in {self.net.dimensions} "
                "dimensions; anomalies are made in slices of one channel, use 0"
            )
        if self.sick and self.predict != "x0":
            raise UsageError(
                f"sick: {self.sick} with predict {self.predict}; only a net that says the clean "
                "image can restore one, use predict x0"
            )
        if self.mahalanobis < 0 or self.mahalanobis == 1:
            raise UsageError(
                f"mahalanobis: a covariance of {self.mahalanobis} draws; give 0 for none, or at "
                "least 2, such as 10"
            )
        if self.restored > 1 and not self.detection_noise:
            raise UsageError(
                f"detection_noise: 0, so {self.restored} draws are all the same; leave draws and "
                "mahalanobis out"
            )
        if self.mahalanobis and self.draws > 1:
            raise UsageError(
                f"draws: {self.draws}, but mahalanobis says that {self.mahalanobis} are drawn; "
                "leave one of the two out"
            )

    @property
    def restored(self) -> int:
        """How many restorations are drawn from each level."""
        return max(self.draws, self.mahalanobis)


class Drawn(Restoration):
    """Base of the methods that noise an image once for each level, restore it, and compare."""

    Options: Any = DrawnOptions

    def passes(self, size: tuple[int, ...]) -> int:
        """One restoration from each of the levels, or as many as are drawn."""
        return super().passes(size) * self.options.restored

    def drawn(self, x: Images, rng: Rng) -> tuple[Steps, Images]:
        """A random step for each training image, of all or of those of detection, and its noise."""
        t, eps = super().drawn(x, rng)
        if self.options.only_levels:
            levels = torch.tensor(self.options.levels) - 1
            t = levels[rng.fork("step").integers(0, len(levels))].to(t)
        return t, eps

    def shown(self, x: Images, brain: Brain, rng: Rng) -> Images:
        """The training images as the net sees them: a share of them with synthetic anomalies."""
        o = self.options
        if not o.sick:
            return x
        use = rng.fork("use").uniform().to(x.device).reshape(-1, 1, 1, 1) < o.sick
        return torch.where(use, slices_with_anomalies(o.anomalies, x, brain, o.sign, rng=rng), x)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Residual to the mean of the restorations from each level; fresh noise for each."""
        self.check_fitted()
        stream, count = self.options.noise.stream(rng), self.options.restored
        streams = [stream.fork("draw", n) for n in range(count)] if count > 1 else [stream]
        starts = [start for each in streams for start in self.starts(x, each)]
        restored = torch.stack(self.restorations(x, brain, starts))
        draws = restored.unflatten(0, (len(streams), -1)).mean(1)
        healthy = draws.mean(0) * brain
        anomaly = self.residual(x, healthy) * brain
        if self.options.mahalanobis:
            anomaly = anomaly * self.factor(x, draws, brain)
        return Detection(anomaly=anomaly, healthy=healthy)

    def starts(self, x: Images, rng: Rng) -> list[Start]:
        """Fresh noise for each of the levels, as much of it as detection is to have."""
        o = self.options
        found = []
        for n in o.levels:
            eps = (
                o.noise.like(x, rng=rng.fork("noise", n))
                if o.detection_noise
                else torch.zeros_like(x)
            )
            found.append(Start(n, o.detection_noise * eps, rng.fork("walk", n)))
        return found

    def factor(self, x: Images, draws: torch.Tensor, brain: Brain) -> AnomalyMap:
        """How far each pixel lies from the distribution of the draws, in squared intensity, >= 0.

        The published factor is (f - low) / (high - low), where low and high are the extremes of f
        in the whole scan. Slices are judged one by one, so these are not known here, and the
        factor is f itself, cut at 0. The division is one number for all of a scan: it orders no
        two voxels of a scan anew, and would give every scan, healthy or not, a voxel of value 1, so
        that no threshold held across scans. The shift does change the order: published, a pixel
        counts by its residual alone where f is near 0; here it counts as explained by the draws.
        """
        parts = unexplained(x, draws, brain).mean(1, keepdim=True)
        return gaussian_blur(parts, BLUR_PX).clamp(min=0)
