"""Results as rows: one number with its interval each; read and written as ``results.csv``."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainuad.evaluate.case import COLUMNS, Row
from brainuad.manifest import write_text
from brainuad.types import DataError, MissingError

ORACLE = "oracle"
"""Threshold source of a number that used the labels of the test scans."""
NO_THRESHOLD = "none"
"""Threshold source of a number that needs no threshold."""


def write_results(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV with the columns of :class:`Row`, numbers to full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: _written(v) for k, v in row.record().items()})
    write_text(path, text.getvalue())


def _written(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def read_results(path: str | Path) -> list[Row]:
    """The rows of a ``results.csv``, in order."""
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: no such file; give a results.csv written by brainuad")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(
                f"{path}: has the columns {','.join(reader.fieldnames or ())}; "
                f"results have {','.join(COLUMNS)}"
            )
        return [_row(path, number, cells) for number, cells in enumerate(reader, start=2)]


def _row(path: Path, line: int, cells: dict[str, str]) -> Row:
    numbers = {}
    for name, kind in (
        ("seed", int),
        ("n", int),
        ("value", float),
        ("low", float),
        ("high", float),
    ):
        text = cells[name] or ("nan" if kind is float else "")
        try:
            numbers[name] = kind(text)
        except ValueError as error:
            raise DataError(
                f"{path}: line {line}, {name}: {text!r} is not a number; write it again"
            ) from error
    return Row(**{**cells, **numbers})


NAMES = {
    "auprc_subject": "AUPRC, mean over subjects",
    "auprc_pooled": "AUPRC, pooled",
    "auprc_sham": "AUPRC, sham",
    "prevalence": "prevalence",
    "prevalence_sham": "prevalence, sham",
    "dice_oracle_subject": "best Dice, each subject",
    "dice_oracle_pooled": "best Dice, pooled",
    "dice_oracle_pooled_components": "best Dice, pooled, small components removed",
    "dice_oracle_scans": "Dice, mean over scans, best threshold",
    "dice_oracle_slices": "Dice, mean over slices, best threshold",
    "dice_oracle_lesion_slices": "Dice, mean over slices with lesion, best threshold",
    "dice_oracle_strata_mean": "best Dice, mean of the strata",
    "dice_at_validation": "Dice at the threshold of the validation scans",
    "dice_yen": "Dice at Yen's threshold",
    "dice_at_0.5": "Dice above 0.5",
    "slice_auroc": "AUROC of slices",
    "slice_auprc": "AUPRC of slices",
    "lesion_sensitivity": "lesions found",
    "lesion_f1": "lesion F1",
    "lesion_f1_iou0.1": "lesion F1, IoU at least 0.1",
    "lesion_fp_components": "false components a scan",
    "lesion_pq": "panoptic quality",
    "lesion_sq": "panoptic quality, IoU of the pairs",
    "lesion_rq": "panoptic quality, F1 of the pairs",
    "surface_dice_2mm": "surface Dice at 2 mm",
    "hd95_mm": "HD95 of matched lesions, mm",
    "hd95_n_undefined": "scans without HD95",
    "hd95_lesions_undefined": "lesions without HD95",
    "froc_mean_sensitivity": "FROC, mean sensitivity",
    "healthy_fp_ml": "false positives in healthy scans, ml",
    "healthy_fpr": "false positives in healthy scans, share of voxels",
    "healthy_fp_components": "components in healthy scans",
    "restoration_l1": "restoration, mean absolute error",
    "restoration_psnr": "restoration, PSNR in dB",
    "restoration_ssim": "restoration, SSIM",
    "seconds_per_scan": "seconds a scan",
    "parameters": "parameters",
    "scan_auroc": "AUROC of scans",
    "scan_auprc": "AUPRC of scans",
    "scan_sensitivity_at_specificity_0.95": "sensitivity of scans at specificity 0.95",
}
"""What people read instead of the names of metrics in results.csv."""


def metric_name(metric: str) -> str:
    """A metric in words; the stratum in brackets is kept, an unknown name stays as it is."""
    stem, bracket, stratum = metric.partition("[")
    words = NAMES.get(stem) or _at_rate(stem)
    return f"{words}, {stratum.rstrip(']').replace('=', ' ')}" if bracket else words


def _at_rate(stem: str) -> str:
    found = re.fullmatch(r"(dice|recall|precision)_at_fpr_([\d.e-]+?)(_pooled)?", stem)
    if found is None:
        return stem
    share = f"{100 * float(found[2]):g} % healthy false positives"
    name = found[1].capitalize()
    return f"{name} at {share}" + (", pooled" if found[3] else "")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table of methods and metrics."""

    dataset: str
    method: str
    preset: str
    seed: int
    cells: tuple[Row | None, ...]
    """One result for each metric of the table, in its order; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Results with a line for each method and a column for each metric."""

    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    def source(self, metric: str) -> str:
        """Where the thresholds of a column come from; empty where none is used."""
        at = self.metrics.index(metric)
        rows = (line.cells[at] for line in self.lines)
        return ", ".join(sorted({row.threshold_source for row in rows if row} - {"", NO_THRESHOLD}))

    def top(self, metric: str) -> float:
        """The largest number of a column, interval included, or 1 where all are within [0, 1]."""
        at = self.metrics.index(metric)
        rows = [line.cells[at] for line in self.lines]
        ends = [abs(v) for row in rows if row for v in (row.value, row.high) if math.isfinite(v)]
        return max([1.0, *ends])


def grid(rows: Sequence[Row]) -> Grid:
    """Turn a list of results into lines and columns, both in order of first appearance."""
    metrics = tuple(dict.fromkeys(row.metric for row in rows))
    lines: dict[tuple[str, str, str, int], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row.dataset, row.method, row.preset, row.seed), {})[row.metric] = row
    return Grid(
        metrics=metrics,
        lines=tuple(
            Line(
                dataset=dataset,
                method=method,
                preset=preset,
                seed=seed,
                cells=tuple(cells.get(metric) for metric in metrics),
            )
            for (dataset, method, preset, seed), cells in lines.items()
        ),
    )
