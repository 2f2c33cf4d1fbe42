"""How a latent that was walked to a healthy one becomes an anomaly map, as in MAD-AD."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainuad.difference import Sign, one_sided
from brainuad.sample import MaskedWalk
from brainuad.smooth import gaussian_blur
from brainuad.types import AnomalyMap, Brain, Images, UsageError

Latents = Float[Tensor, "batch latent *cells"]
Sigmas = Sequence[float | Sequence[float]]
"""Standard deviations of Gaussians in pixels, the same along all axes or one for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapOptions:
    """How the healthy counterpart becomes an anomaly map (section "anomaly map" of the paper)."""

    source: Literal["image", "latent", "mask", "average"] = "image"
    """Compare decoded images, or latents; take the mean predicted mask over the steps; or the mean
    of the maps of images and latents."""
    reference: Literal["reconstruction", "input"] = "reconstruction"
    """What the healthy image is compared with: the autoencoder's reconstruction, or the input."""
    squared: bool = False
    """Squared difference (paper) or absolute difference (released code)."""
    sign: Sign = "absolute"
    """Which differences count: both, only darker, or only brighter than healthy."""
    clip: Annotated[float, Field(ge=0)] = 0.25
    """Differences are cut here and divided by it; intensities run from -1 to 1. 0: no cut. A
    predicted mask is a share already and is not cut."""
    smooth_px: tuple[float, ...] = (5.0,)
    """Standard deviations in pixels of the Gaussians; several: the mean of the smoothed maps."""
    smooth_mm: tuple[float, ...] | None = None
    """The same in mm, in place of ``smooth_px``; None: in pixels."""
    gate: bool = False
    """Keep the map only near cells that were flagged at some step."""

    def __post_init__(self) -> None:
        """Refuse widths that are none, and settings that the source has no use for."""
        widths = self.smooth_px if self.smooth_mm is None else self.smooth_mm
        if not widths or min(widths) < 0:
            unit = "px" if self.smooth_mm is None else "mm"
            raise UsageError(
                f"mad_ad: map.smooth_{unit} {list(widths)}; give at least one width, 0 for none"
            )
        imaged = self.source in ("image", "average")
        ignored = {
            "sign": self.sign != "absolute" and self.source != "image",
            "reference": self.reference == "input" and not imaged,
            "squared": self.squared and self.source == "mask",
        }
        wrong = [name for name, given in ignored.items() if given]
        if wrong:
            raise UsageError(
                f"mad_ad: map.{wrong[0]} has no meaning for a map from the {self.source}; leave it "
                "out, or take the map from the image"
            )

    def sigmas(self, pixel_mm: Sequence[float] | None) -> Sigmas:
        """Standard deviations in pixels.

        Args:
            pixel_mm: size of a pixel along each axis; None where it is not known.

        Raises:
            UsageError: widths in mm of pixels of unknown size.
        """
        if self.smooth_mm is None:
            return self.smooth_px
        if pixel_mm is None:
            raise UsageError(
                "mad_ad: map.smooth_mm needs the size of a pixel, which is not known here; set "
                "the method's pixel_mm, or give smooth_px"
            )
        return [[width / size for size in pixel_mm] for width in self.smooth_mm]

    def __call__(
        self,
        images: tuple[Images, Images, Images],
        z: Latents,
        walk: MaskedWalk,
        *,
        pixel_mm: Sequence[float] | None = None,
    ) -> AnomalyMap:
        """Cut, smoothed difference; in [0, 1] where it is cut.

        Args:
            images: input, reconstruction and healthy counterpart, in [-1, 1].
            z: scaled latent of the input.
            walk: from there to the healthy one.
            pixel_mm: size of a pixel along each axis.

        Raises:
            UsageError: widths in mm of pixels of unknown size.
        """
        x, reference, healthy = images
        before = reference if self.reference == "reconstruction" else x
        if self.source == "mask":
            size = upsample(walk.probability, x)
        elif self.source == "average":
            size = (self.imaged(before - healthy) + self.latent(z - walk.final, x)) / 2
        elif self.source == "latent":
            size = self.latent(z - walk.final, x)
        else:
            size = self.imaged(before - healthy)
        anomaly = smoothed(size, self.sigmas(pixel_mm))
        return anomaly * upsample(dilated(walk.flagged), x) if self.gate else anomaly

    def imaged(self, difference: Images) -> AnomalyMap:
        """Size of the difference of images, cut; mean over the channels."""
        return cut(one_sided(difference, self.sign).mean(1, keepdim=True), self)

    def latent(self, difference: Latents, x: Images) -> AnomalyMap:
        """Size of the difference of latents at the pixels of ``x``, cut; mean over channels."""
        return cut(upsample(difference.abs().mean(1, keepdim=True), x), self)


def cut(difference: AnomalyMap, how: MapOptions) -> AnomalyMap:
    """min(d, clip) / clip, with d squared first where asked for."""
    value = difference.square() if how.squared else difference
    return value.clamp(max=how.clip) / how.clip if how.clip else value


def smoothed(anomaly: AnomalyMap, sigmas: Sigmas) -> AnomalyMap:
    """Mean of the map blurred with each Gaussian."""
    return torch.stack([gaussian_blur(anomaly, s) for s in sigmas]).mean(0)


def dilated(flagged: Brain) -> Latents:
    """Flagged cells and their neighbours, as 0 and 1."""
    return F.max_pool2d(flagged.float(), 3, stride=1, padding=1)


def upsample(cells: Latents, x: Images) -> AnomalyMap:
    """Latent cells brought to the pixels of ``x``, each cell a constant block."""
    return F.interpolate(cells, size=x.shape[2:], mode="nearest")
