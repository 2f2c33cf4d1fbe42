"""On a narrow window no page is wider than the window; a browser lays them out."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.report.made import full
from tests.report.test_pages import benchmark_page, scan_page

from brainuad.report import charts, pages
from brainuad.report.pages import Case, Chart, CohortPage, PreparedScan

LONG = "/archive/of/a/hospital/study-2024/sub-0123456789_ses-baseline_run-01_acq-mprage_T1w.nii.gz"
CHECKS = {
    "volume_ml": 1400.0, "overlap": 0.91, "seen": 1.0, "white_over_grey": 0.1, "noise": 0.02,
    "movement": 1.1, "flat": 0.03, "edge_mm": 1.2, "coverage": 1.0,
}  # fmt: skip


def cohort(path: Path) -> None:
    (path.parent / "a.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="1100" height="700"/>'
    )
    scans = [
        PreparedScan(name=LONG[-40:], status="failed", why=f"{LONG}: not a NIfTI file; convert it"),
        PreparedScan(name="sub-2", status="not checked", picture="a.svg", why=LONG),
        PreparedScan(name="sub-1", status="pass", checks=CHECKS, seconds=9.0, picture="a.svg"),
    ]
    facts = {"recipe": "own (0123456789abcdef)", "check white over grey": f"left out: {LONG}"}
    pages.cohort_report(path, CohortPage(title=f"Preparation of {LONG}", scans=scans, facts=facts))


def scan(path: Path) -> None:
    pages.scan_report(path, scan_page(title=LONG, facts={"file": LONG}, volumes=full()))


def benchmark(path: Path) -> None:
    page = benchmark_page(
        cases=[Case(method="dae", name="best: sub-01", volumes=full(), number="AUPRC 0.62")],
        charts=[Chart(title="Learning", caption="by step", figure=charts.strip({"a": [1]}, y="y"))],
    )
    pages.benchmark_report(path, page)


def layout(page: Path, width: int) -> tuple[int, list[str]]:
    """Width of what a browser makes of a page, and its elements that stick out of the window.

    In a frame, because a window of a browser cannot be made as narrow as that of a telephone.
    What lies in a box that scrolls does not stick out.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome to lay a page out")
    frame = page.with_name("frame.html")
    frame.write_text(f"""<!doctype html><body><iframe id="f" style="width:{width}px;border:0"
srcdoc="{html.escape(page.read_text())}"></iframe><script>
f.onload = () => {{
  const inside = f.contentDocument, wide = inside.documentElement.scrollWidth;
  const out = [...inside.querySelectorAll("body *")].filter((each) =>
    !each.closest(".scroll, pre, svg, .stack") &&
    each.getBoundingClientRect().right > {width} + 0.5);
  document.body.textContent = "WIDE " + wide + " OUT " +
    out.map((each) => each.tagName + "." + each.className).join(" ") + " END";
}};</script></body>""")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--virtual-time-budget=5000",
         f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"WIDE (\d+) OUT (.*) END", done.stdout)
    assert found, done.stdout[-500:]
    return int(found[1]), found[2].split()


@pytest.mark.parametrize("make", [cohort, scan, benchmark])
def test_nothing_sticks_out_of_a_narrow_window(make, tmp_path):
    page = tmp_path / "page.html"
    make(page)
    assert layout(page, 400) == (400, [])


def test_what_is_too_wide_is_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><body style="margin:0"><p style="width:500px">wide</p>')
    assert layout(page, 400) == (500, ["P."])
