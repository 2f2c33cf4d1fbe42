"""Scores of whole scans: do pathological scans score above healthy ones?"""

import numpy as np

from brainuad.evaluate import voxel
from brainuad.types import DataError


def scan_auroc(scores: np.ndarray, pathological: np.ndarray) -> float:
    """Chance that a pathological scan scores above a healthy one, ties count half."""
    counts = _counts(scores, pathological)
    return float(voxel.auroc_of_counts(counts.lesion, counts.other))


def scan_auprc(scores: np.ndarray, pathological: np.ndarray) -> float:
    """Average precision of ranking pathological scans first; chance is their share."""
    counts = _counts(scores, pathological)
    return float(voxel.ap_of_counts(counts.lesion, counts.other))


def sensitivity_at(
    scores: np.ndarray, pathological: np.ndarray, *, specificity: float = 0.95
) -> float:
    """Share of pathological scans above the cut that leaves ``specificity`` of the healthy below.

    The cut is made on the test's own healthy scans.
    """
    counts = _counts(scores, pathological)
    return float(sensitivity_of_counts(counts.lesion, counts.other, specificity))


def sensitivity_of_counts(
    lesion: np.ndarray, other: np.ndarray, specificity: float = 0.95
) -> np.ndarray:
    """Sensitivity of the lowest cut that keeps the specificity; NaN where a kind is missing.

    Args:
        lesion: pathological scans per score, scores ascending in the last axis.
        other: healthy scans per score; leading axes are independent problems.
        specificity: share of the healthy scans that must not be called pathological.
    """
    hits = np.cumsum(lesion[..., ::-1], axis=-1, dtype=float)
    alarms = np.cumsum(other[..., ::-1], axis=-1, dtype=float)
    healthy, ill = alarms[..., -1], hits[..., -1]
    allowed = alarms <= (1 - specificity) * healthy[..., None] + 1e-9
    best = np.where(allowed, hits, 0).max(-1)
    return np.where((healthy > 0) & (ill > 0), best / np.maximum(ill, 1), np.nan)


def _counts(scores: np.ndarray, pathological: np.ndarray) -> voxel.Counts:
    scores, pathological = np.asarray(scores, float), np.asarray(pathological, bool)
    if pathological.all() or not pathological.any():
        kind = "healthy" if pathological.all() else "pathological"
        raise DataError(f"scan metrics: no {kind} scan; the test set needs both kinds")
    return voxel.exact_counts(scores, pathological)
