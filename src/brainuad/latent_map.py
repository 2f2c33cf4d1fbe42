"""How a repainted latent becomes an anomaly map: its image against the scan, where cells say so."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainuad.difference import Sign, one_sided
from brainuad.smooth import gaussian_blur
from brainuad.types import AnomalyMap, Images, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentMap:
    """How the healthy counterpart becomes an anomaly map."""

    kind: Literal["smoothed", "masked", "residual", "score"] = "smoothed"
    """Residual times the smoothed mask, times the mask itself, or alone; or the latent score."""
    reference: Literal["input", "reconstruction"] = "input"
    """What the healthy image is compared with: the input, or the autoencoder's view of it."""
    sign: Sign = "absolute"
    """Which differences count: both, only darker, or only brighter than healthy."""
    mask_sigma: Annotated[float, Field(ge=0)] = 1.0
    """Standard deviation of the Gaussian that smooths the mask, in latent cells."""

    def __post_init__(self) -> None:
        """Refuse settings that a map of scores has no use for."""
        if self.kind == "score" and (self.sign != "absolute" or self.reference != "input"):
            raise UsageError(
                "map of kind score: compares no images, so sign and reference have no meaning; "
                "leave them out"
            )

    def __call__(
        self,
        difference: Images,
        mask: Bool[Tensor, "batch 1 *cells"],
        score: Float[Tensor, "batch 1 *cells"],
        *,
        factor: int,
    ) -> AnomalyMap:
        """The map at the pixels of ``difference``.

        Args:
            difference: image minus healthy counterpart.
            mask: cells that were sampled anew.
            score: of every cell.
            factor: pixels along the edge of a cell.
        """
        size = difference.shape[2:]
        if self.kind == "score":
            return F.interpolate(score, size=size, mode="nearest")
        residual = one_sided(difference, self.sign).mean(1, keepdim=True)
        if self.kind == "residual":
            return residual
        weight = F.interpolate(mask.to(residual), size=size, mode="nearest")
        sigma = self.mask_sigma * factor if self.kind == "smoothed" else 0.0
        return residual * gaussian_blur(weight, sigma)
