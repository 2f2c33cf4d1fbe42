"""Tables for papers hold every number once, and no sign that breaks them."""

import math
import re

from hypothesis import given
from hypothesis import strategies as st
from tests.report.made import row

from brainuad.report.formats import escaped, latex, markdown

ROWS = [
    row(metric="auprc_subject", value=0.5123, low=0.4, high=0.6),
    row(metric="parameters", value=1234567.0, low=math.nan, high=math.nan),
    row(metric="dice_oracle_pooled", value=math.nan, threshold_source="oracle"),
]


def test_a_number_its_interval_and_a_dash():
    lines = markdown(ROWS).splitlines()
    assert lines[2].split(" | ")[2:] == ["0.512 [0.400, 0.600]", "1,234,567", "- |"]
    assert "best Dice, pooled (oracle)" in lines[0]
    assert len({line.count("|") for line in lines}) == 1


def test_a_tabular_has_as_many_cells_in_every_line():
    text = latex(ROWS)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 2
    assert {line.count(" & ") for line in lines} == {4}
    assert text.startswith(r"\begin{tabular}{llrrr}")


@given(st.text(alphabet="ab&%$#_{}\\~^", max_size=20))
def test_no_command_of_latex_is_left(text):
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}", "", escaped(text))
    plain = re.sub(r"\\[&%$#_{}]", "", plain)
    assert not set(plain) & set("&%$#_{}\\~^")


@given(st.text(alphabet="ab|", max_size=9))
def test_bars_in_names_stay_in_their_cell(name):
    lines = markdown([row(name or "m", "auprc_subject")]).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
