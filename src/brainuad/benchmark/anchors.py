"""Published numbers with their source, protocol and caveats, for a look beside ours."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from brainuad.config import build, parse_yaml
from brainuad.evaluate.case import Row
from brainuad.report.pages import Board
from brainuad.types import DataError

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """One published table."""

    title: str
    source: str
    """Publication, and the table in it."""
    tag: str
    """How the numbers came here: read in the paper, off a figure, from another text."""
    protocol: str
    """Way of evaluation, by its name here."""
    metrics: tuple[str, ...]
    sets: tuple[str, ...]
    """Test sets, one for each group of numbers in a row."""
    beside: tuple[str, ...] = ()
    """Local benchmarks on whose page they are shown: the same contrast, other scans."""
    caveats: tuple[str, ...] = ()
    rows: dict[str, list[list[float]]] = field(default_factory=dict)
    """Method to its numbers: for each set one for each metric."""

    def __post_init__(self) -> None:
        for method, groups in self.rows.items():
            if [len(g) for g in groups] != [len(self.metrics)] * len(self.sets):
                raise DataError(
                    f"{FILE.name}: {self.title}, {method}: needs {len(self.metrics)} numbers for "
                    f"each of {len(self.sets)} sets; correct the row"
                )

    def board(self) -> Board:
        """The table as a page shows it."""
        return Board(
            title=f"Published: {self.title}",
            note=f"{self.source}; {self.tag}. Protocol {self.protocol}. {' '.join(self.caveats)}",
            rows=[],
            references=[row for method in self.rows for row in self._rows(method)],
        )

    def _rows(self, method: str) -> list[Row]:
        return [
            Row(
                dataset="",
                method=method,
                metric=f"{name}, {metric}",
                value=float(value),
                low=float("nan"),
                high=float("nan"),
                n=0,
                protocol=self.protocol,
                threshold_source="oracle" if "oracle" in metric else "none",
            )
            for name, group in zip(self.sets, self.rows[method], strict=True)
            for metric, value in zip(self.metrics, group, strict=True)
        ]


@cache
def anchors() -> tuple[Anchor, ...]:
    """All published tables, checked."""
    found = parse_yaml(FILE.read_text(encoding="utf-8"), where=FILE.name)
    return tuple(build(Anchor, each, where=f"{FILE.name}[{n}]") for n, each in enumerate(found))


def beside(benchmark: str) -> list[Board]:
    """The published tables that are shown on the page of a local benchmark."""
    return [anchor.board() for anchor in anchors() if benchmark in anchor.beside]
