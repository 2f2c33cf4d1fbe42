"""What is kept of one case: numbers and a small histogram, never the map."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case
from brainuad.evaluate.froc import Candidates, candidates
from brainuad.evaluate.lesion import Lesions, Match, match
from brainuad.evaluate.restoration import Restoration, restoration
from brainuad.evaluate.surface import Surface, surface_of
from brainuad.evaluate.voxel import Counts, Overlap
from brainuad.histogram import COARSE_MANTISSA, MANTISSA, RESAMPLED_MANTISSA
from brainuad.postprocess import Postprocess, label_components, scan_score

PRIMARY_RATE = 0.01
"""Healthy false-positive rate whose rows carry the plain names."""
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
    surface: Surface | None = None
    """Distances of the outlines; of lesion cases at the main rate only."""


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
    """Inside the region; in fine bins for lesion cases, which are pooled, else in coarse ones.
    :class:`Pool` puts wider ones in their place."""
    at: Mapping[float, AtRate]
    """By healthy false-positive rate."""
    candidates: Candidates
    restoration: Restoration | None = None
    """Healthy counterpart against a healthy scan; None for other cases and without one."""

    @property
    def lesion_voxels(self) -> int:
        """Voxels of the lesion inside the region."""
        return int(self.counts.lesion.sum())

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
            if found.surface is not None:
                line["surface_dice"] = found.surface.dice
                line["hd95_mm"] = found.surface.mean_hd95
                line["unmatched_lesions"] = found.surface.unmatched
        if self.restoration is not None:
            line |= {f"restoration_{k}": v for k, v in self.restoration._asdict().items()}
        return line


class Pool:
    """Fine counts of all lesion cases together, and of each case coarse ones.

    So the memory that a case takes does not depend on how finely its scores are told apart. Pooled
    values come from the fine counts; the coarse ones say how they vary from subject to subject.
    """

    def __init__(self) -> None:
        self.total: Counts | None = None

    def take(self, case: Measured) -> Measured:
        """Count a case; what is left to keep of it."""
        if case.kind != "lesion":
            return case
        before = [] if self.total is None else [self.total]
        self.total = voxel.pool([*before, case.counts])
        return replace(case, counts=voxel.coarser(case.counts, mantissa=RESAMPLED_MANTISSA))


def main_rate(rates: Collection[float]) -> float:
    """The rate whose rows carry the plain names: 1 %, or the lowest one there is."""
    return PRIMARY_RATE if PRIMARY_RATE in rates or not rates else min(rates)


def measure(
    case: Case, thresholds: Mapping[float, float], *, postprocess: Postprocess | None = None
) -> Measured:
    """Everything that scan-wise protocols need to know of a checked case.

    Args:
        case: from :func:`brainuad.evaluate.case.checked`.
        thresholds: healthy false-positive rate -> value of the map.
        postprocess: makes the mask from the map, as detection does; None = no component filter.
    """
    case = _cropped(case)
    lesion = np.zeros_like(case.region) if case.lesion is None else case.lesion
    scores, truth = case.anomaly[case.region], lesion[case.region]
    exact = voxel.exact_counts(scores, truth) if truth.any() else None
    masks = _masks(case, thresholds, postprocess or PLAIN)
    matches = _matches(case, masks)
    with_map = case.kind == "lesion" and matches
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
        at=_at_rates(case, lesion, masks, matches),
        candidates=candidates(matches[max(matches)], case.anomaly) if with_map else Candidates(),
        restoration=_restored(case),
    )


def _cropped(case: Case) -> Case:
    """The case in the box of its region: nothing outside is looked at, and labelling is slow."""
    region = case.region
    box = tuple(
        slice(int(places[0]), int(places[-1]) + 1)
        for axis in range(region.ndim)
        for places in [np.flatnonzero(region.any(tuple({0, 1, 2} - {axis})))]
    )
    parts = {
        name: None if volume is None else volume[box]
        for name, volume in (
            ("anomaly", case.anomaly), ("lesion", case.lesion), ("region", region),
            ("scan", case.scan), ("healthy", case.healthy),
        )
    }  # fmt: skip
    return replace(case, **parts)


def _masks(
    case: Case, thresholds: Mapping[float, float], post: Postprocess
) -> dict[float, np.ndarray]:
    inside = np.where(case.region, case.anomaly, 0)
    return {
        rate: post.mask(inside, value, case.spacing) & case.region
        for rate, value in sorted(thresholds.items())
    }


def _matches(case: Case, masks: Mapping[float, np.ndarray]) -> dict[float, Match]:
    """Components against lesions by rate; none but of lesion cases: a sham's marks are none."""
    if case.kind != "lesion" or not masks:
        return {}
    assert case.lesion is not None
    true = label_components(case.lesion)
    return {rate: match(mask, true, case.spacing) for rate, mask in masks.items()}


def _at_rates(
    case: Case,
    lesion: np.ndarray,
    masks: Mapping[float, np.ndarray],
    matches: Mapping[float, Match],
) -> dict[float, AtRate]:
    found = {}
    for rate, mask in masks.items():
        if rate in matches:
            lesions = matches[rate].lesions
        else:
            count = label_components(mask)[1]
            lesions = Lesions(components=count, false_components=count)
        outlined = rate in matches and rate == main_rate(masks)
        found[rate] = AtRate(
            overlap=voxel.overlap(mask[case.region], lesion[case.region]),
            lesions=lesions,
            marked_ml=float(mask.sum() * math.prod(case.spacing) / 1000),
            surface=surface_of(matches[rate], case.spacing) if outlined else None,
        )
    return found


def _restored(case: Case) -> Restoration | None:
    if case.kind != "clean" or case.scan is None or case.healthy is None:
        return None
    return restoration(case.scan, case.healthy, case.region)
