"""Charts of results: learning curves, distributions, subjects one by one, precision-recall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainuad.rng import seed_of

INK = "#1f2733"
FAINT = "#8b95a5"
HUES = ("#2563eb", "#e4572e", "#2a9d63", "#8e44ad", "#c98a00", "#0e9aa7", "#c2185b", "#5d6d7e")
Numbers = Sequence[float | int] | np.ndarray
"""Numbers in a row."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart, with its interval where it has one."""

    name: str
    x: Numbers
    y: Numbers
    low: Numbers = field(default=())
    high: Numbers = field(default=())


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8.5, color=FAINT)
    return figure, axes


def _labels(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK, fontsize=9.5)
    axes.set_ylabel(y, color=INK, fontsize=9.5)


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)


def learning_curve(
    curves: Sequence[Curve], *, y: str, x: str = "optimiser steps", log_y: bool = False
) -> Figure:
    """A quality or a loss against training, one line for each curve, bands where intervals are."""
    figure, axes = _axes(6.2, 3.3)
    for hue, curve in zip(_hues(len(curves)), curves, strict=True):
        marker = "o" if len(curve.x) <= 40 else ""
        axes.plot(curve.x, curve.y, color=hue, label=curve.name, marker=marker, ms=3.5, lw=1.6)
        if len(curve.low):
            axes.fill_between(curve.x, curve.low, curve.high, color=hue, alpha=0.15, lw=0)
    if log_y:
        axes.set_yscale("log")
    axes.grid(axis="y", color="#e5e8ee", lw=0.8)
    _labels(axes, x, y)
    _legend(axes, len(curves))
    return figure


def _hues(count: int) -> list[str]:
    return [HUES[i % len(HUES)] for i in range(count)]


def score_distribution(
    healthy: Numbers, *, score: float | None = None, percentile: float | None = None
) -> Figure:
    """Scores of healthy scans, each as a tick, with the score of one scan marked.

    Args:
        healthy: scan scores of healthy people.
        score: the scan to mark.
        percentile: share of healthy scans with a lower score, 0-100.
    """
    figure, axes = _axes(6.2, 2.3)
    values = np.asarray(healthy, dtype=float)
    axes.hist(values, bins=_bins(values), color="#cdd6e4", edgecolor="white")
    axes.plot(values, np.zeros_like(values), "|", color=INK, ms=9, clip_on=False)
    if score is not None:
        axes.axvline(score, color=HUES[1], lw=2)
        text = "this scan" if percentile is None else f"this scan\npercentile {percentile:.0f}"
        _beside(axes, score, text)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _labels(axes, "scan score", "healthy scans")
    return figure


def _bins(values: np.ndarray) -> int:
    return int(np.clip(2 * np.sqrt(len(values)), 5, 40))


def _beside(axes: Axes, x: float, text: str) -> None:
    left, right = axes.get_xlim()
    flip = (x - left) > 0.7 * (right - left)
    axes.annotate(
        text, (x, 0.97), xycoords=("data", "axes fraction"),
        xytext=(-6 if flip else 6, 0), textcoords="offset points",
        ha="right" if flip else "left", va="top", color=HUES[1], fontsize=9,
    )  # fmt: skip


def strip(
    groups: Mapping[str, Numbers], *, y: str, limits: tuple[float, float] | None = None
) -> Figure:
    """Every subject as a dot, one column for each group, with the mean as a bar.

    Dots are moved sideways by an amount that depends on the group and the place in it alone.
    """
    figure, axes = _axes(max(3.2, 1.1 * len(groups) + 1.2), 3.3)
    for place, (name, values) in enumerate(groups.items()):
        hue = HUES[place % len(HUES)]
        x = place + _jitter(name, len(values))
        axes.scatter(x, values, s=22, color=hue, alpha=0.65, lw=0, zorder=3)
        if len(values):
            axes.hlines(np.mean(values), place - 0.28, place + 0.28, color=INK, lw=2, zorder=4)
    axes.set_xticks(range(len(groups)), _wrapped(groups))
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.grid(axis="y", color="#e5e8ee", lw=0.8)
    axes.set_axisbelow(True)
    if limits is not None:
        axes.set_ylim(*limits)
    _labels(axes, "", y)
    return figure


def _wrapped(names: Mapping[str, Numbers]) -> list[str]:
    return [name.replace(" ", "\n", 1) for name in names]


def _jitter(name: str, count: int) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed_of(0, "strip", name)))
    return rng.uniform(-0.22, 0.22, count)


def precision_recall(curves: Sequence[Curve], *, prevalence: float | None = None) -> Figure:
    """Precision against recall; a dotted line where a method that guesses would be."""
    figure, axes = _axes(4.2, 3.8)
    for hue, curve in zip(_hues(len(curves)), curves, strict=True):
        axes.plot(curve.x, curve.y, color=hue, label=curve.name, lw=1.7)
    if prevalence is not None:
        axes.axhline(prevalence, color=FAINT, ls=":", lw=1.3)
        axes.text(1.0, prevalence, "chance", ha="right", va="bottom", color=FAINT, fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color="#e5e8ee", lw=0.8)
    _labels(axes, "recall", "precision")
    _legend(axes, len(curves))
    return figure


def rates(curves: Sequence[Curve], *, x: str, y: str, limits: tuple[float, float]) -> Figure:
    """Shares found against shares or numbers of false alarms, which are on a logarithmic axis.

    Args:
        curves: one for each method.
        x: name of the axis of false alarms.
        y: name of the axis of what is found, from 0 to 1.
        limits: of the axis of false alarms, above 0; curves go on beyond them.
    """
    figure, axes = _axes(4.2, 3.8)
    for hue, curve in zip(_hues(len(curves)), curves, strict=True):
        axes.plot(curve.x, curve.y, color=hue, label=curve.name, lw=1.7)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(0, 1.02)
    axes.grid(color="#e5e8ee", lw=0.8)
    _labels(axes, x, y)
    _legend(axes, len(curves))
    return figure


def detectability(curves: Sequence[Curve], *, chance: Curve | None = None) -> Figure:
    """Share of lesions found against their volume (ml, logarithmic), one line for each contrast.

    Args:
        curves: one for each contrast, weakest first.
        chance: what is found at the same places without a lesion.
    """
    figure, axes = _axes(6.2, 3.6)
    for n, curve in enumerate(curves):
        strength = 0.35 + 0.65 * (n + 1) / len(curves)
        axes.plot(curve.x, curve.y, color=HUES[0], alpha=strength, label=curve.name, marker="o")
        axes.fill_between(curve.x, curve.low, curve.high, color=HUES[0], alpha=0.1 * strength, lw=0)
    if chance is not None:
        axes.plot(chance.x, chance.y, color=FAINT, ls="--", label=chance.name)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", color="#e5e8ee", lw=0.8)
    _labels(axes, "volume of the lesion, ml", "share found")
    _legend(axes, 2)
    return figure
