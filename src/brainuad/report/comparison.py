"""The page that compares methods, from the evaluations of each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainuad.evaluate.case import Row
from brainuad.evaluate.froc import Candidates, froc_curve
from brainuad.evaluate.protocols import PROTOCOLS, Evaluation, precision_recall, roc
from brainuad.evaluate.voxel import Counts
from brainuad.report import charts
from brainuad.report.charts import Curve
from brainuad.report.pages import Board, Chart
from brainuad.report.tables import metric_name

MAIN = (
    "auprc_subject",
    "auprc_pooled",
    "dice_at_fpr_0.01",
    "dice_oracle_pooled",
    "lesion_sensitivity",
    "healthy_fp_ml",
)
"""Metrics of the first table; all others are in results.csv."""
SHOWN = 3
"""Numbers that are said of a protocol without any of these."""
STRATA = {"auprc_subject": "AUPRC", "healthy_fp_ml": "False positives in healthy scans, ml,"}
"""Metrics whose groups have tables of their own; those of other metrics are in results.csv."""
POINTS = 200
"""Most points of a curve."""
ROC_LIMITS = (1e-5, 1.0)
"""Shares of other voxels that are shown."""
FROC_LIMITS = (0.1, 50.0)
"""False components per scan that are shown."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A case that is worth looking at."""

    subject: str
    why: str
    """``best``, ``median`` or ``worst``."""
    auprc: float


def leaderboard(rows: Sequence[Row], references: Sequence[Row] = ()) -> list[Board]:
    """The tables of a comparison: the main metrics, then one table for each kind of stratum."""
    main = [row for name in MAIN for row in rows if row.metric == name]
    main += [row for row in rows if is_published(row) and row not in main and not stratum(row)]
    boards = [Board(title="Leaderboard", rows=main, references=references)]
    for stem, title in STRATA.items():
        split = [(stratum(row), row) for row in rows if row.metric.startswith(f"{stem}[")]
        boards += [
            Board(title=f"{title} by {kind}", rows=[row for key, row in split if key == kind])
            for kind in dict.fromkeys(key for key, _ in split)
            if kind != "fpr"
        ]
    sham = [row for row in rows if row.metric in ("auprc_sham", "prevalence_sham")]
    if sham:
        note = (
            "A sham holds the traces of a planted lesion but no lesion: a method that is not "
            "misled by the planting stays near the prevalence."
        )
        boards.append(Board(title="Shams", rows=sham, note=note))
    return boards


def headline(rows: Sequence[Row]) -> list[str]:
    """The numbers of one method that a person wants first, a line each."""
    main = [row for name in MAIN for row in rows if row.metric == name] or rows[:SHOWN]
    return [
        f"{metric_name(row.metric)}: {row.value:.3f}"
        + (f" [{row.low:.3f}, {row.high:.3f}]" if math.isfinite(row.low) else "")
        + (" (chosen on the test labels)" if row.threshold_source == "oracle" else "")
        for row in main
    ]


def is_published(row: Row) -> bool:
    """Whether a published protocol made the row: it has few rows, under names of its own."""
    known = PROTOCOLS.get(row.protocol)
    return known is not None and known.judge is not None


def stratum(row: Row) -> str:
    """What a number is split by: ``size`` for ``auprc_subject[size=S]``; empty for others."""
    return row.metric.partition("[")[2].partition("=")[0]


def result_charts(evaluations: Mapping[str, Evaluation]) -> list[Chart]:
    """Subjects one by one, and the curves of voxels and of lesions, for each method by name."""
    subjects = {
        name: [float(case["auprc"]) for case in found.cases if has_auprc(case)]
        for name, found in evaluations.items()
    }
    figure = charts.strip(subjects, y="AUPRC", limits=(0.0, 1.02))
    found = [Chart(title="Subjects one by one", figure=figure, caption="Bars: means.")]
    counts = {name: e.counts for name, e in evaluations.items() if e.counts is not None}
    if counts:
        curves = [curve(name, *precision_recall(c)) for name, c in counts.items()]
        first = next(iter(counts.values()))
        share = float(first.lesion.sum() / (first.lesion.sum() + first.other.sum()))
        figure = charts.precision_recall(curves, prevalence=share)
        caption = "Voxels of all subjects with a lesion together."
        found.append(Chart(title="Precision and recall, pooled", figure=figure, caption=caption))
        found.append(roc_chart(counts))
    lesions = {name: e.candidates for name, e in evaluations.items() if e.candidates is not None}
    return [*found, froc_chart(lesions)] if lesions else found


def roc_chart(counts: Mapping[str, Counts]) -> Chart:
    """Lesion voxels found against other voxels marked, of all subjects with a lesion together."""
    share = np.geomspace(*ROC_LIMITS, POINTS)
    curves = [thinned(name, *roc(c), at=share) for name, c in counts.items()]
    names = {"x": "other voxels marked", "y": "lesion voxels found"}
    figure = charts.rates(curves, **names, limits=ROC_LIMITS)
    caption = "Lesions are small, so what counts lies at few false voxels: the axis is logarithmic."
    return Chart(title="ROC, pooled", figure=figure, caption=caption)


def froc_chart(candidates: Mapping[str, Candidates]) -> Chart:
    """Lesions found against false components per scan (FROC)."""
    number = np.geomspace(*FROC_LIMITS, POINTS)
    curves = [thinned(name, *froc_curve(c), at=number) for name, c in candidates.items()]
    names = {"x": "false components per scan with a lesion", "y": "lesions found"}
    figure = charts.rates(curves, **names, limits=FROC_LIMITS)
    caption = (
        "Components of the mask at the most generous threshold, kept while their highest value "
        "exceeds a cut; a lesion is found where any voxel of it is."
    )
    return Chart(title="FROC", figure=figure, caption=caption)


def thinned(name: str, x: np.ndarray, y: np.ndarray, *, at: np.ndarray) -> Curve:
    """A rising step curve, read at few enough places for a page."""
    last = np.searchsorted(x, at, side="right") - 1
    known = last >= 0
    return Curve(name=name, x=at[known], y=y[last[known]].astype(float))


def curve(name: str, recall: np.ndarray, precision: np.ndarray) -> Curve:
    """A precision-recall curve with few enough points for a page."""
    places = np.linspace(0, 1, POINTS)
    kept = np.unique(np.searchsorted(recall, places, side="left").clip(max=len(recall) - 1))
    return Curve(name=name, x=recall[kept].astype(float), y=precision[kept].astype(float))


def has_auprc(case: Mapping[str, str | float | int]) -> bool:
    """Whether a case holds a lesion, so that its AUPRC is a number."""
    return case.get("kind") == "lesion" and not np.isnan(float(case.get("auprc", np.nan)))


def picks(cases: Iterable[Mapping[str, str | float | int]]) -> list[Pick]:
    """The best, the median and the worst case by AUPRC; fewer when there are fewer cases."""
    ranked = sorted((c for c in cases if has_auprc(c)), key=lambda c: -float(c["auprc"]))
    if not ranked:
        return []
    places = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    if len(ranked) < 3:
        places = dict(zip(range(len(ranked)), ("best", "worst"), strict=False))
    return [
        Pick(subject=str(ranked[n]["subject"]), why=why, auprc=float(ranked[n]["auprc"]))
        for n, why in places.items()
    ]
