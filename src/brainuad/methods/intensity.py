"""Intensity as anomaly: the baseline without which no claim on FLAIR is credible."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from brainuad.equalise import equalise
from brainuad.method import Batches, Detection, Method, Minimise
from brainuad.rng import Rng
from brainuad.types import Brain, Images

__all__ = ["Intensity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IntensityOptions:
    """Options of :class:`Intensity`."""

    dark: bool = False
    """Dark voxels are the anomalous ones (infarcts on T1w); bright ones otherwise (FLAIR)."""
    equalise: bool = True
    """Equalise the histogram inside the brain first, as the publication does."""


class Intensity(Method):
    """How bright, or how dark, each voxel is within its own brain. Nothing is learned.

    References:
        Meissen, Kaissis, Rueckert 2021, "Challenging current semi-supervised anomaly segmentation
        methods for brain MRI", arXiv 2109.06023.
    """

    title = "Intensity threshold"
    paper = "Meissen et al. 2021, BrainLes, arXiv 2109.06023"
    supervision = "nothing"
    space = "intensity"
    views = ("volume", "axial")
    Options = IntensityOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "bright": {},
        "bright-raw": {"equalise": False},
        "dark": {"dark": True},
        "dark-raw": {"dark": True, "equalise": False},
    }

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """Nothing to learn."""
        self.mark_fitted()

    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """The (equalised) intensity itself, or its distance from white."""
        self.check_fitted()
        level = equalise(x, brain) if self.options.equalise else x.clamp(0, 1)
        level = level.mean(1, keepdim=True)
        return Detection(anomaly=(1 - level if self.options.dark else level) * brain)
