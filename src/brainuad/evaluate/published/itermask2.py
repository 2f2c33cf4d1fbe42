"""IterMask2 (Liang et al., MICCAI 2024): the slice with the largest tumour of every subject."""

import numpy as np

from brainuad.evaluate import steps
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import Marks, best_mean, marks, mean_row

THRESHOLDS = np.arange(100) / 10_000
FIRST, STOP = 70, 90
_GRID = "155 slices of 128 x 128 (BraTS, 1 mm)"


def judge(study: Study) -> Evaluation:
    """Mean of the slices' Dice at one threshold for all, and at the best one of each."""
    found: list[Marks] = []
    for case in study.test():
        part = steps.axial_range(case, FIRST, STOP, protocol=study.protocol.name, grid=_GRID)
        lesion = truth_of(case)[:, :, part]
        if not lesion.any():
            study.leave_out(case, f"no lesion in slices {FIRST} to {STOP - 1}")
            continue
        chosen = steps.largest_lesion_slice(lesion)
        brain = case.region[:, :, part][:, :, chosen]
        scores = np.where(brain, steps.min_max(case.anomaly[:, :, part][:, :, chosen]), 0)
        one = marks(case.subject, scores, lesion[:, :, chosen], THRESHOLDS)
        study.note(case, slice=part.start + chosen, dice_oracle=float(one.dice.max()))
        found.append(one)
    study.need(found)
    found.sort(key=lambda one: one.subject)
    subjects, curves = [one.subject for one in found], [one.dice for one in found]
    best = best_mean(subjects, curves, "dice_oracle_slices", study.writer)
    own = [float(curve.max()) for curve in curves]
    return study.evaluation([
        study.writer.row("dice_oracle_slices", best.interval, best.n, "oracle"),
        *mean_row("dice_oracle_subject", subjects, own, study.writer, "oracle"),
    ])  # fmt: skip


PROTOCOL = Protocol(
    name="itermask2",
    title="Dice of each subject's slice with the largest lesion, best of 100 thresholds",
    unit="slice",
    region="brain",
    threshold_source="oracle",
    publication="IterMask2 (Liang et al. 2024)",
    grid=_GRID + ", slices 70 to 89",
    steps=(
        "slice with most lesion voxels among 70 to 89",
        "map scaled to 0 to 1 by its own minimum and maximum",
        "0 outside the brain",
    ),
    aggregation="mean over subjects, one slice each",
    threshold="best of k / 10,000 for k = 0 to 99; dice_oracle_subject: best for each slice",
    empty="left out",
    notes=(
        "give the squared error; the scaling is done here, slice by slice",
        "one chosen slice a subject raises Dice by tens of points against whole scans",
    ),
    judge=judge,
)
