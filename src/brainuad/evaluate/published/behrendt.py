"""Behrendt et al., pDDPM (MIDL 2023) and cDDPM (CBM 2025): per scan, labelled validation.

The published search optimises the pooled Dice of the validation scans, while the Dice that is
printed is a mean over test scans.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from brainuad.evaluate import voxel
from brainuad.evaluate.behrendt import (
    LARGEST_DROPPED,
    behrendt_threshold,
    bisection,
    filter_residual,
    filter_residual_paper,
)
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import mean_row
from brainuad.evaluate.voxel import Oracle
from brainuad.postprocess import drop_small
from brainuad.types import DataError


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What the released code and the text of the paper do differently."""

    prepare: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(residual, brain) -> the map that is thresholded."""
    exhaustive: bool
    """Every value of the map is tried as a threshold, instead of ten halvings."""
    dropped: int
    """Voxels, holes filled, of the largest component that leaves the mask."""

    def validated(self, study: Study) -> float:
        """Threshold of the highest pooled Dice on the validation scans."""
        pairs = ((self.map(case), truth_of(case)) for case in study.validation())
        found = exhaustive_search(pairs) if self.exhaustive else behrendt_threshold(pairs)
        if not found.dice:
            raise DataError(
                f"protocol {study.protocol.name}: no threshold finds a lesion voxel of the "
                "validation cases; check their masks and their grid"
            )
        return found.threshold

    def map(self, case: Case) -> np.ndarray:
        """The filtered map of a case."""
        return self.prepare(case.anomaly, case.region)

    def best(self, anomaly: np.ndarray, lesion: np.ndarray) -> Oracle:
        """The search on one scan's own label."""
        pair = (anomaly, lesion)
        return exhaustive_search([pair]) if self.exhaustive else bisection(*pair)


def exhaustive_search(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Oracle:
    """Highest pooled Dice over the threshold 0 and every value of the maps; the lowest such one.

    Args:
        parts: maps >= 0 with their lesions; there may be none, then the Dice is 0.
    """
    counts = voxel.pool([voxel.exact_counts(anomaly, lesion) for anomaly, lesion in parts])
    dice = np.nan_to_num(voxel.dice_of_counts(counts.lesion, counts.other))
    limits = np.concatenate([[0.0], counts.scores[:-1]])  # strictly below each group
    if counts.scores[0] == 0:  # no threshold marks what scores 0
        dice, limits = dice[1:], limits[1:]
    if not dice.size:
        return Oracle(0.0, 0.0)
    best = int(np.argmax(dice))
    return Oracle(float(dice[best]), float(limits[best]))


def judge(study: Study, variant: Variant) -> Evaluation:
    """Mean over scans of the Dice at the validated threshold, and of the average precision."""
    threshold = variant.validated(study)
    found = []
    for case in study.test():
        line = _scored(case, variant, threshold)
        study.note(case, auprc=line["auprc"], dice=line["dice"], threshold=threshold)
        found.append({"subject": case.subject, **line})
    found.sort(key=lambda line: line["subject"])
    subjects, writer = [line["subject"] for line in found], study.writer

    def column(name: str) -> list[float | int]:
        return [line[name] for line in found]

    source = study.protocol.threshold_source
    return study.evaluation([
        *mean_row("auprc_subject", subjects, column("auprc"), writer, "none"),
        *writer.share("prevalence", column("true"), column("voxels")),
        *mean_row("dice_at_validation", subjects, column("dice"), writer, source),
        *mean_row("dice_oracle_subject", subjects, column("best"), writer, "oracle"),
    ])  # fmt: skip


def _scored(case: Case, variant: Variant, threshold: float) -> dict[str, float | int]:
    anomaly, lesion = variant.map(case), truth_of(case)
    counts = voxel.exact_counts(anomaly, lesion)
    mask = drop_small(anomaly > threshold, variant.dropped, fill_holes=True)
    return {
        "auprc": float(voxel.ap_of_counts(counts.lesion, counts.other)),
        "dice": voxel.overlap(mask, lesion).dice,
        "best": variant.best(anomaly, lesion).dice if lesion.any() else float("nan"),
        "true": int(lesion.sum()),
        "voxels": int(lesion.size),
    }


CODE_STEPS = Variant(prepare=filter_residual, exhaustive=False, dropped=LARGEST_DROPPED)
PAPER_STEPS = Variant(prepare=filter_residual_paper, exhaustive=True, dropped=LARGEST_DROPPED - 1)
_GRID = "volumes of 96 x 96 x 50 at 2 mm"
_EMPTY = "Dice is 0 where something is marked; NaN (nothing marked; every AUPRC) is dropped"
_NOTES = (
    "give the plain absolute residual: the detector's own median and erosion would act twice",
    "the average precision counts the zeroed background, so it is not that of brain voxels",
)
CODE = Protocol(
    name="behrendt",
    title="Dice per scan, threshold searched on unhealthy validation scans (pDDPM, cDDPM)",
    unit="scan",
    region="grid",
    threshold_source="labelled-validation",
    publication="Behrendt et al. 2023, 2025, released code",
    grid=_GRID,
    steps=(
        "brain eroded by 3 pixels in each axial slice",
        "median of 5 x 5 x 5 voxels",
        "threshold",
        "26-connected components of at most 7 voxels (holes filled) removed",
    ),
    aggregation="mean over scans",
    threshold="pooled Dice of the validation scans, halved ten times",
    empty=_EMPTY,
    notes=_NOTES,
    validation="lesion",
    judge=lambda study: judge(study, CODE_STEPS),
)
PAPER = Protocol(
    name="behrendt-paper",
    title="as behrendt, in the order of the paper's text, all thresholds tried",
    unit="scan",
    region="grid",
    threshold_source="labelled-validation",
    publication="Behrendt et al. 2023, 2025, text",
    grid=_GRID,
    steps=(
        "median of 5 x 5 x 5 voxels",
        "brain eroded by 3 pixels in each axial slice",
        "threshold",
        "26-connected components of fewer than 7 voxels (holes filled) removed",
    ),
    aggregation="mean over scans",
    threshold="highest pooled Dice of the validation scans over every value of their maps",
    empty=_EMPTY,
    notes=_NOTES,
    validation="lesion",
    judge=lambda study: judge(study, PAPER_STEPS),
)
