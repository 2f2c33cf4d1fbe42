"""Numbers of simple methods that come with the local benchmarks, as rows beside ours."""

import csv
import math
from pathlib import Path

from brainuad.benchmark.task import BenchmarkData
from brainuad.evaluate.case import Row

FILE = "baselines_dev.csv"
METRICS = {
    "auprc_subject": ("auprc_subject", "none"),
    "auprc_pooled": ("auprc_pooled", "none"),
    "dice_max_pooled": ("dice_oracle_pooled", "oracle"),
    "dice_at_1pct": ("dice_at_fpr_0.01_pooled", "healthy-fpr"),
    "healthy_fpr": ("healthy_fpr", "healthy-fpr"),
    "healthy_fp_ml_at_1pct": ("healthy_fp_ml", "healthy-fpr"),
    "auprc_S": ("auprc_subject[size=S]", "none"),
    "auprc_M": ("auprc_subject[size=M]", "none"),
    "auprc_L": ("auprc_subject[size=L]", "none"),
    "auprc_sham": ("auprc_sham", "none"),
    "prevalence": ("prevalence", "none"),
}
"""Column of the file -> our metric and its threshold source."""


def baselines(task: BenchmarkData, benchmarks: Path) -> list[Row]:
    """Rows of the simple methods of a task; none where the file is missing."""
    path = benchmarks / FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        lines = [line for line in csv.DictReader(handle) if line["benchmark"] == task.bench]
    chosen = [line for line in lines if line["method"].startswith(task.baselines)]
    return [row for line in chosen for row in _rows(task, line)]


def _rows(task: BenchmarkData, line: dict[str, str]) -> list[Row]:
    rows = []
    for column, (metric, source) in METRICS.items():
        value = _number(line.get(column, ""))
        if math.isnan(value):
            continue
        rows.append(
            Row(
                dataset=task.name,
                method=line["method"],
                preset="",
                metric=metric,
                value=value,
                low=_number(line.get(f"{column}_lo", "")),
                high=_number(line.get(f"{column}_hi", "")),
                n=task.subjects,
                protocol=FILE,
                threshold_source=source,
            )
        )
    return rows


def _number(text: str) -> float:
    return float(text) if text else math.nan
