"""The same trained nets judged by other residuals: one table.

Usage: python benchmarks/residuals.py NAME FAMILY --out FOLDER [--methods dae ddpm ...]

NAME is the benchmark and FAMILY the folder that benchmarks/family.py made for it. Nothing is
trained; calibration, detection and evaluation are done anew for every residual. A stopped run goes
on. The factor by the Mahalanobis distance is for the methods that draw noise.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from brainuad.benchmark.run import RunSettings, run_benchmark
from brainuad.detector import Detector
from brainuad.detector_config import merged, new_method
from brainuad.restoration import Drawn
from brainuad.train import TrainSettings

RESIDUALS: dict[str, dict[str, Any]] = {
    "`l1`": {},
    "`squared`": {"residual": "squared"},
    "`ssim`": {"residual": "ssim"},
    "`ssim_ensemble`": {"residual": "ssim_ensemble"},
    "`l1`, mean of 10": {"mahalanobis": 10},
    "`l1` x distance of 10": {"mahalanobis": 10},
    "`ssim` x distance of 10": {"residual": "ssim", "mahalanobis": 10},
}
PLAIN = "`l1`, mean of 10"
"""As the next one, without its factor: what drawing more alone is worth."""
METRICS = {
    "auprc_subject[sprite=matched]": "AUPRC, matched",
    "auprc_subject": "AUPRC per subject",
    "auprc_pooled": "AUPRC pooled",
    "dice_at_fpr_0.01_pooled": "Dice at 1 %",
    "seconds_per_scan": "s/scan",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("family", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["dae", "ddpm", "cddpm"])
    return parser.parse_args()


def judged(args: argparse.Namespace, method: str, number: int, changes: dict[str, Any]) -> Path:
    """Results of a method of the family with some options changed."""
    out = args.out / f"{method}-{number}"
    if (out / "results.csv").exists():
        return out / "results.csv"
    detector = Detector.load(args.family / "shared" / f"{method}-small", thresholds=False)
    config = replace(detector.config, options=merged(detector.config.options, changes))
    twin = new_method(config)
    twin.load_state_dict(detector.method.state_dict())
    Detector(config, twin).save(out / "earlier" / f"{method}-small")
    settings = RunSettings(
        training=TrainSettings(num_threads=1),
        workers=1,
        progress=False,
        common=args.out / "common",
        detectors=out / "earlier",
    )
    entry = f"{method}:small@1000"
    run_benchmark(args.name, data=args.data, out=out, methods=[entry], settings=settings)
    return out / "results.csv"


def cells(path: Path) -> str:
    with path.open(newline="") as handle:
        rows = {row["metric"]: row for row in csv.DictReader(handle)}
    return " | ".join(shown(rows.get(metric)) for metric in METRICS)


def shown(row: dict[str, str] | None) -> str:
    if row is None:
        return "-"
    value, low, high = (f"{float(row[k]):.3f}".removeprefix("0") for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if "auprc" in row["metric"] else value


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    factor = Drawn.factor
    print(f"| method | residual | {' | '.join(METRICS.values())} |")
    print("|---" * (len(METRICS) + 2) + "|")
    for method in args.methods:
        for number, (name, changes) in enumerate(RESIDUALS.items()):
            kind = type(Detector.load(args.family / "shared" / f"{method}-small").method)
            if "mahalanobis" in changes and not issubclass(kind, Drawn):
                continue
            if name == PLAIN:
                Drawn.factor = lambda self, x, draws, brain: brain.float()  # type: ignore[method-assign]
            print(
                f"| `{method}` | {name} | {cells(judged(args, method, number, changes))} |",
                flush=True,
            )
            Drawn.factor = factor  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
