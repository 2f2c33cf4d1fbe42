"""Pages that open from a file, without a network: one for a scan, one for a comparison."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from brainuad import __version__
from brainuad.evaluate.case import Row
from brainuad.manifest import plain, write_text
from brainuad.report import charts, figures, slider
from brainuad.report.planes import Volumes
from brainuad.report.tables import grid, metric_name


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the quality panel."""

    name: str
    """What was looked at."""
    status: str
    """``pass``, ``warn``, ``reject`` or ``info``."""
    note: str = ""
    """The value that was found, and what it means."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanPage:
    """What a page says of one scan."""

    title: str
    """Name of the scan."""
    detector: str
    """Name of the detector and its method."""
    volumes: Volumes | None
    """What the pictures are made of; None for a scan that failed."""
    score: float | None = None
    """Scan score."""
    percentile: float | None = None
    """Share of healthy calibration scans with a lower score, 0-100."""
    healthy_scores: charts.Numbers = ()
    """Scan scores of the calibration scans (or quantiles of them)."""
    threshold_source: str = ""
    """Where the threshold comes from, in words."""
    components: Sequence[Mapping[str, Any]] = ()
    """One mapping for each connected component of the mask, largest first."""
    checks: Sequence[Check] = ()
    """Quality checks."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Geometry, recipe and the like, in words."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What ran, on what, with which versions."""
    warnings: Sequence[str] = ()
    """Why this result may not be worth much; shown before anything else."""
    notes: Sequence[str] = ()
    """Remarks for the reader."""
    failure: str = ""
    """Why there is no result; empty when there is one."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One table of a comparison."""

    title: str
    rows: Sequence[Row]
    note: str = ""
    references: Sequence[Row] = ()
    """Numbers from elsewhere on the same task, never mixed; ``protocol`` names the source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """A figure with words."""

    title: str
    figure: Figure
    caption: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One scan of the gallery."""

    method: str
    name: str
    """Which scan, and why it is shown: best, median, worst."""
    volumes: Volumes
    number: str = ""
    """Its result in words, for example ``AUPRC 0.62``."""


@dataclass(frozen=True, kw_only=True)
class Linked:
    """A page that stands for itself, with a picture out of it."""

    name: str
    page: str
    """Address, relative to the page that shows it."""
    picture: str = ""
    """Address of the picture; empty for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchmarkPage:
    """What a page says of a comparison of methods."""

    title: str
    summary: str
    """What was run, in two or three sentences."""
    boards: Sequence[Board]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of scans, seeds, times and the like."""
    charts: Sequence[Chart] = ()
    cases: Sequence[Case] = ()
    interval: str = "95 % interval from a bootstrap over subjects"
    """What the numbers below each value are."""
    linked: Sequence[Linked] = ()
    """Pages of the single runs."""
    notes: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    """Scan to reason, for scans without a result."""
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """One line of a cohort's preparation."""

    name: str
    status: str
    """``pass``, ``warn``, ``reject``, ``failed`` or ``not checked``."""
    why: str = ""
    checks: Mapping[str, float] = field(default_factory=dict)
    """Check to the value that was found."""
    seconds: float = 0.0
    picture: str = ""
    """Address of its picture, relative to the page; empty for none."""


@dataclass(frozen=True, kw_only=True)
class CohortPage:
    """What a page says of the preparation of a cohort."""

    title: str
    scans: Sequence[PreparedScan]
    facts: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def cohort_report(path: str | Path, page: CohortPage) -> None:
    """Write the page of a cohort's preparation; its pictures are files beside it."""
    checks = list(dict.fromkeys(name for scan in page.scans for name in scan.checks))
    write_text(path, _render("cohort.html.j2", page=page, checks=checks, facts=_words(page.facts)))


def scan_report(path: str | Path, page: ScanPage) -> None:
    """Write the page of one scan; nothing is left under ``path`` when it fails."""
    volumes = page.volumes
    extra = {} if volumes is None else _pictures(page, volumes)
    write_text(path, _render("scan.html.j2", page=page, facts=_words(page.facts), **extra))


def _pictures(page: ScanPage, volumes: Volumes) -> dict[str, Any]:
    scores = charts.score_distribution(
        page.healthy_scores, score=page.score, percentile=page.percentile
    )
    columns = list(dict.fromkeys(key for row in page.components for key in row))
    return {
        "slider": slider.layers(volumes),
        "ticks": figures.colour_ticks(volumes),
        "montage": picture(figures.montage(volumes)),
        "outline": picture(figures.brain_outline(volumes)),
        "distribution": picture(scores, kind="svg") if len(page.healthy_scores) else "",
        "columns": columns,
    }


def benchmark_report(path: str | Path, page: BenchmarkPage) -> None:
    """Write the page of a comparison; nothing is left under ``path`` when it fails."""
    text = _render(
        "benchmark.html.j2",
        page=page,
        facts=_words(page.facts),
        boards=[(board, grid(board.rows), grid(board.references)) for board in page.boards],
        charts=[(chart, picture(chart.figure, kind="svg")) for chart in page.charts],
        gallery=_gallery(page.cases),
    )
    write_text(path, text)


def _gallery(cases: Sequence[Case]) -> dict[str, list[tuple[Case, str]]]:
    gallery: dict[str, list[tuple[Case, str]]] = {}
    for case in cases:
        still = picture(figures.montage(case.volumes, count=1, across="panels"))
        gallery.setdefault(case.method, []).append((case, still))
    return gallery


def picture(figure: Figure, *, kind: str = "png") -> str:
    """A figure as an address inside a page; ``svg`` for charts, ``png`` for scans."""
    if kind == "svg":
        return figures.data_uri(figures.svg(figure), "image/svg+xml")
    return figures.data_uri(figures.png(figure))


def _words(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: _word(value) for name, value in plain(facts).items()}


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " x ".join(_word(v) for v in value)
    return str(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("brainuad.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["short"] = short
    environment.filters["share"] = share
    environment.filters["metric"] = metric_name
    return environment


def _render(template: str, **what: Any) -> str:
    manifest = plain(what["page"].manifest, finite=True)
    return (
        _environment().get_template(template).render(version=__version__, manifest=manifest, **what)
    )


def short(value: Any) -> str:
    """A number for a table cell: about three figures, a dash where there is none."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.{3 if abs(value) <= 1 else 2 if abs(value) < 10 else 1}f}"


def share(value: float, top: float) -> float:
    """Per cent of the way from 0 to ``top``, kept within 0-100; 0 for what is no number."""
    return 0.0 if math.isnan(value) else max(0.0, min(100.0, 100.0 * value / top))
