"""Diffusion of bits: flips that make them fair coins, and the walk back.

One step flips a bit with probability (1 - alpha) / 2, so that after many the bit is a one with
probability abar x0 + (1 - abar) / 2: Sohl-Dickstein et al. 2015, arXiv 1503.03585, appendix B.2.
The code that was released with the masked walk leaves the second term out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from brainuad.rng import Rng
from brainuad.schedule import Schedule
from brainuad.types import UsageError

Bits = Float[Tensor, "batch bit *cells"]
"""0 or 1, or the probability of a 1."""
PredictFlip = Callable[[Bits, Int[Tensor, " batch"]], Bits]
"""(bits, step of each image) -> probability that each bit is not what it was at first."""
Belief = Literal["exact", "published"]


def chance_of_one(before: Bits, kept: float | Tensor) -> Bits:
    """Probability of a one after noise.

    Args:
        before: bits, or their own probabilities of being one.
        kept: share of the bits that noise has not replaced by fair coins (alpha or abar), as a
            number or one per image, shaped to multiply bits.
    """
    return kept * before + (1 - kept) / 2


def draw(probability: Bits, *, rng: Rng) -> Bits:
    """Bits that are one with these probabilities; 0 and 1 are certain."""
    drawn = rng.uniforms(*probability.shape[1:]).to(probability.device)
    return (drawn < probability).to(probability.dtype)


def posterior(x_t: Bits, x0: Bits, *, kept: float, before: float) -> Bits:
    """Probability of a one at an earlier step, by Bayes' rule.

    Args:
        x_t: bits now.
        x0: the clean bits; or the probability, known without ``x_t``, that each is one.
        kept: abar now, below ``before``.
        before: abar of the earlier step, at most 1.
    """
    alpha = kept / before
    one = chance_of_one(x_t, alpha) * chance_of_one(x0, before)
    zero = chance_of_one(1 - x_t, alpha) * chance_of_one(1 - x0, before)
    return one / (one + zero)


def believed(x_t: Bits, x0: Bits, *, kept: float, before: float, belief: Belief) -> Bits:
    """Probability of a one at an earlier step, when a net only believes what the clean bits are.

    What a net says of x0 has seen ``x_t`` already. ``exact`` weighs the posteriors of both clean
    bits by this belief. ``published`` puts the belief into the posterior as if it were a clean bit,
    which counts ``x_t`` twice and keeps bits that the net wants to flip. Both are the same where
    the net is certain, and at the last step, where the earlier bits are the clean ones.
    """
    if before == 1:
        return x0
    if belief == "published":
        return posterior(x_t, x0, kept=kept, before=before)
    ones, zeros = torch.ones_like(x0), torch.zeros_like(x0)
    if_one, if_zero = (posterior(x_t, c, kept=kept, before=before) for c in (ones, zeros))
    return x0 * if_one + (1 - x0) * if_zero


@dataclass(frozen=True, kw_only=True, eq=False)
class BitWalk:
    """What a masked walk did to each image's bits."""

    final: Bits
    """The healthy bits."""
    flagged: Bool[Tensor, "batch bit *cells"]
    """Bits that the net wanted to flip at some step."""


@torch.no_grad()
def masked_walk(
    predict: PredictFlip,
    code: Bits,
    *,
    schedule: Schedule,
    levels: Sequence[int],
    threshold: float,
    belief: Belief = "exact",
    rng: Rng,
) -> BitWalk:
    """Noise bits, and walk them back; only bits that the net wants to flip may change for good.

    Args:
        predict: the net.
        code: clean bits of the images.
        schedule: the schedule the net was trained on.
        levels: falling noise levels, counted from 1, the last of them 0; with 0 alone nothing is
            done.
        threshold: a bit is flagged from the step on at which its probability to flip exceeds this;
            at 1 none is, and the walk ends at ``code``.
        belief: how the net's guess enters a step, see :func:`believed`.
        rng: one stream per image.

    Raises:
        UsageError: levels that the schedule lacks, that do not fall, or do not end at 0.

    References:
        Wolleb et al. 2024, "Binary Noise for Binary Tasks: Masked Bernoulli Diffusion for
        Unsupervised Anomaly Detection", MICCAI, arXiv 2403.11667.
    """
    falls = all(a > b for a, b in pairwise(levels))
    if not levels or not falls or levels[-1] != 0 or levels[0] > schedule.steps:
        raise UsageError(
            f"masked walk: levels {list(levels)} of {schedule.steps} steps; list falling levels "
            f"from at most {schedule.steps} down to 0"
        )
    kept = [float(schedule.abar[level - 1]) if level else 1.0 for level in levels]
    x = draw(chance_of_one(code, kept[0]), rng=rng.fork("start"))
    flagged = torch.zeros_like(code, dtype=torch.bool)
    for (now, then), (abar, before) in zip(pairwise(levels), pairwise(kept), strict=True):
        flip = predict(x, torch.full((len(x),), now - 1, device=x.device))
        flagged = flagged | (flip > threshold)
        x0 = torch.where(flagged, (x - flip).abs(), code)
        one = believed(x, x0, kept=abar, before=before, belief=belief)
        # The last step takes the likelier bit, so that nothing random is left in the end.
        x = draw(one, rng=rng.fork("step", now)) if then else (one > 0.5).to(x)
    return BitWalk(final=x, flagged=flagged)
