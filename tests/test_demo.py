"""The demonstration, made small: everything it promises is there and agrees with itself."""

import csv
from pathlib import Path

import numpy as np
import pytest

from brainuad.demo import person, run_demo, scans_to_test
from brainuad.demo_settings import ENTRIES, DemoSettings, Entry
from brainuad.detector import Detector
from brainuad.method import method_class
from brainuad.nifti import read_scan

SMALL = DemoSettings(
    fit=3,
    calibrate=2,
    per_size=1,
    clean=1,
    sizes_ml={"small": 4.0, "large": 40.0},
    shape=(32, 40, 32),
    spacing_mm=5.0,
    entries=(
        Entry(method="intensity", preset="dark"),
        Entry(method="dae", preset="tiny", training={"steps": 2}),
    ),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    page = run_demo(folder, settings=SMALL, progress=False, say=said.append)
    assert page == folder / "index.html"
    assert any("dae" in line for line in said)
    return folder


def test_results_hold_every_method_and_size_with_intervals(out: Path):
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = {"auprc_subject", "auprc_subject[size=small]", "auprc_subject[size=large]"}
    for method in ("intensity", "dae"):
        assert wanted <= {row["metric"] for row in rows if row["method"] == method}
    pooled = [row for row in rows if row["metric"] == "auprc_pooled"]
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in pooled)
    assert {row["dataset"] for row in rows} == {"phantom"}


def test_page_shows_pictures_of_each_method_and_needs_no_network(out: Path):
    text = (out / "index.html").read_text()
    for words in ("best: ", "worst: ", "intensity", "dae", "Leaderboard", "AUPRC by size"):
        assert words in text
    assert text.count("data:image/png") >= 4
    assert "http" not in text.replace("http-equiv", "").partition("</style>")[2].split("data:")[0]


def test_detectors_are_calibrated_and_can_be_used(out: Path):
    detector = Detector.load(out / "detectors" / "dae")
    assert detector.calibration is not None
    assert detector.calibration.subjects == ("calibrate-01", "calibrate-02")
    found = detector.detect(out / "scans" / "test" / "large-01_T1w.nii.gz")
    record = sorted((out / "findings" / "dae").glob("*_uad.json"))
    assert found.mask is not None
    assert record


def test_only_results_are_left(out: Path):
    names = {"index.html", "results.csv", "scans", "detectors", "findings"}
    assert {path.name for path in out.iterdir()} == names


def test_scans_are_written_with_their_truth(out: Path):
    scan = read_scan(out / "scans" / "test" / "large-01_T1w.nii.gz")
    lesion = read_scan(out / "scans" / "truth" / "large-01_T1w_lesion.nii.gz")
    assert lesion.voxels.sum() * np.prod(lesion.spacing) / 1000 == pytest.approx(40, rel=0.01)
    assert (scan.voxels[lesion.voxels > 0] > 0).all()
    assert len(list((out / "scans" / "fit").iterdir())) == SMALL.fit


def test_cohort_depends_on_the_seed_alone():
    first, again, other = (person(SMALL, "fit", 0, seed).voxels for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_nobody_is_tested_who_was_fitted_on():
    names = {test.scan.subject for test in scans_to_test(SMALL, 0)}
    others = {person(SMALL, role, 0, 0).subject for role in ("fit", "calibrate")}
    assert len(names) == 3
    assert not names & others


def test_brains_lie_inside_the_default_grid():
    settings = DemoSettings()
    brain = person(settings, "fit", 0, 0).brain
    assert brain is not None
    share = brain.any((1, 2))[[0, -1]].sum() + brain.any((0, 2))[[0, -1]].sum()
    assert share == 0


def test_every_entry_names_a_preset_that_its_method_has():
    for entry in ENTRIES:
        assert entry.preset in method_class(entry.method).presets
