"""From measured cases to rows: means, pooled values and their intervals over subjects."""

from collections.abc import Sequence

import numpy as np

from brainuad.evaluate import statistics, voxel
from brainuad.evaluate.case import Row
from brainuad.evaluate.froc import mean_froc
from brainuad.evaluate.lesion import SIZES_ML
from brainuad.evaluate.measure import Measured, main_rate
from brainuad.evaluate.scan import sensitivity_of_counts
from brainuad.evaluate.strata import strata_rows
from brainuad.evaluate.voxel import Counts
from brainuad.evaluate.writer import Writer


def summarise(cases: Sequence[Measured], total: Counts | None, writer: Writer) -> list[Row]:
    """All rows of a scan-wise protocol; the order of the cases does not matter.

    Args:
        cases: what was kept of each.
        total: fine counts of all lesion cases together; None without one.
        writer: makes the rows.
    """
    cases = sorted(cases, key=lambda case: (case.subject, case.kind))
    lesion = [case for case in cases if case.kind == "lesion"]
    clean = [case for case in cases if case.kind == "clean"]
    sham = [case for case in cases if case.kind == "sham"]
    rates = sorted(cases[0].at) if cases else []
    return [
        *_ranking(lesion, total, writer),
        *(row for rate in rates for row in _overlap(lesion, rate, writer)),
        *(row for rate in rates for row in _lesions(lesion, rate, writer, main_rate(rates))),
        *_panoptic(lesion, writer, rates),
        *_outlines(lesion, writer, rates),
        *_froc(lesion, writer, rates),
        *(row for rate in rates for row in _healthy(clean, rate, writer, main_rate(rates))),
        *_restoration(clean, writer),
        *strata_rows(lesion, clean, writer),
        *writer.mean("auprc_sham", [case.auprc for case in sham]),
        *_prevalence("prevalence_sham", sham, writer),
        *_scans(lesion, clean, writer),
    ]


def _ranking(lesion: Sequence[Measured], total: Counts | None, writer: Writer) -> list[Row]:
    if total is None:
        return []
    return [
        *writer.mean("auprc_subject", [case.auprc for case in lesion]),
        *writer.pooled("auprc_pooled", voxel.ap_of_counts, lesion, total),
        *_prevalence("prevalence", lesion, writer),
        *writer.pooled("dice_oracle_pooled", voxel.max_dice_of_counts, lesion, total, "oracle"),
        *writer.mean("dice_oracle_subject", [case.oracle for case in lesion], "oracle"),
    ]


def _prevalence(metric: str, cases: Sequence[Measured], writer: Writer) -> list[Row]:
    """Share of lesion voxels: the AUPRC of a map that knows nothing."""
    return writer.share(
        metric, [case.lesion_voxels for case in cases], [case.voxels for case in cases]
    )


def _overlap(lesion: Sequence[Measured], rate: float, writer: Writer) -> list[Row]:
    found = [case.at[rate].overlap for case in lesion]
    true = [o.true_positive for o in found]
    marked = [o.true_positive + o.false_positive for o in found]
    both = [2 * o.true_positive + o.false_positive + o.false_negative for o in found]
    source, name = "healthy-fpr", f"at_fpr_{rate:g}"
    return [
        *writer.mean(f"dice_{name}", [o.dice for o in found], source),
        *writer.share(f"dice_{name}_pooled", [2 * t for t in true], both, source),
        *writer.mean(f"recall_{name}", [o.recall for o in found], source),
        *writer.share(f"precision_{name}_pooled", true, marked, source),
    ]


def _lesions(lesion: Sequence[Measured], rate: float, writer: Writer, main: float) -> list[Row]:
    """Lesion-wise rows; F1 = 2 TP / (2 TP + FP + FN) over all subjects' lesions."""
    found = [case.at[rate].lesions for case in lesion]
    hits = [sum(f.hit) for f in found]
    true = [len(f.hit) for f in found]
    wholes = [h + t + f.false_components for h, t, f in zip(hits, true, found, strict=True)]
    pairs = [t + f.components for t, f in zip(true, found, strict=True)]
    source, tail = "healthy-fpr", "" if rate == main else f"[fpr={rate:g}]"
    rows = [
        *writer.share(f"lesion_sensitivity{tail}", hits, true, source),
        *writer.share(f"lesion_f1{tail}", [2 * h for h in hits], wholes, source),
        *writer.share(f"lesion_f1_iou0.1{tail}", [2 * f.matched for f in found], pairs, source),
        *writer.mean(f"lesion_fp_components{tail}", [f.false_components for f in found], source),
    ]
    for size, (lower, upper) in SIZES_ML.items() if rate == main else ():
        kept = [k for k in (f.of_size(lower, upper) for f in found) if k.hit]
        rows += writer.share(
            f"lesion_sensitivity[volume={size}]",
            [sum(k.hit) for k in kept],
            [len(k.hit) for k in kept],
            source,
        )
    return rows


def _froc(lesion: Sequence[Measured], writer: Writer, rates: Sequence[float]) -> list[Row]:
    """Mean sensitivity at 1/8 ... 8 false positives per lesion scan; cuts read off the test."""
    if not lesion or not rates:
        return []
    statistic = mean_froc([case.candidates for case in lesion])
    found = statistics.bootstrap(statistic, len(lesion), words=("froc",), **writer.options)
    return [writer.row("froc_mean_sensitivity", found, len(lesion), "oracle")]


def _healthy(clean: Sequence[Measured], rate: float, writer: Writer, main: float) -> list[Row]:
    found = [case.at[rate] for case in clean]
    source, tail = "healthy-fpr", "" if rate == main else f"[fpr={rate:g}]"
    return [
        *writer.mean(f"healthy_fp_ml{tail}", [f.marked_ml for f in found], source),
        *writer.mean(f"healthy_fpr{tail}", [f.overlap.false_positive_rate for f in found], source),
        *writer.mean(f"healthy_fp_components{tail}", [f.lesions.components for f in found], source),
    ]


def _panoptic(lesion: Sequence[Measured], writer: Writer, rates: Sequence[float]) -> list[Row]:
    """PQ, SQ and RQ of all subjects' lesions together; SQ only where a pair exceeds IoU 0.5."""
    if not rates:
        return []
    found = [case.at[main_rate(rates)].lesions for case in lesion]
    either = [len(f.hit) + f.components for f in found]
    twice = [2 * f.close_iou for f in found]
    close, source = [f.close for f in found], "healthy-fpr"
    return [
        *writer.share("lesion_pq", twice, either, source),
        *writer.share("lesion_sq", [f.close_iou for f in found], close, source),
        *writer.share("lesion_rq", [2 * c for c in close], either, source),
    ]


def _outlines(lesion: Sequence[Measured], writer: Writer, rates: Sequence[float]) -> list[Row]:
    """Surface Dice of all; HD95 of the scans with a matched lesion, and how many have none."""
    if not rates:
        return []
    found = [s for s in (case.at[main_rate(rates)].surface for case in lesion) if s is not None]
    known, source = [s.mean_hd95 for s in found if s.hd95], "healthy-fpr"
    lost = [not s.hd95 for s in found]
    return [
        *writer.mean("surface_dice_2mm", [s.dice for s in found], source),
        *writer.mean("hd95_mm", known, source),
        *writer.total("hd95_n_undefined", [int(one) for one in lost], source),
        *writer.total("hd95_lesions_undefined", [s.unmatched for s in found], source),
    ]


def _restoration(clean: Sequence[Measured], writer: Writer) -> list[Row]:
    """How far the healthy counterparts of healthy scans are from those scans."""
    found = [case.restoration for case in clean if case.restoration is not None]
    names = found[0]._fields if found else ()
    return [
        row
        for name in names
        for row in writer.mean(f"restoration_{name}", [getattr(f, name) for f in found])
    ]


def _scans(lesion: Sequence[Measured], clean: Sequence[Measured], writer: Writer) -> list[Row]:
    """Scan-wise rows; a subject with a lesion scan and a clean one is drawn as a whole."""
    if not lesion or not clean:
        return []
    subjects = sorted({case.subject for case in [*lesion, *clean]})
    scores = np.unique([case.score for case in [*lesion, *clean]])
    tables = [_score_table(kind, subjects, scores) for kind in (lesion, clean)]
    metrics = {
        "scan_auroc": (voxel.auroc_of_counts, "none"),
        "scan_auprc": (voxel.ap_of_counts, "none"),
        "scan_sensitivity_at_specificity_0.95": (sensitivity_of_counts, "oracle"),
    }
    return [
        writer.row(
            name,
            statistics.counts_interval(metric, *tables, words=(name,), **writer.options),
            len(subjects),
            source,
        )
        for name, (metric, source) in metrics.items()
    ]


def _score_table(
    cases: Sequence[Measured], subjects: Sequence[str], scores: np.ndarray
) -> np.ndarray:
    """How many of these cases each subject (row) has at each score (column)."""
    table = np.zeros((len(subjects), len(scores)))
    rows = np.searchsorted(subjects, [case.subject for case in cases])
    columns = np.searchsorted(scores, [case.score for case in cases])
    np.add.at(table, (rows, columns), 1)
    return table
