"""Tables of results as Markdown and LaTeX, for papers and repositories."""

import math
from collections.abc import Sequence

from brainuad.evaluate.case import Row
from brainuad.report.tables import grid, metric_name

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def markdown(rows: Sequence[Row]) -> str:
    """A table with a line for each method; each number with its interval, `-` for none."""
    heads, lines = _table(rows)
    ruled = ["---"] * 2 + ["---:"] * (len(heads) - 2)
    cells = [[_piped(cell) for cell in line] for line in (heads, ruled, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def latex(rows: Sequence[Row]) -> str:
    """The same as a ``tabular`` for the package booktabs."""
    heads, lines = _table(rows)
    body = [" & ".join(map(escaped, line)) + r" \\" for line in (heads, *lines)]
    columns = "ll" + "r" * (len(heads) - 2)
    rules = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule"]
    return "\n".join([*rules, *body[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def escaped(text: str) -> str:
    """Text with the signs that LaTeX takes for commands made plain."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    found = grid(rows)
    dataset = " ".join(dict.fromkeys(line.dataset for line in found.lines))
    heads = [f"{dataset}: method", "preset", *(_head(m, found.source(m)) for m in found.metrics)]
    lines = [
        [line.method, line.preset, *(_cell(row) for row in line.cells)] for line in found.lines
    ]
    return heads, lines


def _head(metric: str, source: str) -> str:
    return f"{metric_name(metric)} ({source})" if source else metric_name(metric)


def _cell(row: Row | None) -> str:
    if row is None or math.isnan(row.value):
        return "-"
    known = not (math.isnan(row.low) or math.isnan(row.high))
    interval = f" [{_number(row.low)}, {_number(row.high)}]" if known else ""
    return f"{_number(row.value)}{interval}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.2f}"
