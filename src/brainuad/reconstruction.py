"""What methods share that copy an image in one pass and look at what the copy lacks."""

from abc import abstractmethod
from dataclasses import dataclass

import torch

from brainuad.augment import Augment
from brainuad.difference import Residual, Sign, check_residual, residual
from brainuad.method import Detection, Method
from brainuad.rng import Rng
from brainuad.types import Brain, Images


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionOptions:
    """Options of every method that copies images."""

    sign: Sign = "absolute"
    """Which residuals count: both, only darker, or only brighter than the healthy counterpart."""
    residual: Residual = "l1"
    """Size or square of the difference, or 1 - structural similarity (one window, or eight)."""
    augment: Augment | None = None
    """Random changes of the training images, or none as published."""

    def __post_init__(self) -> None:
        """Refuse one sign of a residual that has none."""
        check_residual(self.residual, self.sign)


class Reconstruction(Method):
    """Base of methods whose map is the difference between an image and one copy of it."""

    space = "pixel"

    @abstractmethod
    def copied(self, x: Images) -> Images:
        """The copy that the fitted net makes of what is judged in clean images."""

    def judged(self, x: Images) -> Images:
        """What of an image is copied and compared: all of it, where a method says nothing else."""
        return x

    def passes(self, size: tuple[int, ...]) -> int:
        """One copy."""
        return 1

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Residual to the copy; nothing is drawn."""
        self.check_fitted()
        healthy = self.copied(x) * brain
        o = self.options
        anomaly = residual(self.judged(x), healthy, kind=o.residual, sign=o.sign) * brain
        return Detection(anomaly=anomaly, healthy=healthy)
