"""THOR (Bercea et al., MICCAI 2024) on ATLAS: one slice a subject, by the size of its lesion."""

import numpy as np

from brainuad.evaluate import steps
from brainuad.evaluate.case import Case, Row
from brainuad.evaluate.protocol import Evaluation, Protocol, Study, truth_of
from brainuad.evaluate.statistics import bootstrap
from brainuad.evaluate.summary import Writer
from brainuad.evaluate.thresholds import Marks, best_pooled, by_subject, dice, marks
from brainuad.types import DataError

THRESHOLDS = np.linspace(0, 1, 101)
SLICE = 95
STRATA = {"small": (3, 71), "medium": (71, 570), "large": (570, np.inf)}
"""Lesion pixels of the slice: more than the first, at most the second number."""
_GRID = "MNI152 at 1 mm, slices of 128 x 128"


def judge(study: Study) -> Evaluation:
    """Pooled Dice within each stratum at its own best threshold, and over all strata."""
    strata: dict[str, list[Marks]] = {name: [] for name in STRATA}
    for case in study.test():
        one = _marks(case, study)
        size = stratum(one.true)
        if size is None:
            study.leave_out(case, f"{one.true} lesion pixels in the slice, fewer than 4")
            continue
        study.note(case, size=size, lesion_pixels=one.true)
        strata[size].append(one)
    found = {name: parts for name, parts in strata.items() if parts}
    study.need(list(found))
    return study.evaluation(_rows(found, study.writer))


def stratum(pixels: int) -> str | None:
    """Name of the stratum of a lesion of so many pixels; None when it is too small for any."""
    return next((name for name, (low, high) in STRATA.items() if low < pixels <= high), None)


def _marks(case: Case, study: Study) -> Marks:
    highest = float(case.anomaly.max())
    if highest > 1 + 1e-6:
        raise DataError(
            f"{case.subject}: map reaches {highest:.3g}, but {study.protocol.name} has thresholds "
            "from 0 to 1; scale the map"
        )
    name = study.protocol.name
    part = steps.axial_range(case, SLICE, SLICE + 1, protocol=name, grid=_GRID)
    return marks(case.subject, case.anomaly[:, :, part], truth_of(case)[:, :, part], THRESHOLDS)


def _rows(strata: dict[str, list[Marks]], writer: Writer) -> list[Row]:
    name = "dice_oracle_pooled"
    rows = []
    everybody = [part for parts in strata.values() for part in parts]
    for size, parts in (("", everybody), *strata.items()):
        metric = f"{name}[lesion={size}]" if size else name
        best = best_pooled(parts, metric, writer)
        rows.append(writer.row(metric, best.interval, best.n, "oracle"))
    return [*rows, _weighted(strata, writer)]


def _weighted(strata: dict[str, list[Marks]], writer: Writer) -> Row:
    """Mean of the strata's Dice, each weighted by its share of the drawn subjects."""
    tables = [(size, part) for size, parts in strata.items() for part in parts]
    names = [part.subject for _, part in tables]
    inside = [[float(size == each) for each in strata] for size, _ in tables]
    hits, marked, true, members = by_subject(
        names, [p.hits for _, p in tables], [p.marked for _, p in tables],
        [p.true for _, p in tables], inside,
    )  # fmt: skip

    def mean(draws: np.ndarray) -> np.ndarray:
        total = np.zeros(len(draws))
        for number in range(members.shape[1]):
            drawn = draws * members[:, number]
            curve = dice(drawn @ hits, drawn @ marked, (drawn @ true)[:, None])
            best = np.nan_to_num(np.fmax.reduce(curve, axis=1))
            total += best * drawn.sum(1)
        return total / (draws @ members).sum(1)

    metric = "dice_oracle_strata_mean"
    found = bootstrap(mean, len(true), words=(metric,), **writer.options)
    return writer.row(metric, found, len(true), "oracle")


PROTOCOL = Protocol(
    name="thor-atlas",
    title="pooled Dice of one slice a subject by lesion size, best of 101 thresholds",
    unit="pooled",
    region="grid",
    threshold_source="oracle",
    publication="THOR (Bercea et al. 2024)",
    grid=_GRID + ", number 95",
    steps=("axial slice 95",),
    aggregation="pixels pooled within strata of 4 to 71, 72 to 570 and more lesion pixels",
    threshold="best of 101 from 0 to 1, for each stratum and for all",
    empty="left out, as are lesions of up to 3 pixels",
    notes=(
        "the strata are counted in pixels of 128 x 128: on another grid they hold other lesions",
        "dice_oracle_strata_mean weighs the strata by their subjects, as the published average "
        "seems to; dice_oracle_pooled pools all pixels: they are not comparable",
    ),
    judge=judge,
)
