"""results.csv keeps every number, and says so when it cannot be read."""

import math
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.made import row

from brainuad.evaluate.case import Row
from brainuad.report import tables
from brainuad.types import DataError, MissingError

CONTRACT = "dataset,method,preset,seed,metric,value,low,high,n,protocol,threshold_source"
words = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029"),
    max_size=12,
)
numbers = st.floats(allow_infinity=False)
rows = st.builds(
    Row, dataset=words, method=words, preset=words, seed=st.integers(0, 2**31), metric=words,
    value=numbers, low=numbers, high=numbers, n=st.integers(0, 10**6), protocol=words,
    threshold_source=words,
)  # fmt: skip


def same(a: Row, b: Row) -> bool:
    pairs = zip(astuple(a), astuple(b), strict=True)
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


@given(st.lists(rows, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, written):
    path = tmp_path_factory.mktemp("results") / "results.csv"
    tables.write_results(path, written)
    found = tables.read_results(path)
    assert len(found) == len(written)
    assert all(same(a, b) for a, b in zip(found, written, strict=True))


def test_header_is_the_contract(tmp_path: Path):
    tables.write_results(tmp_path / "results.csv", [])
    assert (tmp_path / "results.csv").read_text() == CONTRACT + "\n"


def test_missing_file(tmp_path: Path):
    with pytest.raises(MissingError, match=r"none\.csv: no such file; give a results\.csv"):
        tables.read_results(tmp_path / "none.csv")


def test_other_columns_are_named(tmp_path: Path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"has the columns a,b; results have dataset,method"):
        tables.read_results(tmp_path / "x.csv")


@pytest.mark.parametrize(("name", "cell"), [("value", "many"), ("seed", ""), ("n", "1.5")])
def test_a_cell_that_is_no_number_is_named_with_its_line(tmp_path: Path, name: str, cell: str):
    cells = dict.fromkeys(CONTRACT.split(","), "1") | {name: cell}
    (tmp_path / "x.csv").write_text(CONTRACT + "\n" + ",".join(cells.values()) + "\n")
    with pytest.raises(DataError, match=f"line 2, {name}: '.*' is not a number"):
        tables.read_results(tmp_path / "x.csv")


def test_grid_has_a_line_for_each_run_and_a_column_for_each_metric():
    found = tables.grid([row(), row(metric="Dice"), row("vae"), row("dae", seed=1)])
    assert found.metrics == ("AUPRC", "Dice")
    assert [(line.method, line.seed) for line in found.lines] == [
        ("dae", 0),
        ("vae", 0),
        ("dae", 1),
    ]
    assert found.lines[1].cells[1] is None


def test_grid_names_where_thresholds_come_from():
    found = tables.grid(
        [row(threshold_source="none"), row(metric="best Dice", threshold_source="oracle")]
    )
    assert found.source("AUPRC") == ""
    assert found.source("best Dice") == "oracle"


def test_scale_of_a_column_covers_its_intervals():
    found = tables.grid([row(value=4.0, high=9.0, metric="ml"), row("vae", "ml", math.nan)])
    assert found.top("ml") == 9.0
    assert tables.grid([row()]).top("AUPRC") == 1.0


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("auprc_subject", "AUPRC, mean over subjects"),
        ("auprc_subject[size=S]", "AUPRC, mean over subjects, size S"),
        ("dice_at_fpr_0.01", "Dice at 1 % healthy false positives"),
        ("dice_at_fpr_0.001_pooled", "Dice at 0.1 % healthy false positives, pooled"),
        ("something_new", "something_new"),
    ],
)
def test_metrics_are_put_in_words(metric: str, words: str):
    assert tables.metric_name(metric) == words
