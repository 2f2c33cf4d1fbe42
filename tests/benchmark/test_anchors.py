"""Published numbers are whole, named by a protocol, and shown where they belong."""

import pytest

from brainuad.benchmark import anchors as module
from brainuad.benchmark.anchors import Anchor, anchors, beside
from brainuad.benchmark.data import LOADERS
from brainuad.types import DataError


@pytest.mark.parametrize("anchor", anchors(), ids=lambda a: a.title)
def test_every_table_is_whole(anchor):
    assert anchor.source
    assert anchor.tag
    assert anchor.caveats
    limit = 100 if any("%" in m and "at" not in m for m in anchor.metrics) else 1
    for row in anchor.board().references:
        assert 0 < row.value <= limit
        assert row.protocol == anchor.protocol
    cells = len(anchor.rows) * len(anchor.sets) * len(anchor.metrics)
    assert len(anchor.board().references) == cells


def test_each_is_shown_beside_its_benchmarks_with_its_caveats():
    known = set(LOADERS) | {"lgg-flair"}
    assert {name for anchor in anchors() for name in anchor.beside} <= known
    for board in beside("mslub"):
        assert not board.rows
        assert "Protocol" in board.note
    assert not beside("none")


def test_a_row_that_lacks_a_number_is_named(monkeypatch):
    with pytest.raises(DataError, match=r"published.yaml: T, AE: needs 2 numbers for each of 1"):
        Anchor(
            title="T", source="s", tag="t", protocol="p", metrics=("a", "b"), sets=("x",),
            rows={"AE": [[0.1]]},
        )  # fmt: skip
    assert module.FILE.is_file()
