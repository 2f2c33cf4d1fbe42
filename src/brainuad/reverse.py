"""The walk down the chain of a pixel-space diffusion model, shared by THOR and AutoDDPM."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor

from brainuad.config import Share
from brainuad.denoiser import as_column
from brainuad.diffusion import Change, Level, Noise
from brainuad.method import Batches, Minimise
from brainuad.perceptual import Perceptual, check_perceptual
from brainuad.restoration import Restoration, RestorationOptions
from brainuad.rng import Rng
from brainuad.schedule import Schedule
from brainuad.types import Images

PUBLISHED: dict[str, Any] = {
    "width": 128,
    "multipliers": [1, 2, 2],
    "blocks": 1,
    "attention": [1, 2],
    "head_channels": 256,
}
"""Net of AutoDDPM and THOR (Bercea et al. 2023, 2024)."""
Steps = Int[Tensor, " batch"]
Clean = Callable[[Images, Steps], Images]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReverseOptions(RestorationOptions):
    """Options of the methods that walk the chain."""

    schedule: Literal["cosine", "linear", "scaled_linear"] = "linear"
    """How noise grows from step to step."""
    predict: Literal["x0", "eps", "v"] = "eps"
    """What the net says: the clean image, the noise, or the velocity between the two."""
    error: Literal["l1", "l2"] = "l2"
    """Loss: absolute or squared error of the prediction, mean over all pixels."""
    noise: Noise = field(default_factory=lambda: Noise(kind="gaussian"))
    """The noise of training and detection."""
    stride: Level = 1
    """Levels that one step goes down; 1 is the whole chain, as published."""
    eta: Share = 1.0
    """Share of fresh noise in a step: 0 none (DDIM), 1 as in DDPM."""
    perceptual: Perceptual = "none"
    """Perceptual factor of the published maps: none, or LPIPS, which needs its own package."""


class Reverse(Restoration):
    """Base of the methods that noise an image and walk back down the chain."""

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: the denoiser on healthy images."""
        check_perceptual(self.options.perceptual, batches.get([0]).x)
        super().fit(batches, minimise=minimise)

    def passes(self, size: tuple[int, ...]) -> int:
        """One walk from each of the levels."""
        return sum(-(-level // self.options.stride) for level in self.options.levels)

    def walk(self, x: Images, level: int, *, rng: Rng, change: Change | None = None) -> Images:
        """The clean image in [-1, 1] at the end of the chain.

        Args:
            x: noised images of this level.
            level: where the walk starts, counted from 1; it ends at 0.
            rng: one stream per image, for fresh noise.
            change: may replace the images before the next step.
        """
        levels = [*range(level, 0, -self.options.stride), 0]
        return self.down(x, levels, eta=self.options.eta, rng=rng, change=change)


def noise_by(clean: Clean, schedule: Schedule) -> Clean:
    """The guess of the noise that belongs to a guess of the clean image."""

    def predict(x: Images, t: Steps) -> Images:
        abar: Float[Tensor, " batch"] = schedule.abar[t.cpu()]
        signal, noise = as_column(abar.sqrt(), x), as_column((1 - abar).sqrt(), x)
        return (x - signal * clean(x, t)) / noise

    return predict
