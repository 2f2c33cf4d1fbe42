"""Charts show the numbers they are given."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from brainuad.report import charts, figures
from brainuad.report.charts import Curve


def test_learning_curve_draws_each_curve_and_its_band():
    a = Curve(name="a", x=[1, 2, 3], y=[0.1, 0.2, 0.3], low=[0, 0.1, 0.2], high=[0.2, 0.3, 0.4])
    b = Curve(name="b", x=[1, 2], y=[0.5, 0.6])
    figure = charts.learning_curve([a, b], y="AUPRC")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    assert list(np.asarray(axes.lines[0].get_ydata())) == a.y
    assert len(axes.collections) == 1
    assert axes.get_ylabel() == "AUPRC"


def test_learning_curve_on_a_logarithmic_scale():
    figure = charts.learning_curve([Curve(name="a", x=[1], y=[1])], y="loss", log_y=True)
    assert figure.axes[0].get_yscale() == "log"


def start(line: Line2D) -> tuple[float, float]:
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    return x[0], y[0]


@pytest.mark.parametrize(("score", "side"), [(0.05, "left"), (0.9, "right")])
def test_score_is_marked_where_it_is_with_words_inside_the_chart(score: float, side: str):
    figure = charts.score_distribution(np.linspace(0, 1, 20), score=score, percentile=93.4)
    (axes,) = figure.axes
    assert score in {start(line)[0] for line in axes.lines}
    (note,) = axes.texts
    assert note.get_text() == "this scan\npercentile 93"
    assert note.get_horizontalalignment() == side


def test_distribution_without_a_scan_has_no_mark():
    assert not charts.score_distribution([0.1, 0.2]).axes[0].texts


def test_histogram_counts_every_healthy_scan():
    (axes,) = charts.score_distribution(np.random.default_rng(0).normal(size=37)).axes
    assert sum(patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)) == 37


def test_strip_shows_every_subject_and_the_mean():
    groups = {"one": [0.1, 0.3], "two": [0.5], "none": []}
    (axes,) = charts.strip(groups, y="AUPRC", limits=(0.0, 1.0)).axes
    dots = [c for c in axes.collections if isinstance(c, PathCollection)]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    heights = [sorted(np.asarray(c.get_offsets())[:, 1]) for c in dots]
    assert heights == list(groups.values())
    assert [c.get_segments()[0][0, 1] for c in bars] == pytest.approx([0.2, 0.5])
    assert axes.get_ylim() == (0, 1)


def test_strip_places_dots_alike_each_time_and_near_their_column():
    first, second = (charts._jitter("dae", 50) for _ in range(2))
    assert (first == second).all()
    assert np.abs(first).max() <= 0.22


def test_precision_recall_marks_chance():
    curves = [Curve(name="a", x=[0, 1], y=[1, 0.1])]
    (axes,) = charts.precision_recall(curves, prevalence=0.02).axes
    assert [t.get_text() for t in axes.texts] == ["chance"]
    assert [start(line)[1] for line in axes.lines] == [1.0, 0.02]
    assert not charts.precision_recall(curves).axes[0].texts


def test_more_curves_than_hues_can_be_drawn():
    curves = [Curve(name=str(i), x=[0, 1], y=[0, i]) for i in range(len(charts.HUES) + 2)]
    assert figures.svg(charts.learning_curve(curves, y="loss")).startswith(b"<?xml")
