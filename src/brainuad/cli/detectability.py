"""Tables and page of what a detector can see."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from brainuad.cli.evaluation import csv_text
from brainuad.detectability import NOTHING, Plan, Sensitivity, Trial, sensitivities
from brainuad.evaluate.case import Row
from brainuad.manifest import plain, run_manifest, write_text
from brainuad.report import charts
from brainuad.report.charts import Curve
from brainuad.report.pages import BenchmarkPage, Board, Chart, benchmark_report


def write_detectability(out: Path, trials: Sequence[Trial], *, plan: Plan, model: Path) -> Path:
    """Write ``trials.csv``, ``sensitivity.csv`` and ``index.html``; the page is returned."""
    shares = sensitivities(trials)
    write_text(out / "trials.csv", csv_text([_flat(trial) for trial in trials]))
    lines = [{**asdict(s), "share": s.share} for s in shares]
    write_text(out / "sensitivity.csv", csv_text(lines))
    scans = len({trial.subject for trial in trials})
    page = BenchmarkPage(
        title=f"What {model.resolve().name} can see",
        summary=f"Lesions ({plan.kind}) planted into {scans} healthy scans; threshold at "
        f"{100 * plan.rate:g} % healthy false positives. A lesion is found when a component of the "
        "mask overlaps it and is not far larger. The column 'no lesion' is what is found at the "
        "same places by chance.",
        boards=[
            Board(title="Share found", rows=_rows(shares, model)),
            Board(title="Share of the lesion in the mask", rows=_recall(shares, model)),
        ],
        charts=[
            Chart(
                title="Share found by volume",
                figure=_figure(shares),
                caption="Bands: 95 % intervals (Wilson); each place is one trial.",
            )
        ],
        facts=_facts(trials),
        interval="95 % interval (Wilson)",
        manifest=run_manifest(
            command="brainuad simulate", config=plain(asdict(plan)), seed=plan.seed
        ),
    )
    benchmark_report(out / "index.html", page)
    return out / "index.html"


def _flat(trial: Trial) -> dict[str, object]:
    facts = asdict(trial)
    x, y, z = facts.pop("centre_mm")
    return {**facts, "x_mm": round(x, 1), "y_mm": round(y, 1), "z_mm": round(z, 1)}


def _heading(contrast: float) -> str:
    return "no lesion" if contrast == NOTHING else f"contrast {contrast:g}"


def _rows(shares: Sequence[Sensitivity], model: Path) -> list[Row]:
    return [_row(s, model, s.share, s.low, s.high) for s in shares]


def _recall(shares: Sequence[Sensitivity], model: Path) -> list[Row]:
    nan = float("nan")
    return [_row(s, model, s.recall, nan, nan) for s in shares]


def _row(s: Sensitivity, model: Path, value: float, low: float, high: float) -> Row:
    return Row(
        dataset=f"{s.volume_ml:g} ml",
        method=model.resolve().name,
        metric=_heading(s.contrast),
        value=value,
        low=low,
        high=high,
        n=s.n,
        protocol="simulate",
        threshold_source="healthy-fpr",
    )


def _figure(shares: Sequence[Sensitivity]) -> Figure:
    found = {
        contrast: [s for s in shares if s.contrast == contrast]
        for contrast in sorted({s.contrast for s in shares})
    }
    made = {
        contrast: Curve(
            name=_heading(contrast),
            x=[s.volume_ml for s in own],
            y=[s.share for s in own],
            low=[s.low for s in own],
            high=[s.high for s in own],
        )
        for contrast, own in found.items()
    }
    curves = [curve for contrast, curve in made.items() if contrast != NOTHING]
    return charts.detectability(curves, chance=made[NOTHING])


def _facts(trials: Sequence[Trial]) -> dict[str, object]:
    """Where lesions are found: near the surface or deep."""
    real = [t for t in trials if t.contrast != NOTHING]
    middle = float(np.median([t.depth_mm for t in real]))
    parts = {"shallower": [t for t in real if t.depth_mm < middle]}
    parts["deeper"] = [t for t in real if t.depth_mm >= middle]
    return {
        f"found, {word} than {middle:.0f} mm": f"{sum(t.found for t in own)} of {len(own)}"
        for word, own in parts.items()
    }
