"""Tables, charts and picks of a comparison follow from the numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.made import row

from brainuad.evaluate.case import Case
from brainuad.evaluate.protocols import Evaluation, evaluate
from brainuad.report import comparison


def evaluation() -> Evaluation:
    rng = np.random.default_rng(0)
    region = np.ones((6, 6, 6), dtype=bool)
    cases = []
    for n in range(4):
        lesion = np.zeros(region.shape, dtype=bool)
        lesion[:2, :2, :2] = n < 3
        cases.append(
            Case(
                subject=f"s{n}",
                kind="lesion" if n < 3 else "clean",
                anomaly=(rng.random(region.shape) + lesion * 0.3 * n).astype(np.float32),
                lesion=lesion if n < 3 else None,
                region=region,
                spacing=(2.0, 2.0, 2.0),
                strata={"size": "small"} if n < 2 else {"size": "large"},
            )
        )
    return evaluate(cases, thresholds={0.01: 0.99}, resamples=50)


def test_leaderboard_puts_strata_and_shams_into_their_own_tables():
    rows = [
        row(metric="auprc_subject"),
        row(metric="auprc_subject[size=S]"),
        row(metric="auprc_subject[size=L]"),
        row(metric="auprc_subject[contrast=strong]"),
        row(metric="auprc_sham"),
        row(metric="lesion_sensitivity[volume=>1ml]"),
        row(metric="healthy_fp_ml[fpr=0.05]"),
        row(metric="healthy_fp_ml[sex=F]"),
    ]
    boards = comparison.leaderboard(rows, references=[row("published")])
    titles = [board.title for board in boards]
    assert titles == [
        "Leaderboard", "AUPRC by size", "AUPRC by contrast",
        "False positives in healthy scans, ml, by sex", "Shams",
    ]  # fmt: skip
    assert [r.metric for r in boards[3].rows] == ["healthy_fp_ml[sex=F]"]
    assert [r.metric for r in boards[0].rows] == ["auprc_subject"]
    assert [r.method for r in boards[0].references] == ["published"]
    assert {r.metric for r in boards[1].rows} == {rows[1].metric, rows[2].metric}


def test_leaderboard_keeps_the_order_of_the_main_metrics():
    rows = [row(metric=name) for name in reversed(comparison.MAIN)]
    (board,) = comparison.leaderboard(rows)
    assert tuple(r.metric for r in board.rows) == comparison.MAIN


def test_charts_show_every_subject_with_a_lesion():
    subjects, curves, *_ = comparison.result_charts({"a": evaluation(), "b": evaluation()})
    dots = [c for c in subjects.figure.axes[0].collections if len(np.asarray(c.get_offsets())) == 3]
    assert len(dots) == 2
    labels = [line.get_label() for line in curves.figure.axes[0].lines]
    assert labels[:2] == ["a", "b"]
    chance = np.asarray(curves.figure.axes[0].lines[2].get_ydata(), dtype=float)
    assert chance[0] == pytest.approx(8 / 216)


def test_charts_show_what_each_number_of_false_alarms_finds():
    charts = comparison.result_charts({"a": evaluation(), "b": evaluation()})
    assert [chart.title for chart in charts[2:]] == ["ROC, pooled", "FROC"]
    for chart in charts[2:]:
        (axes,) = chart.figure.axes
        assert axes.get_xscale() == "log"
        assert [line.get_label() for line in axes.lines] == ["a", "b"]
        for line in axes.lines:
            assert (np.diff(np.asarray(line.get_ydata(), dtype=float)) >= 0).all()


def test_a_step_curve_is_read_where_it_is_known():
    x, y = np.array([0.0, 0.5, 0.5, 2.0]), np.array([0.1, 0.2, 0.4, 1.0])
    thin = comparison.thinned("a", x, y, at=np.array([0.1, 0.5, 1.9, 5.0]))
    assert list(thin.y) == [0.1, 0.4, 0.4, 1.0]
    late = comparison.thinned("a", x + 1, y, at=np.array([0.1, 1.0]))
    assert list(late.x) == [1.0]


@given(st.integers(1, 2000))
def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_curve(count: int):
    recall = np.sort(np.random.default_rng(count).random(count))
    recall[-1] = 1.0
    precision = 1 - recall / 2
    thin = comparison.curve("a", recall, precision)
    assert len(thin.x) <= comparison.POINTS
    assert thin.x[-1] == 1.0
    assert np.asarray(thin.y) == pytest.approx(1 - np.asarray(thin.x) / 2)


def cases_of(values: list[float]) -> list[dict[str, str | float | int]]:
    return [{"subject": f"s{n}", "kind": "lesion", "auprc": v} for n, v in enumerate(values)]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20))
def test_picks_are_the_best_the_median_and_the_worst(values: list[float]):
    best, median, worst = comparison.picks(cases_of(values))
    assert best.auprc == max(values)
    assert worst.auprc == min(values)
    assert sum(v <= median.auprc for v in values) >= len(values) / 2
    assert sum(v >= median.auprc for v in values) >= len(values) / 2
    assert len({best.subject, median.subject, worst.subject}) == 3


@pytest.mark.parametrize(
    ("values", "why"), [([], []), ([0.2], ["best"]), ([1, 0], ["best", "worst"])]
)
def test_few_cases_give_few_picks(values: list[float], why: list[str]):
    assert [pick.why for pick in comparison.picks(cases_of(values))] == why


def test_cases_without_a_lesion_are_not_picked():
    cases = [
        {"subject": "a", "kind": "clean", "auprc": math.nan},
        {"subject": "b", "kind": "sham", "auprc": 0.5},
    ]
    assert comparison.picks(cases) == []


def test_headline_says_the_main_numbers_with_their_intervals_and_sources():
    rows = [
        row(metric="dice_oracle_pooled", value=0.4, threshold_source="oracle"),
        row(metric="auprc_subject", value=0.5),
        row(metric="auprc_subject[size=S]", value=0.2),
        row(metric="healthy_fp_ml", value=3.0, low=math.nan, high=math.nan),
    ]
    assert comparison.headline(rows) == [
        "AUPRC, mean over subjects: 0.500 [0.400, 0.600]",
        "best Dice, pooled: 0.400 [0.300, 0.500] (chosen on the test labels)",
        "false positives in healthy scans, ml: 3.000",
    ]


def test_headline_of_other_numbers_is_the_first_few():
    rows = [row(metric=f"m{n}", value=0.1 * n) for n in range(1, 9)]
    said = comparison.headline(rows)
    assert [line.partition(":")[0] for line in said] == ["m1", "m2", "m3"]
