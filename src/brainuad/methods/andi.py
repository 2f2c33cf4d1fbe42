"""ANDi: how badly a denoiser guesses the noise, as a geometric mean over low noise levels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from brainuad import training_published
from brainuad.difference import one_sided
from brainuad.diffusion import (
    PUBLISHED,
    SMALL,
    TINY,
    Diffusion,
    DiffusionOptions,
    Level,
    Noise,
    Start,
)
from brainuad.likelihood import KLScorer
from brainuad.method import Detection
from brainuad.rng import Rng
from brainuad.types import Brain, Images

__all__ = ["Andi"]


def published_scorer() -> KLScorer:
    """Steps 75 to 199, geometric mean of the squared error of the posterior mean."""
    return KLScorer(window=(75, 199), stride=1, aggregator="gmean", weight="andi")


@dataclass(frozen=True, kw_only=True, slots=True)
class AndiOptions(DiffusionOptions):
    """Options of :class:`Andi`."""

    schedule: Literal["cosine", "linear", "scaled_linear"] = "linear"
    """How noise grows from step to step."""
    predict: Literal["x0", "eps", "v"] = "eps"
    """What the net says: the clean image, the noise, or the velocity between the two."""
    error: Literal["l1", "l2"] = "l2"
    """Loss: absolute or squared error of the prediction, mean over all pixels."""
    noise: Noise = field(default_factory=lambda: Noise(kind="pyramid"))
    """The noise of training; detection uses white noise, as published."""
    levels: tuple[Level, ...] = (100, 150, 200)
    """Levels, counted from 1, of the healthy counterpart (mean of one-step restorations), which
    also says which differences have the wanted sign."""
    scorer: KLScorer = field(default_factory=published_scorer)
    """Which steps are asked, how errors are weighted, and how they are averaged."""

    def __post_init__(self) -> None:
        """Refuse a window that the schedule does not have."""
        super(AndiOptions, self).__post_init__()
        self.scorer.check(self.steps)


def scored(stride: int) -> dict[str, Any]:
    """The published scorer at every ``stride``-th step."""
    return {"window": [75, 199], "stride": stride, "aggregator": "gmean", "weight": "andi"}


class Andi(Diffusion):
    """Aggregated squared differences between the true and the predicted denoising step.

    A net is trained on noise of many scales. In detection white noise of low levels is added and
    the step that the net would take is compared with the true one, which is known. The geometric
    mean over the levels is high only where the net is wrong at all of them.

    References:
        Frotscher, Kapoor, Wolfers, Baumgartner 2023, "Unsupervised anomaly detection using
        aggregated normative diffusion", arXiv 2312.01904.
    """

    title = "ANDi, aggregated normative diffusion"
    paper = "Frotscher et al. 2023, arXiv 2312.01904"
    Options = AndiOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.ANDI
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, "scorer": scored(5), "augment": {}},
        "small": {"net": SMALL, "scorer": scored(20), "augment": {}},
        "small-dark": {"net": SMALL, "scorer": scored(20), "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY, "scorer": scored(40)},
        "paper": {"net": PUBLISHED},
    }

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each step and draw of the score, and for each level."""
        return self.options.scorer.calls(self.schedule) + super().passes(size)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Root of the score, largest over the channels; 0 where the difference has a wrong sign."""
        self.check_fitted()
        z = 2 * x - 1
        parts = self.options.scorer.elements(
            self.noise_in, z, schedule=self.schedule, rng=rng.fork("score")
        )
        own = [(n, rng.fork("noise", n)) for n in self.options.levels]
        starts = [Start(n, each.normal_like(x), each) for n, each in own]
        healthy = torch.stack(self.restorations(x, brain, starts)).mean(0).clamp(0, 1) * brain
        if self.options.sign != "absolute":
            parts = parts * (one_sided(x - healthy, self.options.sign) > 0)
        return Detection(anomaly=parts.amax(1, keepdim=True).sqrt() * brain, healthy=healthy)

    def noise_in(self, x_t: Images, t: Tensor) -> Images:
        """The net's guess of the noise, whatever it predicts."""
        if self.options.predict == "eps":
            return self.net(x_t, t)
        signal, noise = self.rates(t, x_t)
        return (x_t - signal * self.clean(x_t, t)) / noise
