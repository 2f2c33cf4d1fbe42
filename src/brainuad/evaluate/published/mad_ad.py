"""MAD-AD's numbers on the axial slices of the lesion cases (Beizaee et al., MICCAI 2025)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.evaluate import slices, voxel
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocol import Evaluation, Protocol, Study
from brainuad.evaluate.statistics import Interval, bootstrap, counts_interval
from brainuad.evaluate.voxel import Counts
from brainuad.types import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sliced:
    subject: str
    counts: Counts
    all_slices: slices.SliceDice
    lesion_slices: slices.SliceDice


def judge(study: Study) -> Evaluation:
    """Dice per slice, or of all pixels pooled, at the best threshold for the test labels."""
    per_slice = study.protocol.unit == "slice"
    cases = []
    for case in study.test():
        cases.append(_sliced(case, per_slice=per_slice))
        study.note(case)
    cases.sort(key=lambda case: case.subject)
    n, writer = len(cases), study.writer
    _, lesion, other = voxel.stack([case.counts for case in cases])
    tables, options = (lesion, other), writer.options
    rows = [writer.row("auprc_pooled", counts_interval(
        voxel.ap_of_counts, *tables, words=("auprc_pooled",), **options), n)]  # fmt: skip
    if per_slice:
        for name, parts in (
            ("dice_oracle_slices", [case.all_slices for case in cases]),
            ("dice_oracle_lesion_slices", [case.lesion_slices for case in cases]),
        ):
            rows.append(writer.row(name, _best_mean(parts, name, options), n, "oracle"))
    else:
        found = counts_interval(voxel.max_dice_of_counts, *tables, words=("global",), **options)
        rows.append(writer.row("dice_oracle_pooled", found, n, "oracle"))
    return study.evaluation(rows, counts=voxel.pool([case.counts for case in cases]))


def _best_mean(parts: list[slices.SliceDice], name: str, options: dict[str, Any]) -> Interval:
    """Best mean Dice over the slices of the drawn subjects; the threshold is chosen each time."""
    totals = np.stack([part.total for part in parts])
    numbers = np.array([part.slices for part in parts])

    def best(draws: np.ndarray) -> np.ndarray:
        return ((draws @ totals) / (draws @ numbers)[:, None]).max(1)

    return bootstrap(best, len(parts), words=(name,), **options)


def _sliced(case: Case, *, per_slice: bool) -> _Sliced:
    """Counts over the whole grid, and slice Dice over the axial slices that hold brain."""
    assert case.lesion is not None
    highest = float(case.anomaly.max())
    if per_slice and highest > 1 + 1e-6:
        raise DataError(
            f"{case.subject}: map reaches {highest:.3g}, but mad-ad-max has thresholds from 0 to "
            "1; scale the map, or use mad-ad-global"
        )
    maps, lesion = np.moveaxis(case.anomaly, 2, 0), np.moveaxis(case.lesion, 2, 0)
    brain = case.region.any((0, 1))
    with_lesion = lesion.any((1, 2))
    return _Sliced(
        subject=case.subject,
        counts=voxel.binned_counts(case.anomaly, case.lesion),
        all_slices=slices.slice_dice(maps[brain], lesion[brain]),
        lesion_slices=slices.slice_dice(maps[with_lesion], lesion[with_lesion]),
    )


_GRID = "axial slices of 256 x 256 (MNI152, 1 mm)"
_PUBLICATION = "MAD-AD (Beizaee et al. 2025)"
MAX = Protocol(
    name="mad-ad-max",
    title="Dice per axial slice, best of 201 thresholds on the test labels",
    unit="slice",
    region="grid",
    threshold_source="oracle",
    publication=_PUBLICATION,
    grid=_GRID,
    aggregation="mean over slices that hold brain",
    threshold="best of 201 from 0 to 1",
    empty="a slice without lesion counts 1 when nothing is marked, else 0",
    cut=True,
    judge=judge,
)
GLOBAL = Protocol(
    name="mad-ad-global",
    title="best Dice of all pixels pooled, chosen on the test labels",
    unit="pooled",
    region="grid",
    threshold_source="oracle",
    publication=_PUBLICATION,
    grid=_GRID,
    aggregation="all pixels of all slices pooled",
    threshold="best of all",
    empty="pooled",
    cut=True,
    judge=judge,
)
