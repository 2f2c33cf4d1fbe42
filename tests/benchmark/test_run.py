"""A benchmark of phantoms from list to page: numbers, resume, refusals."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainuad.benchmark import LOADERS, Entry, RunSettings, run_benchmark, volumes
from brainuad.benchmark.found import load_kept
from brainuad.benchmark.prepared import load_prepared
from brainuad.detector import Detector
from brainuad.nifti import read_mask, read_scan
from brainuad.prepare import prepare_scan, recipe
from brainuad.report.tables import read_results
from brainuad.types import DataError, UsageError

METHODS = ("intensity:dark", "healthy_atlas:dark", "dae:tiny@2")
QUICK = RunSettings(workers=1, progress=False, resamples=50)


def as_they_are(*words: Any) -> Any:
    """The task of ``ixi-stroke``, without registration: phantoms need none."""
    found = volumes.ixi_stroke(*words)
    return tuple(replace(task, recipe=recipe("phantom")) for task in found)


@pytest.fixture(autouse=True)
def _phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOADERS, "ixi-stroke", as_they_are)


@pytest.fixture
def plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of words only: pictures take most of the time of a small run."""

    def write(path: Path, outcomes: Any, **words: Any) -> None:
        path.write_text(f"{words['summary']} {words['failures']}", encoding="utf-8")

    monkeypatch.setattr("brainuad.benchmark.run.write_page", write)


plain = pytest.mark.usefixtures("plain_page")


@pytest.fixture(scope="module")
def out(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a complete run."""
    folder = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "ixi-stroke", as_they_are)
        page = run_benchmark("ixi-stroke", data=shared, out=folder, methods=METHODS, settings=QUICK)
    assert page == folder / "index.html"
    return folder


def records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def value(out: Path, method: str, metric: str) -> float:
    (found,) = [
        r.value
        for r in read_results(out / "results.csv")
        if (r.method, r.metric) == (method, metric)
    ]
    return found


def test_every_method_has_every_headline_number(out: Path):
    rows = read_results(out / "results.csv")
    assert {r.method for r in rows} == {"intensity", "healthy_atlas", "dae"}
    assert {r.protocol for r in rows} == {"local"}
    for method in ("intensity", "healthy_atlas", "dae"):
        own = {r.metric for r in rows if r.method == method}
        assert {"auprc_subject", "auprc_pooled", "dice_at_fpr_0.01", "dice_at_fpr_0.01_pooled",
                "dice_oracle_pooled", "healthy_fp_ml", "healthy_fpr", "auprc_sham", "prevalence",
                "auprc_subject[size=S]", "auprc_subject[contrast=strong]",
                "auprc_subject[source=other]", "seconds_per_scan", "parameters"} <= own  # fmt: skip


def test_oracle_numbers_are_named_so_and_are_not_below_the_calibrated_ones(out: Path):
    for row in read_results(out / "results.csv"):
        assert ("oracle" in row.metric) <= (row.threshold_source == "oracle")
    for method in ("intensity", "healthy_atlas", "dae"):
        best = value(out, method, "dice_oracle_pooled")
        assert best >= value(out, method, "dice_at_fpr_0.01_pooled") - 1e-9


def test_atlas_finds_dark_lesions_better_than_chance(out: Path):
    assert value(out, "healthy_atlas", "auprc_subject") > 3 * value(
        out, "healthy_atlas", "prevalence"
    )


def test_cases_are_listed_once_per_method(out: Path):
    lines = records(out / "per_case.csv")
    keys = [(line["method"], line["subject"], line["kind"]) for line in lines]
    assert len(keys) == len(set(keys)) == 3 * 5


def test_maps_lie_on_the_grid_of_the_case_and_are_zero_outside_the_brain(out: Path):
    kept = load_kept(out / "maps" / "dae-tiny" / "s1_lesion.npz")
    assert kept.anomaly.shape == (20, 24, 20)
    assert kept.anomaly.min() >= 0
    assert kept.healthy is not None
    assert kept.seconds > 0


def test_detectors_are_kept_calibrated_and_never_saw_a_test_subject(out: Path):
    for label in ("intensity-dark", "healthy_atlas-dark", "dae-tiny"):
        detector = Detector.load(out / "detectors" / label)
        assert detector.calibration is not None
        assert detector.calibration.subjects == ("c1", "c2")
        assert set(detector.config.provenance["inputs"]) == {f"p{n}" for n in range(10)}


def test_page_shows_results_pictures_and_simple_methods(out: Path):
    page = (out / "index.html").read_text(encoding="utf-8")
    for word in ("ixi-stroke: Leaderboard", "Reference numbers", "baselines_dev.csv", "s1_lesion",
                 "data:image/png;base64", "Precision and recall", "oracle"):  # fmt: skip
        assert word in page
    assert ">bright<" not in page


@plain
def test_second_run_does_nothing_again_and_gives_the_same_table(
    out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    before = (out / "results.csv").read_bytes()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("was done already")

    monkeypatch.setattr(Detector, "fit", never)
    monkeypatch.setattr(Detector, "detect_prepared", never)
    monkeypatch.setattr("brainuad.benchmark.prepared.prepare_scan", never)
    run_benchmark("ixi-stroke", data=shared, out=out, methods=METHODS, settings=QUICK)
    assert (out / "results.csv").read_bytes() == before


@plain
def test_lost_map_is_made_again_and_is_the_same(out: Path, shared: Path):
    path = out / "maps" / "dae-tiny" / "s2_lesion.npz"
    before = load_kept(path).anomaly
    path.unlink()
    run_benchmark("ixi-stroke", data=shared, out=out, methods=METHODS, settings=QUICK)
    np.testing.assert_array_equal(load_kept(path).anomaly, before)


@plain
def test_interrupted_run_goes_on(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = Detector.detect_prepared
    calls = []

    def stop_at_third(self: Detector, *words: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *words, **options)

    run = {"data": shared, "out": tmp_path / "out", "methods": ["intensity:dark"]}
    monkeypatch.setattr(Detector, "detect_prepared", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark("ixi-stroke", **run, settings=QUICK)
    assert not (tmp_path / "out" / "results.csv").exists()
    run_benchmark("ixi-stroke", **run, settings=QUICK)
    assert len(calls) == 2 + 1 + 5  # two healthy maps, the stopped one, all five cases
    assert not [p for p in (tmp_path / "out").rglob(".*") if p.is_file()]


@plain
def test_mini_takes_fewer_cases_and_says_so(shared: Path, tmp_path: Path):
    settings = replace(QUICK, mini=True)
    page = run_benchmark(
        "ixi-stroke", data=shared, out=tmp_path, methods=["intensity:dark"], settings=settings
    )
    assert len(records(tmp_path / "per_case.csv")) == 3
    assert "not comparable" in page.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match=r"was made for .*mini.*choose another output folder"):
        run_benchmark("ixi-stroke", data=shared, out=tmp_path, settings=QUICK)


@plain
def test_detectors_of_an_earlier_run_are_used(
    out: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Detector, "fit", None)
    settings = replace(QUICK, detectors=out / "detectors")
    run_benchmark(
        "ixi-stroke", data=shared, out=tmp_path, methods=["healthy_atlas:dark"], settings=settings
    )
    old, new = (Detector.load(d / "detectors/healthy_atlas-dark") for d in (out, tmp_path))
    assert old.weights_hash == new.weights_hash


def test_a_fitted_detector_is_an_entry_by_its_folder(out: Path):
    name = next(p.name for p in sorted((out / "detectors").iterdir()) if p.name.startswith("h"))
    folder = out / "detectors" / name
    entry = Entry.parse(str(folder))
    assert (entry.detector, entry.label) == (folder, name)
    assert entry.method == Detector.load(folder).config.method


@plain
def test_where_all_entries_are_fitted_no_scan_is_prepared_to_fit_on(
    out: Path, shared: Path, tmp_path: Path
):
    folder = next((out / "detectors").glob("healthy_atlas*"))
    again = tmp_path / "again"
    run_benchmark("ixi-stroke", data=shared, out=again, methods=[str(folder)], settings=QUICK)
    assert not list(again.glob("prepared/*/train"))
    assert list(out.glob("prepared/*/train"))
    first, second = (
        [(r["subject"], r["kind"], r["auprc"]) for r in records(where / "per_case.csv")
         if where == again or r["method"] == "healthy_atlas"]
        for where in (out, again)
    )  # fmt: skip
    assert second
    assert set(second) <= set(first)


@plain
def test_a_file_of_settings_that_changed_since_is_refused(shared: Path, tmp_path: Path):
    path = tmp_path / "mine.yaml"

    def run(width: float) -> None:
        path.write_text(
            f"{{method: healthy_atlas, healthy_atlas: {{smooth_px: {width}}}}}",
            encoding="utf-8",
        )
        run_benchmark(
            "ixi-stroke", data=shared, out=tmp_path / "out", methods=[str(path)], settings=QUICK
        )

    run(1.0)
    assert Detector.load(tmp_path / "out/detectors/mine").config.options["smooth_px"] == 1.0
    with pytest.raises(UsageError, match=r"mine: was made before .*mine.yaml changed; delete it"):
        run(2.0)


def test_a_shipped_detector_is_an_entry_by_its_name():
    entry = Entry.parse("t1")
    assert entry.label == "t1-fpi"
    assert (entry.method, entry.preset) == ("fpi", "dark")


def test_other_training_than_before_is_refused(out: Path, shared: Path):
    with pytest.raises(UsageError, match="dae-tiny: was trained with steps 2, not 3; delete it"):
        run_benchmark("ixi-stroke", data=shared, out=out, methods=["dae:tiny@3"], settings=QUICK)


@plain
def test_scan_that_cannot_be_prepared_is_reported_and_scored_as_nothing_found(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail_for_one(scan: Any, how: Any) -> Any:
        if scan.subject == "s2_lesion":
            raise DataError("s2_lesion: registration failed; check it")
        return prepare_scan(scan, how)

    monkeypatch.setattr("brainuad.benchmark.prepared.prepare_scan", fail_for_one)
    page = run_benchmark(
        "ixi-stroke", data=shared, out=tmp_path, methods=["intensity:dark"], settings=QUICK
    )
    assert "registration failed" in page.read_text(encoding="utf-8")
    (line,) = [r for r in records(tmp_path / "per_case.csv")
               if (r["subject"], r["kind"]) == ("s2", "lesion")]  # fmt: skip
    assert float(line["dice_at_fpr_0.01"]) == 0


def test_patient_is_calibrated_outside_the_lesions(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def flair_alone(*words: Any) -> Any:
        task = volumes.mslub(*words)[0]
        return (replace(task, recipe=recipe("phantom")),)

    monkeypatch.setitem(LOADERS, "mslub", flair_alone)
    run_benchmark("mslub", data=shared, out=tmp_path, methods=METHODS, settings=QUICK)
    (row,) = [r for r in read_results(tmp_path / "results.csv") if r.metric == "auprc_subject"]
    assert (row.dataset, row.method, row.preset) == ("mslub/FLAIR", "intensity", "bright")
    assert row.value > 3 * value(tmp_path, "intensity", "prevalence")
    (healthy,) = (tmp_path / "prepared").rglob("calibration/*.npz")
    (tested,) = (tmp_path / "prepared").rglob("test/*.npz")
    truth = read_mask(
        tmp_path / "cases" / "patient26_flair_gt.nii.gz",
        like=read_scan(tmp_path / "cases" / "patient26_flair_img.nii.gz"),
    )
    brain = load_prepared(healthy).original.brain
    whole = load_prepared(tested).original.brain
    assert brain is not None
    assert whole is not None
    np.testing.assert_array_equal(brain, whole & ~truth)
