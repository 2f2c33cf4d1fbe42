"""Where a latent place counts as unlikely: limits set on healthy images, and scores of images."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from brainuad.likelihood import KLScorer, PredictEps, percentile
from brainuad.rng import Rng
from brainuad.schedule import Schedule
from brainuad.types import AnomalyMap, Brain, Images, PerItem, UsageError

Scores = Float[Tensor, "batch 1 *cells"]
Cells = Bool[Tensor, "batch 1 *cells"]
TOP_SHARE = 0.01
"""Share of a slice's brain whose highest values the score ``top`` averages."""


def limit(scores: Scores, inside: Cells, percent: float) -> float:
    """The score that the wanted share of healthy cells does not exceed, in percent."""
    return percentile(scores[inside], percent)


def limits_by_place(scores: Scores, inside: Cells, percent: float) -> Float[Tensor, "1 1 *cells"]:
    """The same for each place by itself, over the images.

    A place with too few healthy values to know the share above the limit, fewer than
    100 / (100 - ``percent``), gets the limit of all places together; a log line says how many.

    Args:
        scores: of the cells of healthy images.
        inside: cells that count.
        percent: share of the healthy values of a place that its limit is not below.
    """
    counts = inside.sum(0, keepdim=True)
    rank = -torch.div(-percent * counts.double(), 100, rounding_mode="floor").long()
    ordered = scores.masked_fill(~inside, torch.inf).sort(0).values
    found = ordered.gather(0, (rank.clamp(min=1) - 1).clamp(max=len(scores) - 1))
    least = math.ceil(100 / (100 - percent) - 1e-9)
    few = counts < least
    tell_few(int((few & (counts > 0)).sum()), int((counts > 0).sum()), least)
    return found.masked_fill(few, limit(scores, inside, percent))


def tell_few(few: int, places: int, least: int) -> None:
    """Say at how many places the limit of all places stands in; loudly where it is most."""
    level = logging.WARNING if 2 * few > places else logging.INFO
    logging.getLogger(__name__).log(
        level,
        "%d of %d latent places with brain have fewer than %d healthy values; they get the "
        "threshold of all places",
        few,
        places,
        least,
    )


def check_places(limits: Tensor, score: Scores) -> None:
    """Refuse images whose cells are not those that the limits were set for."""
    if limits.ndim and limits.shape[2:] != score.shape[2:]:
        set_on, given = (" x ".join(map(str, n.shape[2:])) for n in (limits, score))
        raise UsageError(
            f"latent_ddpm: thresholds were set for each of {set_on} cells, this image has {given}; "
            "give images of the size that it was fitted on, or fit without per_location"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceScore:
    """One number for each slice, larger is less healthy."""

    kind: Literal["window", "full", "mean", "max", "top"] = "window"
    """Mean divergence over the scorer's window, its sum over all steps (a bound on the likelihood
    of the latent), or mean, maximum, or mean of the highest 1 % of the map's brain pixels."""

    def __call__(
        self,
        cells: Scores,
        anomaly: AnomalyMap,
        brain: Brain,
        *,
        bound: Callable[[], PerItem],
    ) -> PerItem:
        """The number of each slice.

        Args:
            cells: the score of its cells.
            anomaly: its map.
            brain: where the map counts.
            bound: gives what :meth:`bound` gives; called where it is asked for.
        """
        if self.kind == "window":
            return cells.flatten(1).mean(1)
        return bound() if self.kind == "full" else self.of_map(anomaly, brain)

    def everywhere(self, scorer: KLScorer, steps: int) -> KLScorer:
        """The divergence at all steps but step 0, as far as the scorer's stride asks them."""
        return KLScorer(
            window=(1, steps - 1),
            stride=scorer.stride,
            draws=scorer.draws,
            shared_noise=scorer.shared_noise,
        )

    def calls(self, scorer: KLScorer, schedule: Schedule) -> int:
        """Network calls for one slice, beside those of the score of its cells."""
        if self.kind != "full":
            return 0
        return self.everywhere(scorer, schedule.steps).calls(schedule)

    def bound(
        self,
        scorer: KLScorer,
        predict_eps: PredictEps,
        z: Images,
        *,
        schedule: Schedule,
        rng: Rng,
    ) -> PerItem:
        """Sum over the steps of the mean divergence: a bound on -log likelihood, per element.

        Step 0, whose divergence is not defined, is left out. Where the stride is above 1, the
        steps that are asked stand for the others.

        References:
            Ho et al. 2020, NeurIPS, arXiv 2006.11239, Eq. 5.
        """
        whole = self.everywhere(scorer, schedule.steps)
        score = whole.score(predict_eps, z, schedule=schedule, rng=rng)
        return (schedule.steps - 1) * score.flatten(1).mean(1)

    def of_map(self, anomaly: AnomalyMap, brain: Brain) -> PerItem:
        """The number that the map alone gives; 0 for a slice without brain."""
        found = []
        for values in (a[b] for a, b in zip(anomaly, brain, strict=True)):
            share = {"mean": 1.0, "max": 0.0}.get(self.kind, TOP_SHARE)
            count = max(1, round(share * len(values)))
            found.append(values.topk(count).values.mean() if len(values) else anomaly.new_zeros(()))
        return torch.stack(found)
