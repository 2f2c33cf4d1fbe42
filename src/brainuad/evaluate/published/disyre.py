"""DISYRE after the UPD study (Lagogiannis et al., TMI 2023): pooled over sampled voxels."""

import numpy as np

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.thresholds import best_pooled, marks, ranking_rows
from brainuad.rng import seed_of

SAMPLED, LEVELS = 10_000, 200


def judge(study: Study) -> Evaluation:
    """Best pooled Dice and average precision of the sampled voxels."""
    drawn: list[tuple[str, np.ndarray, np.ndarray]] = []
    for case in study.test():
        drawn.append((case.subject, *sampled(case, study.writer.seed)))
        study.note(case, sampled_lesion_voxels=int(drawn[-1][2].sum()))
    study.need([one for one in drawn if one[2].any()])
    drawn.sort(key=lambda one: one[0])
    low, high = min(one[1].min() for one in drawn), max(one[1].max() for one in drawn)
    grid = np.linspace(float(low), float(high), LEVELS)
    counts = [voxel.binned_counts(scores, lesion) for _, scores, lesion in drawn]
    name, writer = "dice_oracle_pooled", study.writer
    best = best_pooled([marks(*one, grid) for one in drawn], name, writer)
    return study.evaluation([
        *ranking_rows([one[0] for one in drawn], counts, writer),
        writer.row(name, best.interval, best.n, "oracle"),
    ])  # fmt: skip


def sampled(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and label of 10,000 voxels of the grid, without repetition; all when there are fewer.

    The draw depends on the seed, the subject and the kind alone, not on the order of the cases.
    """
    scores, lesion = case.anomaly.ravel(), truth_of(case).ravel()
    if scores.size <= SAMPLED:
        return scores.copy(), lesion.copy()
    words = ("disyre-upd", case.subject, case.kind)
    rng = np.random.Generator(np.random.PCG64(seed_of(seed, *words)))
    chosen = rng.choice(scores.size, SAMPLED, replace=False, shuffle=False)
    return scores[chosen], lesion[chosen]


PROTOCOL = Protocol(
    name="disyre-upd",
    title="Dice of 10,000 random voxels a scan pooled, best of 200 thresholds",
    unit="pooled",
    region="grid",
    threshold_source="oracle",
    publication="DISYRE (Naval Marimont et al. 2024) after Lagogiannis et al. 2023",
    grid="volumes, slices of 128 x 128 or more",
    steps=("10,000 random voxels of each scan",),
    aggregation="sampled voxels pooled",
    threshold="best of 200 from the lowest to the highest sampled score",
    empty="pooled",
    notes=(
        "the publication draws from each batch of slices; a batch is a scan here",
        "small lesions are hardly drawn: look at several seeds",
    ),
    judge=judge,
)
