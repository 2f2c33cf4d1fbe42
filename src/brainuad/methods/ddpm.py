"""DDPM on pixels: noise on the whole slice, restored in one step or along the chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from brainuad import training_published
from brainuad.config import Share
from brainuad.diffusion import PUBLISHED, SMALL, TINY, Start
from brainuad.restoration import Drawn, DrawnOptions
from brainuad.types import Brain, Images, UsageError

__all__ = ["Ddpm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DdpmOptions(DrawnOptions):
    """Options of :class:`Ddpm`."""

    walk: Annotated[int, Field(ge=1)] = 1
    """Net calls of a restoration: 1 asks for the clean image at once, as Behrendt et al. do; more
    walk down evenly spread steps."""
    eta: Share = 0.0
    """Share of fresh noise in a step of a walk: 0 none (DDIM), 1 as in DDPM. It is of the same kind
    as that of the training."""

    def __post_init__(self) -> None:
        """Refuse a walk with more calls than the lowest level has steps."""
        super(DdpmOptions, self).__post_init__()
        if self.walk > min(self.levels):
            raise UsageError(
                f"ddpm: a walk of {self.walk} calls from level {min(self.levels)}; use at most "
                "as many calls as the level has steps"
            )
        if self.only_levels and self.walk > 1:
            raise UsageError(
                f"ddpm: only_levels with a walk of {self.walk} calls, which passes other levels; "
                "set it to false"
            )
        if self.eta > 0 and self.detection_noise < 1:
            raise UsageError(
                f"ddpm: eta {self.eta} draws fresh noise, but detection_noise is "
                f"{self.detection_noise}; use eta 0, or detection_noise 1"
            )
        if self.eta > 0 and self.walk == 1:
            raise UsageError(
                f"ddpm: eta {self.eta} with a walk of one call, which draws no fresh noise; give "
                "the walk more calls, or eta 0"
            )


ADDITIVE = {"net": {**PUBLISHED, "injection": "additive"}}
ANODDPM = {
    "net": {
        "width": 128,
        "multipliers": [1, 1, 2, 3, 4],
        "attention": [3, 4],
        "heads": 2,
    },
    "schedule": "linear",
    "predict": "eps",
    "error": "l2",
    "levels": [250],
    "walk": 250,
    "eta": 1.0,
    "residual": "squared",
}

ANODDPM_256 = {
    **ANODDPM,
    "net": {
        "width": 128,
        "multipliers": [1, 1, 2, 2, 4, 4],
        "attention": [4, 5],
        "heads": 2,
        "resample": "block",
    },
}


class Ddpm(Drawn):
    """Noise on the whole slice; what the denoiser does not give back is the anomaly.

    References:
        Wyatt, Leach, Schmon, Willcocks 2022, "AnoDDPM", CVPR Workshops (simplex noise, presets
        ``anoddpm`` and ``anoddpm-256``); Behrendt et al. 2023, MIDL, arXiv 2303.03758 (one step,
        presets ``paper`` and ``code``).
    """

    title = "DDPM, noise on the whole slice"
    paper = "Wyatt et al. 2022, CVPRW; Behrendt et al. 2023, MIDL, arXiv 2303.03758"
    Options = DdpmOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **training_published.BEHRENDT,
        **training_published.ANODDPM,
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, "augment": {}},
        "small": {"net": SMALL, "augment": {}},
        "small-dark": {"net": SMALL, "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY},
        "paper": {"net": PUBLISHED, "noise": {"shared": True}},
        "code": {**ADDITIVE, "noise": {"shared": True}},
        "anoddpm": ANODDPM,
        "anoddpm-256": ANODDPM_256,
    }

    def passes(self, size: tuple[int, ...]) -> int:
        """One walk from each of the levels."""
        return super().passes(size) * self.options.walk

    def restorations(self, x: Images, brain: Brain, starts: Sequence[Start]) -> list[Images]:
        """The restoration from each level: one net call, or a walk of several."""
        if self.options.walk == 1:
            return super().restorations(x, brain, starts)
        return [(self.walked(2 * x - 1, start) + 1) / 2 for start in starts]

    def walked(self, x: Images, start: Start) -> Images:
        """Images in [-1, 1], noised to a level and walked back down the chain."""
        steps = self.schedule.descent(start=start.level - 1, count=self.options.walk)
        levels = [*(step + 1 for step in steps), 0]
        x = self.noised(x, start.eps, start.level)
        return self.down(x, levels, eta=self.options.eta, rng=start.rng)
