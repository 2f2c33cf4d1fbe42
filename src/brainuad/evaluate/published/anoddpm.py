"""AnoDDPM (Wyatt et al., CVPRW 2022): squared error above 0.5, slice by slice."""

import numpy as np

from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import mean_row
from brainuad.evaluate.voxel import overlap

THRESHOLD = 0.5


def judge(study: Study) -> Evaluation:
    """Mean Dice of the slices with a lesion at the fixed threshold."""
    found: list[tuple[str, float]] = []
    for case in study.test():
        lesion = np.moveaxis(truth_of(case), 2, 0)
        maps = np.moveaxis(case.anomaly, 2, 0)
        dice = [
            overlap(one > THRESHOLD, true).dice
            for one, true in zip(maps, lesion, strict=True)
            if true.any()
        ]
        if not dice:
            study.leave_out(case, "no lesion")
            continue
        study.note(case, slices=len(dice), dice=float(np.mean(dice)))
        found += [(case.subject, value) for value in dice]
    found.sort()
    subjects, values = [s for s, _ in found], [v for _, v in found]
    return study.evaluation(
        mean_row(f"dice_at_{THRESHOLD:g}", subjects, values, study.writer, "fixed")
    )


PROTOCOL = Protocol(
    name="anoddpm",
    title="Dice per axial slice with a lesion, squared error above 0.5",
    unit="slice",
    region="grid",
    threshold_source="fixed",
    publication="AnoDDPM (Wyatt et al. 2022)",
    grid="axial slices of 256 x 256",
    aggregation="mean over the slices with a lesion",
    threshold="0.5",
    empty="slices without lesion are left out",
    notes=("give the squared error of images scaled to -1 to 1; 0.5 means nothing elsewhere",),
    judge=judge,
)
