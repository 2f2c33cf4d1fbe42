"""What is kept of one case: numbers and a small histogram, never the map."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case
from brainuad.evaluate.lesion import Candidates, Lesions, candidates, match_lesions
from brainuad.evaluate.voxel import Counts, Overlap
from brainuad.histogram import COARSE_MANTISSA, MANTISSA
from brainuad.postprocess import Postprocess, label_components, scan_score

PLAIN = Postprocess(median=0)
"""No component filter."""
_BINS = {"lesion": MANTISSA, "clean": COARSE_MANTISSA, "sham": COARSE_MANTISSA}


@dataclass(frozen=True, kw_only=True)
class AtRate:
    """The mask of one case at the threshold of one healthy false-positive rate."""

    overlap: Overlap
    """Against the truth, inside the region."""
    lesions: Lesions
    """Components against lesions."""
    marked_ml: float
    """Volume of the mask in ml."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One case after its map has been let go."""

    subject: str
    kind: str
    strata: Mapping[str, str]
    voxels: int
    """Voxels of the region."""
    lesion_ml: float
    score: float
    """Scan score."""
    auprc: float
    """Exact, inside the region; NaN without a lesion."""
    oracle: float
    """Highest Dice over all thresholds, chosen on this case's own truth; NaN without a lesion."""
    counts: Counts
    """Inside the region; in fine bins for lesion cases, which are pooled, else in coarse ones."""
    at: Mapping[float, AtRate]
    """By healthy false-positive rate."""
    candidates: Candidates

    def record(self) -> dict[str, Any]:
        """One flat line for a table of cases."""
        line: dict[str, Any] = {
            "subject": self.subject,
            "kind": self.kind,
            **self.strata,
            "lesion_ml": self.lesion_ml,
            "score": self.score,
            "auprc": self.auprc,
            "dice_oracle": self.oracle,
        }
        for rate, found in self.at.items():
            line[f"dice_at_fpr_{rate:g}"] = found.overlap.dice
            line[f"recall_at_fpr_{rate:g}"] = found.overlap.recall
            line[f"marked_ml_at_fpr_{rate:g}"] = found.marked_ml
            line[f"fpr_at_fpr_{rate:g}"] = found.overlap.false_positive_rate
            line[f"false_components_at_fpr_{rate:g}"] = found.lesions.false_components
        return line


def measure(
    case: Case, thresholds: Mapping[float, float], *, postprocess: Postprocess | None = None
) -> Measured:
    """Everything that scan-wise protocols need to know of a checked case.

    Args:
        case: from :func:`brainuad.evaluate.case.checked`.
        thresholds: healthy false-positive rate -> value of the map.
        postprocess: makes the mask from the map, as detection does; None = no component filter.
    """
    lesion = np.zeros_like(case.region) if case.lesion is None else case.lesion
    scores, truth = case.anomaly[case.region], lesion[case.region]
    exact = voxel.exact_counts(scores, truth) if truth.any() else None
    post = postprocess or PLAIN
    inside = np.where(case.region, case.anomaly, 0)
    masks = {
        rate: post.mask(inside, value, case.spacing) & case.region
        for rate, value in sorted(thresholds.items())
    }
    return Measured(
        subject=case.subject,
        kind=case.kind,
        strata=dict(case.strata),
        voxels=scores.size,
        lesion_ml=float(truth.sum() * math.prod(case.spacing) / 1000),
        score=scan_score(case.anomaly, case.region),
        auprc=float(voxel.ap_of_counts(exact.lesion, exact.other)) if exact else math.nan,
        oracle=float(voxel.max_dice_of_counts(exact.lesion, exact.other)) if exact else math.nan,
        counts=voxel.binned_counts(scores, truth, mantissa=_BINS[case.kind]),
        at={rate: _at_rate(mask, lesion, case) for rate, mask in masks.items()},
        candidates=_candidates(masks, lesion, case),
    )


def _at_rate(mask: np.ndarray, lesion: np.ndarray, case: Case) -> AtRate:
    if case.kind == "lesion":
        lesions = match_lesions(mask, lesion, case.spacing)
    else:  # nothing to be found; a sham's marks are no lesion
        count = label_components(mask)[1]
        lesions = Lesions(components=count, false_components=count)
    return AtRate(
        overlap=voxel.overlap(mask[case.region], lesion[case.region]),
        lesions=lesions,
        marked_ml=float(mask.sum() * math.prod(case.spacing) / 1000),
    )


def _candidates(masks: Mapping[float, np.ndarray], lesion: np.ndarray, case: Case) -> Candidates:
    """Components at the most generous threshold."""
    if not masks or case.kind != "lesion":
        return Candidates()
    return candidates(masks[max(masks)], case.anomaly, lesion)
