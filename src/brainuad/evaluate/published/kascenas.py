"""DAE (Kascenas et al., MIDL 2022): all slices of the test subjects pooled."""

import numpy as np

from brainuad.evaluate import steps, voxel
from brainuad.evaluate.case import Case, Row
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.shelf import Shelf
from brainuad.evaluate.thresholds import best_pooled, by_subject, marks, ranking_rows
from brainuad.postprocess import drop_small, median

THRESHOLDS = np.arange(1000) / 1000
MEDIAN, LARGEST_DROPPED = 5, 20


def judge(study: Study) -> Evaluation:
    """Best pooled Dice, the same without small components, and pooled average precision."""
    with Shelf() as shelf:
        parts, counts = [], []
        for case in study.test():
            scores, lesion = filtered(case)
            parts.append(marks(case.subject, scores, lesion, THRESHOLDS))
            counts.append(voxel.binned_counts(scores, lesion))
            shelf.put(case.subject, scores, lesion)
            study.note(case)
        subjects, writer = [part.subject for part in parts], study.writer
        name = "dice_oracle_pooled"
        best = best_pooled(parts, name, writer)
        rows = [
            *ranking_rows(subjects, counts, writer),
            writer.row(name, best.interval, best.n, "oracle"),
            *without_small(shelf, float(THRESHOLDS[best.at]), study),
        ]
    return study.evaluation(rows)


def filtered(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Map and lesion of the slices with brain: zero near the brain's edge, then the median."""
    used = steps.content(case.region)
    inner = np.where(steps.inner_foreground(case.region), case.anomaly, 0)[:, :, used]
    return median(inner.astype(np.float32), MEDIAN, axial_only=True), truth_of(case)[:, :, used]


def without_small(shelf: Shelf, threshold: float, study: Study, suffix: str = "") -> list[Row]:
    """Pooled Dice at a threshold after components of up to 20 voxels have left the masks."""
    subjects, parts, wholes = [], [], []
    for subject, scores, lesion in shelf:
        mask = drop_small(scores > np.float64(threshold), LARGEST_DROPPED, fill_holes=True)
        subjects.append(subject)
        parts.append(2 * np.count_nonzero(mask & lesion))
        wholes.append(np.count_nonzero(mask) + np.count_nonzero(lesion))
    metric = f"dice_oracle_pooled_components{suffix}"
    found, every = by_subject(subjects, parts, wholes)
    return study.writer.share(metric, found, every, "oracle")


PROTOCOL = Protocol(
    name="kascenas",
    title="Dice of all pixels pooled, best of 1000 thresholds on the test labels (DAE)",
    unit="pooled",
    region="brain",
    threshold_source="oracle",
    publication="DAE (Kascenas et al. 2022)",
    grid="axial slices of 128 x 128",
    steps=(
        "slices from the first to the last with brain",
        "0 where at most 95 % of the 5 x 5 neighbours are brain",
        "median of 5 x 5 pixels in each slice",
        "threshold",
        "optional (dice_oracle_pooled_components): 26-connected 3-D components of at most 20 "
        "voxels (holes filled) removed",
    ),
    aggregation="all pixels of all slices pooled",
    threshold="best of 0, 0.001, ... 0.999, before components are removed",
    empty="pooled",
    notes=("give the plain absolute residual; of several modalities, its mean",),
    judge=judge,
)
