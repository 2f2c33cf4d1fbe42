"""UAD-IMAG benchmark (Frotscher, Baumgartner, Wolfers 2025): mean per subject, two thresholds.

The publication's code takes the estimated threshold from unfiltered maps and applies it to
filtered ones; here it comes from exactly the maps that are thresholded.
"""

import numpy as np

from brainuad.evaluate import steps, voxel
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import best_mean, mean_row, ranking_rows
from brainuad.evaluate.voxel import Counts, exact_counts, overlap
from brainuad.histogram import Histogram
from brainuad.postprocess import median

MEDIAN = 4
RATE = 0.01
BITS = 8
"""Thresholds that are tried: numbers with so many bits of mantissa, 0.4 % apart."""


def judge(study: Study) -> Evaluation:
    """Mean Dice at the best threshold for the test and at 1 % of healthy brain voxels."""
    threshold = estimate(study)
    subjects, groups, ranks, dice = [], [], [], []
    for case in study.test():
        lesion = truth_of(case)
        if not lesion.any():
            study.leave_out(case, "no lesion")
            continue
        anomaly = smoothed(case.anomaly)
        subjects.append(case.subject)
        groups.append(voxel.binned_counts(anomaly, lesion, mantissa=BITS))
        ranks.append(voxel.binned_counts(steps.min_max(anomaly), lesion))
        dice.append(overlap(anomaly > threshold, lesion).dice)
        exact = exact_counts(anomaly, lesion)
        auprc = float(voxel.ap_of_counts(exact.lesion, exact.other))
        study.note(case, auprc=auprc, dice=dice[-1], threshold=threshold)
    best = best_mean(subjects, curves(groups), "dice_oracle_scans", study.writer)
    return study.evaluation([
        *ranking_rows(subjects, ranks, study.writer),
        study.writer.row("dice_oracle_scans", best.interval, best.n, "oracle"),
        *mean_row(f"dice_at_fpr_{RATE:g}", subjects, dice, study.writer, "healthy-fpr"),
    ])  # fmt: skip


def estimate(study: Study) -> float:
    """Threshold that 1 % of the brain voxels of the healthy validation scans exceed."""
    healthy = Histogram()
    for case in study.validation():
        healthy.add(smoothed(case.anomaly)[case.region])
    return healthy.threshold_at(RATE)[0]


def smoothed(anomaly: np.ndarray) -> np.ndarray:
    """Median of 4 x 4 x 4 voxels: of 64 the 33rd, from 2 before to 1 after the voxel."""
    return median(anomaly.astype(np.float32), MEDIAN)


def curves(parts: list[Counts]) -> list[np.ndarray]:
    """Dice of each scan at every score that occurs in any of them, strictly above."""
    _, lesion, other = voxel.stack(parts)
    found = voxel.dice_of_counts(lesion, other)
    return list(np.pad(found[:, 1:], ((0, 0), (0, 1))))  # above the highest score is nothing


PROTOCOL = Protocol(
    name="uad-imag",
    title="mean Dice of scans, best threshold and the one at 1 % of healthy voxels",
    unit="scan",
    region="grid",
    threshold_source="oracle",
    publication="UAD-IMAG (Frotscher et al. 2025)",
    grid="volumes of 1 mm",
    steps=("3-D median of 4 voxels", "threshold"),
    aggregation="Dice: mean over scans; AUPRC: voxels pooled, each map scaled to 0 to 1",
    threshold="dice_oracle_scans: best on the test; dice_at_fpr_0.01: 1 % of healthy brain voxels",
    empty="left out",
    notes=(
        "the thresholds that are tried are 0.4 % apart, a choice of ours",
        "a median of an even width takes the upper of the two middle values",
        "best thresholds differ by a factor of 40 in false positives between methods",
    ),
    validation="clean",
    judge=judge,
)
