"""FLAIR thresholding (Meissen, Kaissis, Rueckert 2021): pooled, all or four central slices."""

import numpy as np

from brainuad.evaluate import steps, voxel
from brainuad.evaluate.case import Row
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.published.kascenas import without_small
from brainuad.evaluate.shelf import Shelf
from brainuad.evaluate.thresholds import best_pooled, marks, ranking_rows

RANGES = {"": (15, 125), "[slices=84-87]": (84, 88)}
"""Slices of the two published experiments, by what is added to the names of their rows."""
LEVELS = 100
_GRID = "155 slices of 128 x 128 (SRI24, 1 mm)"


def judge(study: Study) -> Evaluation:
    """Pooled numbers of both experiments; single slices are judged once."""
    with Shelf() as volumes, Shelf() as central:
        for case in study.test():
            lesion = truth_of(case)
            for shelf, (first, stop) in zip((volumes, central), RANGES.values(), strict=True):
                part = steps.axial_range(
                    case, first, stop, protocol=study.protocol.name, grid=_GRID
                )
                if case.anomaly.shape[2] > 1 or shelf is volumes:
                    shelf.put(case.subject, case.anomaly[:, :, part], lesion[:, :, part])
            study.note(case)
        rows = []
        for shelf, suffix in zip((volumes, central), RANGES, strict=True):
            rows += _pooled(shelf, suffix, study)
    return study.evaluation(rows)


def _pooled(shelf: Shelf, suffix: str, study: Study) -> list[Row]:
    limits = [(scores.min(), scores.max(), lesion.any()) for _, scores, lesion in shelf]
    if not any(found for *_, found in limits):
        return []
    low, high = min(line[0] for line in limits), max(line[1] for line in limits)
    grid = np.linspace(float(low), float(high), LEVELS)
    parts = [marks(*item, grid) for item in shelf]
    counts = [voxel.binned_counts(scores, lesion) for _, scores, lesion in shelf]
    name = f"dice_oracle_pooled{suffix}"
    best = best_pooled(parts, name, study.writer)
    ranking = ranking_rows([part.subject for part in parts], counts, study.writer, suffix)
    return [
        *ranking,
        study.writer.row(name, best.interval, best.n, "oracle"),
        *without_small(shelf, float(grid[best.at]), study, suffix),
    ]


PROTOCOL = Protocol(
    name="meissen",
    title="Dice of all pixels pooled, best of 100 thresholds, small components removed",
    unit="pooled",
    region="grid",
    threshold_source="oracle",
    publication="Meissen, Kaissis, Rueckert 2021",
    grid=_GRID + ", slices 15 to 124 or 84 to 87",
    steps=(
        "slices 15 to 124, and again 84 to 87",
        "threshold",
        "26-connected 3-D components of at most 20 voxels (holes filled) removed",
    ),
    aggregation="all pixels of all slices pooled",
    threshold="best of 100 from the lowest to the highest score, before components are removed",
    empty="pooled",
    notes=(
        "the published number is dice_oracle_pooled_components; dice_oracle_pooled is before",
        "four central slices raise Dice by tens of points against whole scans",
        "on FLAIR, state the row of plain thresholding beside any other",
    ),
    judge=judge,
)
