"""MedIAnomaly (Cai et al. 2025): pixels pooled over slices, and slices as healthy or not."""

import numpy as np

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Row
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.statistics import counts_interval
from brainuad.evaluate.summary import Writer
from brainuad.evaluate.thresholds import by_subject, ranking_rows


def judge(study: Study) -> Evaluation:
    """Average precision and best Dice of pixels, and how well slices are told apart."""
    subjects, counts, scores, ill = [], [], [], []
    for case in study.test():
        used = np.flatnonzero(case.region.any((0, 1)))
        maps, lesion = case.anomaly[:, :, used], truth_of(case)[:, :, used]
        subjects.append(case.subject)
        counts.append(voxel.binned_counts(maps, lesion))
        scores.append(maps.mean((0, 1), dtype=np.float64))
        ill.append(lesion.any((0, 1)))
        study.note(case, slices=len(used), lesion_slices=int(ill[-1].sum()))
    study.need([one for one in counts if one.lesion.any()])
    name, writer = "dice_oracle_pooled", study.writer
    _, lesion, other = voxel.stack(counts)
    tables = by_subject(subjects, lesion, other)
    best = counts_interval(voxel.max_dice_of_counts, *tables, words=(name,), **writer.options)
    return study.evaluation([
        *ranking_rows(subjects, counts, writer),
        writer.row(name, best, len(tables[0]), "oracle"),
        *_slice_rows(subjects, scores, ill, writer),
    ])  # fmt: skip


def _slice_rows(
    subjects: list[str], scores: list[np.ndarray], ill: list[np.ndarray], writer: Writer
) -> list[Row]:
    """AUROC and AUPRC of slices; none where all slices are of one kind."""
    sick = np.concatenate(ill)
    if sick.all() or not sick.any():
        return []
    parts = [voxel.exact_counts(s, i) for s, i in zip(scores, ill, strict=True)]
    _, lesion, other = voxel.stack(parts)
    tables = by_subject(subjects, lesion, other)
    metrics = {"slice_auroc": voxel.auroc_of_counts, "slice_auprc": voxel.ap_of_counts}
    return [
        writer.row(
            name, counts_interval(metric, *tables, words=(name,), **writer.options), len(tables[0])
        )
        for name, metric in metrics.items()
    ]


PROTOCOL = Protocol(
    name="medianomaly",
    title="pixels pooled over slices, best Dice on the test labels; slices healthy or not",
    unit="pooled",
    region="grid",
    threshold_source="oracle",
    publication="MedIAnomaly (Cai et al. 2025)",
    grid="axial slices",
    steps=("slices that hold brain",),
    aggregation="pixels pooled; a slice's score is the mean of its map",
    threshold="best of all, to 0.1 % of its value",
    empty="pooled; slices without lesion are the healthy ones",
    notes=("slices of healthy scans, where given, count as healthy slices",),
    kinds=("lesion", "clean"),
    judge=judge,
)
