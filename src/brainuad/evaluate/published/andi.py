"""ANDi (Frotscher et al. 2023): mean per scan over a grid, and Yen's automatic threshold."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_yen

from brainuad.evaluate import voxel
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import best_mean, marks, mean_row, ranking_rows
from brainuad.evaluate.voxel import exact_counts, overlap
from brainuad.postprocess import median
from brainuad.types import Mask

THRESHOLDS = np.arange(10, 301) / 1000
MEDIAN = 5


def judge(study: Study) -> Evaluation:
    """Mean Dice at the best threshold of the grid and at every scan's automatic one."""
    found, ranks, automatic = [], [], []
    for case in study.test():
        lesion = truth_of(case)
        if not lesion.any():
            study.leave_out(case, "no lesion")
            continue
        anomaly = median(case.anomaly.astype(np.float32), MEDIAN)
        found.append(marks(case.subject, anomaly, lesion, THRESHOLDS))
        ranks.append(voxel.binned_counts(anomaly, lesion))
        automatic.append(overlap(yen_mask(anomaly), lesion).dice)
        exact = exact_counts(anomaly, lesion)
        auprc = float(voxel.ap_of_counts(exact.lesion, exact.other))
        study.note(case, auprc=auprc, dice_yen=automatic[-1])
    subjects, writer = [one.subject for one in found], study.writer
    best = best_mean(subjects, [one.dice for one in found], "dice_oracle_scans", writer)
    return study.evaluation([
        *ranking_rows(subjects, ranks, writer),
        writer.row("dice_oracle_scans", best.interval, best.n, "oracle"),
        *mean_row("dice_yen", subjects, automatic, writer, "automatic"),
    ])  # fmt: skip


def yen_mask(anomaly: np.ndarray) -> Mask:
    """Voxels above Yen's threshold (Yen, Chang, Chang 1995), grown by their 6 face neighbours.

    A constant map has no threshold and marks nothing.
    """
    if anomaly.min() == anomaly.max():
        return np.zeros(anomaly.shape, bool)
    with np.errstate(divide="ignore"):  # shares that single precision rounds to 1 are no candidates
        threshold = float(threshold_yen(anomaly))
    return ndimage.binary_dilation(anomaly > threshold)


PROTOCOL = Protocol(
    name="andi",
    title="mean Dice of scans, best of 291 thresholds, and Yen's automatic threshold",
    unit="scan",
    region="grid",
    threshold_source="oracle",
    publication="ANDi (Frotscher et al. 2023)",
    grid="volumes of 128 x 128 slices",
    steps=("3-D median of 5 voxels", "threshold", "for Yen's threshold: 3-D dilation"),
    aggregation="Dice: mean over scans; AUPRC: voxels pooled",
    threshold="dice_oracle_scans: best of 0.01, 0.011, ... 0.3; dice_yen: Yen, for each scan",
    empty="left out",
    notes=(
        "the grid of thresholds has a fixed scale: another map than ANDi's may not reach it",
        "Yen's threshold is of 256 bins over the whole grid, the dilation of the 6 face "
        "neighbours, once: choices of ours",
    ),
    judge=judge,
)
