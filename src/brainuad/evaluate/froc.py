"""FROC: lesions found against false components per scan, over all cuts of the confidence."""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from brainuad.evaluate.lesion import Match
from brainuad.evaluate.voxel import ratio
from brainuad.types import Volume

FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the sensitivity is read."""
FROC_BLOCK = 4096
"""False candidates that are counted at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Confidences for FROC, of one scan or of several added together.

    The confidence of a component is the highest value of the map in it.
    """

    lesions: tuple[float, ...] = ()
    """Highest confidence of a component that touches the lesion; -inf when there is none."""
    false: Sequence[float] = ()
    """Confidence of each component that touches no lesion: an array where there are
    thousands in a scan, because a tuple takes four times the memory."""
    scans: int = 1
    """How many scans."""


def candidates(matched: Match, anomaly: Volume) -> Candidates:
    """Confidences of the components of one scan's mask, made at a generous threshold."""
    found, true, count = matched.found, matched.true, matched.lesions.components
    marked, inside = found > 0, true > 0
    peaks = np.full(count + 1, -math.inf)
    np.maximum.at(peaks, found[marked], anomaly[marked])
    best = np.full(len(matched.lesions.hit) + 1, -math.inf)
    np.maximum.at(best, true[inside], peaks[found[inside]])
    free = np.ones(count + 1, bool)
    free[0] = False
    free[found[inside]] = False
    return Candidates(lesions=tuple(best[1:].tolist()), false=array("d", peaks[free]))


def together(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of all scans."""
    return Candidates(
        lesions=tuple(chain.from_iterable(part.lesions for part in parts)),
        false=array("d", chain.from_iterable(part.false for part in parts)),
        scans=sum(part.scans for part in parts),
    )


def froc_curve(found: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """False positives per scan and sensitivity, for cuts from above every candidate to below all.

    Between two false positives the sensitivity is the one before the second: see :func:`froc`.
    """
    false = np.sort(np.asarray(found.false, dtype=float))[::-1]
    confidence = np.sort(np.asarray(found.lesions, dtype=float))
    cuts = np.append(false, -math.inf)
    above = confidence.size - np.searchsorted(confidence, cuts, side="right")
    return np.arange(cuts.size) / found.scans, above / max(1, confidence.size)


def froc(found: Candidates, rates: Sequence[float] = FROC_RATES) -> dict[float, float]:
    """Sensitivity at given numbers of false positives per scan.

    Components are kept when their confidence reaches a cut; the lowest cut with at most the given
    number of false positives per scan counts. NaN without lesions.
    """
    false = np.sort(np.asarray(found.false))[::-1]
    confidence = np.asarray(found.lesions)
    result = {}
    for rate in rates:
        allowed = math.floor(rate * found.scans + 1e-9)
        # the first false positive too many, and all components below it, are left out
        cut = false[allowed] if allowed < false.size else -math.inf
        result[rate] = ratio(float(np.sum(confidence > cut)), confidence.size)
    return result


def mean_froc(parts: Sequence[Candidates]) -> Callable[[np.ndarray], np.ndarray]:
    """Mean sensitivity over the seven FROC rates, as a function of how often each scan is drawn.

    Args:
        parts: one per subject.

    Returns:
        A function from draws (samples, subjects) to one value per sample, for the bootstrap.
    """
    owner, confidence = _flat([part.lesions for part in parts])
    false_owner, false = _flat([part.false for part in parts])
    order = np.argsort(-false)
    false, false_owner = np.append(false[order], -math.inf), false_owner[order]
    scans = np.array([part.scans for part in parts])

    def of_draws(draws: np.ndarray) -> np.ndarray:
        lesions = draws[:, owner]
        allowed = np.floor(np.outer(FROC_RATES, draws @ scans) + 1e-9)
        found = np.zeros(len(draws))
        for kept in _kept_alarms(draws, false_owner, allowed):
            found += (lesions * (confidence > false[kept][:, None])).sum(1)
        return found / len(FROC_RATES) / np.maximum(lesions.sum(1), 1)

    return of_draws


def _kept_alarms(draws: np.ndarray, owner: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """How many candidates, from the highest on, hold no more false positives than allowed.

    Args:
        draws: (samples, scans), how often each scan counts.
        owner: scan of each false candidate, the highest confidence first.
        allowed: (rates, samples).

    Returns:
        (rates, samples) numbers. There may be a million candidates, so they are counted in blocks,
        and only until every sample has more than its largest number.
    """
    kept = np.zeros(allowed.shape, np.int64)
    before = np.zeros(len(draws))
    for start in range(0, owner.size, FROC_BLOCK):
        block = owner[start : start + FROC_BLOCK]
        alarms = before[:, None] + np.cumsum(draws[:, block], axis=1)
        for rate, most in enumerate(allowed):
            kept[rate] += (alarms <= most[:, None]).sum(1)
        before = alarms[:, -1]
        if (before > allowed.max(0)).all():
            break
    return kept


def _flat(groups: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """All values one after the other, and which group each belongs to."""
    owner = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    return owner, np.concatenate([np.asarray(g, dtype=float) for g in groups])
