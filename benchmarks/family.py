"""All methods, fitted for the same number of steps, on one local benchmark: one table.

Usage: python benchmarks/family.py ixi-stroke --out FOLDER [--steps 1000] [--methods dae ddpm ...]
       python benchmarks/family.py --table FOLDER [FOLDER ...]

Each method is trained once, with preset `small`, and judged twice: by residuals of either sign and
by dark ones only (`small-dark`, the same weights; where nothing but the sign differs the healthy
counterparts are made once, so the seconds are those of the first). A stopped run goes on. One
process and one thread: run two benchmarks side by side on two cores.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from brainuad.benchmark.run import RunSettings, run_benchmark
from brainuad.detector import Detector
from brainuad.detector_config import configured, new_method
from brainuad.difference import residual
from brainuad.method import Detection, Method, method_class, method_names
from brainuad.reconstruction import Reconstruction
from brainuad.restoration import Drawn
from brainuad.train import TrainSettings

SIMPLE = {"intensity": ("default", "dark"), "healthy_atlas": ("default", "dark")}
PRESETS = ("small", "small-dark")
COLUMNS = {
    "auprc_subject[sprite=matched]": "AUPRC, matched",
    "auprc_subject": "AUPRC per subject",
    "auprc_pooled": "AUPRC pooled",
    "dice_oracle_pooled": "oracle Dice",
    "dice_at_fpr_0.01_pooled": "Dice at 1 %",
    "seconds_per_scan": "s/scan",
    "parameters": "parameters",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--methods", nargs="+", default=list(method_names()))
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS)
    parser.add_argument("--mini", action="store_true")
    parser.add_argument("--table", type=Path, nargs="+", help="print what lies in these folders")
    return parser.parse_args()


def run(args: argparse.Namespace, method: str) -> None:
    """Both presets of a method; the second takes the weights of the first."""
    settings = RunSettings(
        training=TrainSettings(num_threads=1),
        workers=1,
        mini=args.mini,
        progress=False,
        detectors=args.out / "shared",
    )
    names = dict(zip(PRESETS, SIMPLE.get(method, PRESETS), strict=True))
    kind = method_class(method)
    remember(kind)
    for preset in (names[p] for p in args.presets):
        rows = args.out / "rows" / f"{method}-{preset}.csv"
        if rows.exists():
            continue
        entry = f"{method}:{preset}@{args.steps}"
        run_benchmark(args.name, data=args.data, out=args.out, methods=[entry], settings=settings)
        rows.parent.mkdir(exist_ok=True)
        (args.out / "results.csv").rename(rows)
        if kind.stages:
            share(args.out, method, preset)
    if "detect" in vars(kind) and kind.detect.__module__ == __name__:
        del kind.detect  # and what was kept


def remember(kind: type[Method]) -> None:
    """Let a method that only compares an image with its counterpart keep the counterparts."""
    if kind.detect not in (Drawn.detect, Reconstruction.detect):
        return
    original, kept = kind.detect, {}

    def detect(self: Any, x: Any, brain: Any, *, rng: Any) -> Detection:
        # The seeds name the image and the seed of the run.
        if rng.seeds not in kept:
            kept[rng.seeds] = original(self, x, brain, rng=rng).healthy
        healthy = kept[rng.seeds]
        judged = self.judged(x) if isinstance(self, Reconstruction) else x
        size = residual(judged, healthy, kind=self.options.residual, sign=self.options.sign)
        return Detection(anomaly=size * brain, healthy=healthy)

    kind.detect = detect  # type: ignore[method-assign]


def share(out: Path, method: str, preset: str) -> None:
    """Lay the fitted detector ready under the name of the other sign."""
    detector = Detector.load(out / "detectors" / f"{method}-{preset}")
    config = detector.config
    for other in PRESETS:
        again = configured(
            method,
            other,
            {},
            modality=config.modality,
            recipe=config.recipe,
            postprocess=config.postprocess,
            provenance=config.provenance,
        )
        twin = new_method(again)
        twin.restore(detector.method.state_dict())
        Detector(again, twin).save(out / "shared" / f"{method}-{other}")


def table(folders: list[Path]) -> Iterator[str]:
    """For each benchmark one Markdown line per method: residuals of either sign, and dark ones."""
    for folder in folders:
        found = {path.stem: rows_of(path) for path in sorted((folder / "rows").glob("*.csv"))}
        names = sorted({stem.partition("-")[0] for stem in found})
        metrics = [m for m in COLUMNS if any(m in rows for rows in found.values())]
        lines = []
        for name in names:
            first, dark = (found.get(f"{name}-{p}", {}) for p in SIMPLE.get(name, PRESETS))
            cells = [both(m, first, dark) for m in metrics]
            best = max(float(r[metrics[0]]["value"]) for r in (first, dark) if r)
            lines.append((-best, f"| `{name}` | {' | '.join(cells)} |"))
        dataset = next(iter(next(iter(found.values())).values()))["dataset"]
        yield f"\n{dataset}\n"
        yield f"| method | {' | '.join(COLUMNS[m] for m in metrics)} |"
        yield "|---" * (len(metrics) + 1) + "|"
        yield from (line for _, line in sorted(lines))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as handle:
        return {row["metric"]: row for row in csv.DictReader(handle)}


def both(metric: str, first: dict[str, Any], dark: dict[str, Any]) -> str:
    """A cell: the number with its interval, then that of dark residuals alone."""
    if metric in ("parameters", "seconds_per_scan"):
        return shown(metric, first.get(metric) or dark.get(metric))
    return "; ".join(shown(metric, rows.get(metric)) for rows in (first, dark)) or "-"


def shown(metric: str, row: dict[str, str] | None) -> str:
    if row is None:
        return "-"
    value = float(row["value"])
    if metric == "parameters":
        return f"{value / 1e6:.2f} M"
    if metric == "seconds_per_scan":
        return f"{value:.2g}"
    bounds = f" [{short(row['low'])}, {short(row['high'])}]" if "auprc" in metric else ""
    return f"{short(row['value'])}{bounds}"


def short(number: str) -> str:
    """Three decimals without the leading zero."""
    return f"{float(number):.3f}".removeprefix("0")


def main() -> None:
    args = arguments()
    if args.table:
        print("\n".join(table(args.table)))
        return
    torch.set_num_threads(1)
    for method in args.methods:
        run(args, method)
        print(f"{method}: done", flush=True)


if __name__ == "__main__":
    main()
