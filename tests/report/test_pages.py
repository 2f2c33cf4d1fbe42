"""Pages are whole, open without a network, and say what they must."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.made import full, made, row

from brainuad.report import charts, pages
from brainuad.report.pages import BenchmarkPage, Board, Case, Chart, Check, ScanPage

VOID = {"meta", "img", "input", "br", "path", "link"}


class Reader(HTMLParser):
    """Collects text and addresses and checks that tags are closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def scan_page(**fields: Any) -> ScanPage:
    usual: dict[str, Any] = {
        "title": "sub-01_T1w", "detector": "dae, preset small", "volumes": full(lesion=None),
        "score": 0.42, "percentile": 93.0, "healthy_scores": [0.1, 0.2, 0.3],
        "threshold_source": "1 % of healthy voxels",
        "components": [{"index": 1, "volume_mm3": 812.0, "max": 0.9}],
        "checks": [Check(name="orientation", status="pass", note="RAS")],
        "facts": {"spacing in mm": (2.0, 2.0, 2.0), "recipe": "default-t1"},
        "manifest": {"command": "brainuad detect", "seed": 3}, "notes": ["Already stripped."],
    }  # fmt: skip
    return ScanPage(**{**usual, **fields})


def benchmark_page(**fields: Any) -> BenchmarkPage:
    rows = [
        row(),
        row(metric="best Dice", threshold_source="oracle"),
        row("vae", value=0.7),
        row("vae", "best Dice", float("nan"), low=float("nan"), high=float("nan")),
    ]
    usual: dict[str, Any] = {
        "title": "Four methods", "summary": "What was run.",
        "boards": [Board(title="Leaderboard", rows=rows, references=[row("published", value=0.9)])],
    }  # fmt: skip
    return BenchmarkPage(**{**usual, **fields})


def read(path: Path) -> Reader:
    return Reader(path.read_text())


@pytest.fixture
def scan_html(tmp_path: Path) -> Path:
    pages.scan_report(tmp_path / "scan.html", scan_page())
    return tmp_path / "scan.html"


def test_scan_page_needs_no_network(scan_html: Path):
    found = read(scan_html)
    assert found.addresses
    assert all(a.startswith("data:image/") for a in found.addresses)
    outside = re.findall(r"(?:https?:)?//[a-z]", re.sub(r"data:[^\"]*", "", scan_html.read_text()))
    assert outside == []


def test_scan_page_says_what_it_must(scan_html: Path):
    text = read(scan_html).text
    for words in (
        "sub-01_T1w", "0.420", "93", "healthy percentile", "1 % of healthy voxels", "812",
        "orientation", "RAS", "2 x 2 x 2", "default-t1", "Already stripped.",
        "Research use, not a medical device",
    ):  # fmt: skip
        assert words in text


def test_lesion_is_a_word_for_the_truth_alone(scan_html: Path, tmp_path: Path):
    pages.scan_report(tmp_path / "truth.html", scan_page(volumes=full()))
    assert "lesion" not in read(scan_html).text
    assert "truth" not in read(scan_html).text
    assert "truth" in read(tmp_path / "truth.html").text


def test_slider_data_can_be_read_by_the_page(scan_html: Path):
    (text,) = re.findall(r'data-role="layers">(.*?)</script>', scan_html.read_text(), re.S)
    found = json.loads(text)
    assert 0 <= found["start"] < len(found["slices"])


def test_a_failed_scan_says_so_and_shows_no_result(tmp_path: Path):
    page = scan_page(volumes=None, failure="sub-01: empty file; copy it again", notes=())
    pages.scan_report(tmp_path / "x.html", page)
    found = read(tmp_path / "x.html")
    assert "No result for this scan" in found.text
    assert "sub-01: empty file; copy it again" in found.text
    assert "scan score" not in found.text


def test_a_warning_stands_before_the_result(tmp_path: Path):
    pages.scan_report(tmp_path / "x.html", scan_page(warnings=["Forced to be taken for FLAIR."]))
    text = read(tmp_path / "x.html").text
    assert text.index("Forced to be taken for FLAIR.") < text.index("scan score")
    pages.scan_report(tmp_path / "y.html", scan_page())
    assert "Before you trust this" not in read(tmp_path / "y.html").text


def test_a_bare_scan_page_says_what_is_not_known(tmp_path: Path):
    bare = ScanPage(title="x", detector="d", volumes=made())
    pages.scan_report(tmp_path / "x.html", bare)
    text = read(tmp_path / "x.html").text
    assert "calibrate it" in text
    assert "No place exceeds the threshold" in text


def test_benchmark_page_marks_oracle_numbers_and_keeps_references_apart(tmp_path: Path):
    pages.benchmark_report(tmp_path / "b.html", benchmark_page())
    text = read(tmp_path / "b.html").text
    assert re.search(r"best Dice\s+oracle", text)
    assert text.index("Reference numbers, not from this run") < text.index("published")
    assert "0.400 to 0.600" in text


def test_benchmark_page_shows_cases_charts_notes_and_failures(tmp_path: Path):
    page = benchmark_page(
        cases=[Case(method="dae", name="best: sub-01", volumes=full(), number="AUPRC 0.62")],
        charts=[Chart(title="Learning", caption="by step", figure=charts.strip({"a": [1]}, y="y"))],
        notes=["Shams at chance."], failures={"sub-09": "sub-09: not a brain"},
        facts={"seconds": 12.3456}, manifest={"seed": 0},
    )  # fmt: skip
    pages.benchmark_report(tmp_path / "b.html", page)
    found = read(tmp_path / "b.html")
    for words in ("best: sub-01", "AUPRC 0.62", "by step", "Shams at chance.", "sub-09", "12.35"):
        assert words in found.text
    assert "1 scan without a result" in found.text
    assert all(a.startswith("data:image/") for a in found.addresses)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x>', "</script><b>"])
def test_names_cannot_inject_markup(tmp_path: Path, evil: str):
    page = scan_page(
        title=evil, notes=[evil], warnings=[evil], facts={evil: evil}, manifest={"x": evil}
    )
    pages.scan_report(tmp_path / "x.html", page)
    assert evil not in (tmp_path / "x.html").read_text()
    read(tmp_path / "x.html")


def test_the_same_page_is_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        pages.scan_report(tmp_path / name, scan_page())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_left_when_writing_fails(tmp_path: Path):
    with (
        patch.object(pages, "_render", side_effect=ValueError("no")),
        pytest.raises(ValueError, match="no"),
    ):
        pages.scan_report(tmp_path / "x.html", scan_page())
    assert list(tmp_path.iterdir()) == []


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_short_numbers_read_back_close_to_the_value(value: float):
    text = pages.short(value)
    if abs(value) < 1e6:
        assert float(text) == pytest.approx(value, abs=max(5e-4, 0.01 * abs(value)))


def test_short_leaves_words_alone_and_dashes_what_is_no_number():
    assert [pages.short(v) for v in ("a", 12, float("nan"), float("inf"))] == ["a", "12", "-", "-"]


@given(st.floats(-2, 5), st.floats(0.5, 3))
def test_share_is_a_percentage_and_grows_with_the_value(value: float, top: float):
    assert 0 <= pages.share(value, top) <= 100
    assert pages.share(value, top) <= pages.share(value + 0.1, top)
    assert pages.share(float("nan"), top) == 0
