"""The program: what it writes, what it says, and the code with which it leaves."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainuad
from brainuad.cli import main
from brainuad.cli.basics import spread
from brainuad.cli.registry import field_meanings, options
from brainuad.config import dump_yaml, load_yaml
from brainuad.detector import Detector
from brainuad.evaluate.protocols import PROTOCOLS
from brainuad.method import method_class, method_names
from brainuad.nifti import read_scan, write_volume
from brainuad.pack import write_pack
from brainuad.phantom import phantom
from brainuad.prepare import prepare_scan, recipe
from brainuad.scan import Scan
from brainuad.simulate import plant
from brainuad.store import Store

SHAPE = (32, 40, 32)
AFFINE = np.diag([5.0, 5, 5, 1])
AFFINE[:3, 3] = [-77.5, -115, -68.75]
COMMANDS = (
    "demo", "prepare", "fit", "calibrate", "ensemble", "detect", "evaluate", "benchmark", "report",
    "simulate", "generate", "methods", "info", "data",
)  # fmt: skip


def person(name: str) -> Scan:
    return phantom(name, shape=SHAPE, affine=AFFINE)


def save(folder: Path, scan: Scan, name: str = "") -> Path:
    path = folder / f"{name or scan.subject + '_T1w'}.nii.gz"
    write_volume(path, scan.voxels, like=scan, kind="image", code=4)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """``run("detect", ...)``: exit code and what was said on standard error and output."""

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit, match=r"\d+") as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        said = " ".join((captured.out + captured.err).split())
        assert "Traceback" not in said
        return int(stop.value.code or 0), said

    return call


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of generated scans: healthy, others, test with its truth."""
    folder = tmp_path_factory.mktemp("cohort")
    for role, count in (("healthy", 3), ("others", 2)):
        for n in range(count):
            save(folder / role, person(f"sub-{role}{n}"))
    for n in range(2):
        planted = plant(person(f"sub-test{n}"), seed=0, volume_ml=20, contrast=0.9)
        save(folder / "test", planted.scan)
        path = folder / "truth" / f"{planted.scan.subject}_T1w_lesion.nii.gz"
        write_volume(path, planted.lesion, like=planted.scan, kind="mask", code=4)
    return folder


@pytest.fixture(scope="module")
def detector(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated detector, made by the program itself."""
    out = tmp_path_factory.mktemp("detectors") / "dark"
    with pytest.raises(SystemExit, match="0"):
        main([
            "fit", "-i", str(cohort / "healthy"), "-o", str(out), "--method", "intensity",
            "--preset", "dark", "--recipe", "phantom", "--calibrate", str(cohort / "others"),
        ])  # fmt: skip
    return out


@pytest.fixture(scope="module")
def found(cohort: Path, detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``detect`` wrote for the test scans."""
    out = tmp_path_factory.mktemp("found")
    scans = [str(p) for p in sorted((cohort / "test").iterdir())]
    with pytest.raises(SystemExit, match="0"):
        main(["detect", "-i", *scans, "-o", str(out), "-m", str(detector), "--level", "full"])
    return out


def fit_words(cohort: Path, out: Path, *more: object) -> list[object]:
    words = ["fit", "-i", cohort / "healthy", "-o", out, "--method", "dae", "--preset", "tiny"]
    return [*words, "--recipe", "phantom", "--steps", 2, *more]


# Packed scans


def test_packed_scans_are_fitted_on_in_place_of_files(run, cohort: Path, tmp_path):
    words = ["-o", tmp_path / "d", "--method", "intensity", "--recipe", "phantom"]
    affine, shape = AFFINE, SHAPE
    store = Store.create(
        tmp_path / "store",
        recipe_hash=recipe("phantom").hash,
        affine=affine,
        shape=shape,
        modality="T1w",
    )
    for n in range(2):
        store.add(prepare_scan(person(f"sub-packed{n}"), recipe("phantom")).scan)
    file = write_pack(store, tmp_path / "all.pack")
    assert run("fit", "--packed", file, *words)[0] == 0
    inputs = Detector.load(tmp_path / "d").config.provenance["inputs"]
    assert sorted(inputs) == ["sub-packed0", "sub-packed1"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give healthy scans with --input, or packed ones with --packed"),
        (["--packed", "none.pack"], 66, "none.pack: no such file"),
    ],
)
def test_a_fit_needs_scans_from_one_place(run, tmp_path, words, code, message):
    found = run("fit", *words, "-o", tmp_path / "d", "--method", "dae")
    assert found[0] == code
    assert message in found[1]
    assert not list(tmp_path.iterdir())


# What lies in the folder already


def test_a_detector_is_written_over_only_when_asked(run, cohort: Path, detector: Path, tmp_path):
    mine = shutil.copytree(detector, tmp_path / "mine")
    before = {p.name: p.read_bytes() for p in mine.iterdir()}
    words = ["fit", "-i", cohort / "healthy", "-o", mine, "-m", "intensity", "--recipe", "phantom"]
    code, said = run(*words)
    assert code == 2
    assert "holds a detector already (intensity, preset dark)" in said
    assert {p.name: p.read_bytes() for p in mine.iterdir()} == before
    assert not (tmp_path / "mine.work").exists()
    assert run(*words, "--replace")[0] == 0
    assert Detector.load(mine).config.preset == "default"


def test_thresholds_go_over_the_same_weights_alone(run, cohort: Path, detector: Path, tmp_path):
    mine = shutil.copytree(detector, tmp_path / "mine")
    other = tmp_path / "other"
    Detector.create("intensity", recipe="phantom").save(other)
    words = ["calibrate", "-i", cohort / "others", "-m", detector, "-o"]
    assert run(*words, mine)[0] == 0
    both = ["ensemble", "-m", detector, "-o", other]
    for refused in ([*words, other], both):
        code, said = run(*refused)
        assert code == 2
        assert "holds a detector already (intensity, preset default)" in said


@pytest.mark.parametrize("command", ["fit", "calibrate", "ensemble"])
def test_a_file_in_the_place_of_the_folder_is_refused(
    run, cohort: Path, detector: Path, tmp_path, command: str
):
    out = tmp_path / "d"
    out.write_text("x")
    words = {
        "fit": ["-i", cohort / "healthy", "-m", "intensity", "--recipe", "phantom"],
        "calibrate": ["-i", cohort / "others", "-m", detector],
        "ensemble": ["-m", detector, "-m", detector],
    }
    code, said = run(command, *words[command], "-o", out)
    assert code == 2
    assert "something else stands there" in said
    assert out.read_text() == "x"


def test_the_same_weights_with_other_settings_are_another_detector(
    run, cohort: Path, detector: Path, tmp_path
):
    mine = shutil.copytree(detector, tmp_path / "mine")
    settings = load_yaml(mine / "detector.yaml")
    settings["detector"]["postprocess"]["median"] = 5
    (mine / "detector.yaml").write_text(dump_yaml(settings))
    code, said = run("calibrate", "-i", cohort / "others", "-m", detector, "-o", mine)
    assert code == 2
    assert "holds a detector already (intensity, preset dark)" in said


@pytest.mark.parametrize("text", ["detector: foo", "- a list", "a: [", "\x00"])
def test_a_damaged_detector_is_one_too(run, cohort: Path, detector: Path, tmp_path, text: str):
    mine = shutil.copytree(detector, tmp_path / "mine")
    (mine / "detector.yaml").write_text(text)
    words = ["calibrate", "-i", cohort / "others", "-m", detector, "-o", mine]
    code, said = run(*words)
    assert code == 2
    assert "holds a detector already (unknown method, preset unknown)" in said
    assert run(*words, "--replace")[0] == 0
    assert Detector.load(mine).calibration is not None


def test_a_folder_with_other_files_is_refused_before_the_work(run, cohort: Path, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.doc").write_text("x")
    code, said = run(*fit_words(cohort, tmp_path / "d"))
    assert code == 65
    assert "holds other files" in said
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


# Ensembles


def test_detectors_are_joined_calibrated_and_asked(run, cohort: Path, detector: Path, tmp_path):
    other, both = tmp_path / "bright", tmp_path / "both"
    fit = ["fit", "-i", cohort / "healthy", "-o", other, "--method", "intensity"]
    assert run(*fit, "--preset", "bright", "--recipe", "phantom")[0] == 0
    members = ["-m", detector, "-m", f"{other}=0.5"]
    code, said = run("ensemble", *members, "-o", both, "--calibrate", cohort / "others")
    assert code == 0
    assert "threshold at 1 % healthy false positives" in said
    scan = next((cohort / "test").iterdir())
    assert run("detect", "-i", scan, "-m", both, "-o", tmp_path / "out")[0] == 0
    record = json.loads(next((tmp_path / "out").glob("*_uad.json")).read_text())
    assert record["method"] == "ensemble"
    assert record["components"] >= 1


def test_a_file_describes_an_ensemble(run, detector: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = tmp_path / "again"
    Detector.load(detector).save(again)
    file = tmp_path / "e.yaml"
    file.write_text(f"members:\n  {detector}: 1\n  again: 0.25\nabout: two alike\n")
    code, said = run("ensemble", "--config", file, "-o", tmp_path / "both")
    assert code == 0
    assert "no thresholds yet" in said
    made = Detector.load(tmp_path / "both").config
    assert made.about == "two alike"
    weights = {name: m["weight"] for name, m in made.options["members"].items()}
    assert weights == {detector.name: 1.0, "again": 0.25}


def test_two_members_of_one_name_are_refused(run, detector: Path, tmp_path):
    Detector.load(detector).save(tmp_path / detector.name)
    members = ["-m", detector, "-m", tmp_path / detector.name]
    for twice in (members, ["-m", detector, "-m", f"{detector}=2"]):
        code, said = run("ensemble", *twice, "-o", tmp_path / "both")
        assert code == 2
        assert f"two detectors are called {detector.name}; rename" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "t1=much"], "t1=much: 'much' is no weight; give NAME=0.5"),
        (["-m", "nothing-such"], "nothing-such: no such detector folder"),
        (["-m", "intensity"], "no such detector folder"),
        ([], "0 detector(s); give at least two"),
    ],
)
def test_ensembles_that_cannot_be_are_refused(run, tmp_path, words, message):
    code, said = run("ensemble", *words, "-o", tmp_path / "both")
    assert code in (2, 66)
    assert message in said
    assert not (tmp_path / "both").exists()


# Help and registries


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_examples(run, command: str):
    code, said = run(command, "--help")
    assert code == 0
    assert f"brainuad {command}" in said
    assert "Examples" in said


def test_help_lists_every_command_and_needs_no_torch():
    program = (
        "import sys\n"
        "from brainuad.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n"
        "    sys.exit(stop.code or ('torch' in sys.modules) or ('numpy' in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


def test_version(run):
    assert run("--version") == (0, f"brainuad {brainuad.__version__}")


def test_methods_as_json_lists_every_method(run):
    code, said = run("methods", "--json")
    found = json.loads(said)
    assert code == 0
    assert sorted(found) == list(method_names())
    wanted = {"title", "paper", "supervision", "space", "calls_per_scan", "presets", "options"}
    assert all(wanted <= set(m) for m in found.values())
    calls = [found[n]["calls_per_scan"] for n in ("intensity", "dae", "mad_ad", "pddpm", "fpi")]
    assert calls == [0, 80, 800, 320, 160]
    assert found["intensity"]["parameters"] == 0 < found["dae"]["parameters"]


@pytest.mark.parametrize("name", method_names())
def test_every_option_of_a_method_is_explained(run, name: str):
    code, said = run("methods", name, "--json")
    found = json.loads(said)
    assert code == 0
    assert all(option["meaning"] for option in found["options"].values())
    stems = {option.partition(".")[0] for option in found["options"]}
    assert stems == set(method_class(name).Options.__dataclass_fields__)


def test_methods_for_people(run):
    code, said = run("methods")
    assert code == 0
    assert "calls: of the net, at most" in said
    assert "learns" in said
    code, said = run("methods", "dae")
    assert code == 0
    assert "noise_std" in said
    assert "training: {" in said
    assert "Kascenas" in said


def test_inherited_options_are_listed_too():
    kind = method_class("mddpm").Options
    assert set(field_meanings(kind)) == set(kind.__dataclass_fields__)
    assert all(field_meanings(kind).values())


def test_field_meanings_are_the_texts_below_the_fields():
    found = field_meanings(method_class("intensity").Options)
    assert list(found) == ["dark", "equalise"]
    assert found["dark"].startswith("Dark voxels")
    assert options(method_class("intensity").Options)["dark"]["default"] is False


def test_info(run):
    code, said = run("info", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["brainuad"] == brainuad.__version__
    assert "cpu" in found["devices"]
    assert "default-t1" in found["recipes"]
    assert "torch" in found["versions"]
    assert run("info")[0] == 0


# Options


@given(st.lists(st.sampled_from(["-i", "-o", "--set", "a", "b", "c=1", "--flag"]), max_size=8))
def test_spread_repeats_only_the_options_that_it_may(words: list[str]):
    found = spread(words, {"-i", "--set"})
    assert [w for w in found if not w.startswith("-")] == [w for w in words if w[0] != "-"]
    for option in ("-o", "--flag"):
        assert found.count(option) == words.count(option)
    assert spread(found, {"-i", "--set"}) == found


def test_spread_gives_each_value_its_option():
    assert spread(["-i", "a", "b", "-o", "c"], {"-i"}) == ["-i", "a", "-i", "b", "-o", "c"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detect", "-o", "x", "-m", "y"], "Missing option '--input'"),
        (["detect", "-i", "x", "-o", "x", "-m", "y", "--level", "much"], "'much'"),
        (["nothing"], "No such command 'nothing'"),
        (["fit", "-i", "x", "-o", "y"], "--method: none is given; choose one of "),
        (["fit", "-i", "x", "-o", "y", "--method", "dea"], "method 'dea': unknown; choose from"),
        (["fit", "-i", "x", "-o", "y", "--method", "dae", "--preset", "z"], "unknown preset 'z'"),
        (
            ["fit", "-i", "x", "-o", "y", "--method", "dae", "--set", "dae.nois=1"],
            "dae.nois: unknown setting; known: augment",
        ),
        (
            ["fit", "-i", "x", "-o", "y", "--method", "dae", "--set", "training.steps=-1"],
            "training.steps",
        ),
        (["fit", "-i", "x", "-o", "y", "--method", "dae", "--recipe", "r"], "recipe 'r': unknown"),
        (["methods", "dea"], "method 'dea': unknown"),
        (["prepare", "-i", "x.nii", "-o", "y", "--recipe", "r"], "recipe 'r': unknown"),
    ],
)
def test_wrong_usage_leaves_with_2(run, words: list[str], message: str):
    code, said = run(*words)
    assert code == 2
    assert message in said


# Prepare


def test_prepare_writes_the_scan_its_brain_and_a_page(run, cohort: Path, tmp_path: Path):
    scan = sorted((cohort / "test").iterdir())[0]
    code, _ = run("prepare", "-i", scan, "-o", tmp_path, "--recipe", "phantom")
    stem = scan.name.removesuffix(".nii.gz")
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{stem}_prepared.nii.gz", f"{stem}_brain.nii.gz", f"{stem}_prepare.json",
        "pictures", "index.html",
    }  # fmt: skip
    brain = read_scan(tmp_path / f"{stem}_brain.nii.gz")
    given = read_scan(scan)
    assert (brain.affine == given.affine).all()
    assert ((brain.voxels > 0) == (given.voxels > 0)).all()
    voxels = read_scan(tmp_path / f"{stem}_prepared.nii.gz").voxels
    assert voxels.min() >= 0
    assert voxels.max() <= 1
    assert json.loads((tmp_path / f"{stem}_prepare.json").read_text())["recipe"]["name"]


# Fit and calibrate


def test_fit_writes_a_detector_and_clears_its_work(detector: Path):
    names = {"detector.yaml", "weights.safetensors", "calibration.json", "card.md"}
    assert {p.name for p in detector.iterdir()} == names
    assert [p.name for p in detector.parent.iterdir()] == [detector.name]


def test_fit_takes_a_table_and_settings(run, cohort: Path, tmp_path: Path):
    scans = sorted((cohort / "healthy").iterdir())
    lines = ["path\tsubject", *(f"{path}\tp{n}" for n, path in enumerate(scans))]
    (tmp_path / "healthy.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "fit.yaml").write_text(
        "method: dae\npreset: tiny\nrecipe: phantom\ntraining: {steps: 1, lr: 1e-4}\n"
    )
    code, said = run(
        "fit", "-i", tmp_path / "healthy.tsv", "-o", tmp_path / "d", "--config",
        tmp_path / "fit.yaml", "--set", "dae.noise_std=0.3", "training.lr=2e-3",
    )  # fmt: skip
    made = Detector.load(tmp_path / "d")
    assert code == 0, said
    assert made.config.options["noise_std"] == 0.3
    training = made.config.provenance["config"]["training"]
    (stage,) = made.method.stages
    assert made.config.provenance["config"]["steps"] == {stage: 1}
    assert f"Optimiser steps: {stage} 1." in (tmp_path / "d" / "card.md").read_text()
    assert (training["steps"], training["lr"]) == (1, 2e-3)
    assert sorted(made.config.provenance["inputs"]) == ["p0", "p1", "p2"]
    assert made.calibration is None
    assert "no thresholds yet" in said


def test_a_bad_scan_stops_the_fit_after_all_were_looked_at(run, cohort: Path, tmp_path: Path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"")
    code, said = run(*fit_words(cohort, tmp_path / "d"), "-i", bad)
    assert code == 1
    assert "1 of 4 scans failed" in said
    assert not (tmp_path / "d").exists()
    code, said = run(*fit_words(cohort, tmp_path / "d"))
    assert code == 0
    assert said.count("prepared before") == 3


def test_an_unfinished_fit_is_gone_on_with_or_dropped(
    run, cohort: Path, tmp_path: Path, monkeypatch
):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "fit", stop)
        code, said = run(*fit_words(cohort, tmp_path / "d"))
    assert code == 130
    assert "interrupted" in said
    assert not (tmp_path / "d").exists()
    code, said = run(*fit_words(cohort, tmp_path / "d"), "--seed", 1)
    assert code == 2
    assert "unfinished fit with other settings" in said
    code, said = run(*fit_words(cohort, tmp_path / "d"), "--seed", 1, "--fresh")
    assert code == 0, said
    assert not (tmp_path / "d.work").exists()


def test_scans_left_from_another_fit_are_not_used(run, cohort: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Detector, "fit", lambda *_, **__: 1 / 0)
    assert run(*fit_words(cohort, tmp_path / "d"))[0] == 70
    scans = sorted((cohort / "healthy").iterdir())[:2]
    words = fit_words(cohort, tmp_path / "d")
    words[2:3] = scans
    code, said = run(*words)
    assert code == 2
    assert "holds sub-healthy2, which is not given now" in said


def test_work_folder_with_other_files_is_refused(run, cohort: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("x")
    code, said = run(*fit_words(cohort, tmp_path / "d", "--work", tmp_path))
    assert code == 2
    assert "holds other files; choose another folder with --work" in said


def test_two_scans_of_one_subject_are_refused(run, cohort: Path, tmp_path: Path):
    again = save(tmp_path, person("sub-healthy0"), "sub-healthy0_run-2_T1w")
    code, said = run(*fit_words(cohort, tmp_path / "d"), "-i", again)
    assert code == 1
    assert "a second scan of sub-healthy0" in said


def test_calibrate_refuses_scans_that_were_fitted_on(run, cohort: Path, detector: Path):
    code, said = run("calibrate", "-i", cohort / "healthy", "-m", detector)
    assert code == 65
    assert "was fitted on, as sub-healthy0, so it cannot calibrate" in said


def copies_called(name: str, folder: Path, scans: Path) -> Path:
    """Copies of scans, of subjects NAME0, NAME1 and so on."""
    folder.mkdir()
    for number, path in enumerate(sorted(scans.glob("*_T1w.nii.gz"))):
        shutil.copy(path, folder / f"{name}{number}_T1w.nii.gz")
    return folder


def test_a_file_of_the_fit_cannot_calibrate_under_another_name(
    run, cohort: Path, detector: Path, tmp_path: Path
):
    others = copies_called("sub-x", tmp_path / "renamed", cohort / "healthy")
    code, said = run("calibrate", "-i", others, "-m", detector, "--namesakes")
    assert code == 65
    assert "was fitted on, as sub-healthy0, so it cannot calibrate" in said


def test_other_people_of_the_same_names_calibrate_when_that_is_said(
    run, cohort: Path, detector: Path, tmp_path: Path
):
    others = copies_called("sub-healthy", tmp_path / "namesakes", cohort / "others")
    words = ["calibrate", "-i", others, "-m", detector, "-o", tmp_path / "made"]
    code, said = run(*words)
    assert code == 65
    assert "another person of that name: brainuad calibrate --namesakes" in said
    code, said = run(*words, "--namesakes")
    assert code == 0, said
    assert "sub-healthy0" in Detector.load(tmp_path / "made").calibration.subjects


def test_a_shipped_detector_is_calibrated_into_a_folder_that_is_named(run, cohort: Path):
    code, said = run("calibrate", "-i", cohort / "others", "-m", "t1")
    assert code == 2
    assert "t1: not a folder of your own; say with --out where it shall go" in said


def test_calibrate_may_write_to_another_folder(run, cohort: Path, detector: Path, tmp_path: Path):
    scan = sorted((cohort / "others").iterdir())[0]
    code, said = run(
        "calibrate", "-i", scan, "-m", detector, "-o", tmp_path / "d", "--cohort", "site 2"
    )
    made = Detector.load(tmp_path / "d").calibration
    assert code == 0, said
    assert made is not None
    assert (made.n, made.cohort) == (1, "site 2")
    kept = Detector.load(detector).calibration
    assert kept is not None
    assert kept.n == 2


def test_thresholds_that_hold_no_longer_are_made_again(
    run, cohort: Path, detector: Path, tmp_path: Path
):
    shutil.copytree(detector, tmp_path / "d")
    settings = tmp_path / "d" / "detector.yaml"
    settings.write_text(settings.read_text().replace("median: 3", "median: 5"))
    scan = sorted((cohort / "others").iterdir())[0]
    code, said = run("detect", "-i", scan, "-m", tmp_path / "d", "-o", tmp_path / "out")
    assert code == 65
    assert "run `brainuad calibrate` again" in said
    assert run("calibrate", "-i", scan, "-m", tmp_path / "d")[0] == 0
    assert run("detect", "-i", scan, "-m", tmp_path / "d", "-o", tmp_path / "out")[0] == 0


# Detect


def test_detect_writes_what_the_contract_says(cohort: Path, found: Path):
    for n in range(2):
        stem = f"sub-test{n}_T1w"
        names = {p.name.removeprefix(stem) for p in found.glob(f"{stem}*")}
        assert {
            "_anomalymap.nii.gz", "_mask.nii.gz", "_healthy.nii.gz", "_components.tsv", ".html",
            "_uad.json",
        } <= names  # fmt: skip
        given = read_scan(cohort / "test" / f"{stem}.nii.gz")
        anomaly = read_scan(found / f"{stem}_anomalymap.nii.gz")
        assert (anomaly.affine == given.affine).all()
        assert anomaly.voxels.shape == given.voxels.shape
        assert anomaly.voxels[given.voxels == 0].max() == 0


def test_record_says_what_a_reader_needs(cohort: Path, found: Path):
    record = json.loads((found / "sub-test0_T1w_uad.json").read_text())
    scan = str(cohort / "test" / "sub-test0_T1w.nii.gz")
    assert {"score", "healthy_percentile", "threshold", "seconds", "hashes", "files"} <= set(record)
    assert record["threshold"]["source"] == "healthy-fpr"
    assert record["threshold"]["rate"] == 0.01
    assert list(record["run"]["inputs"]) == [scan]
    assert record["run"]["versions"]["torch"]


def test_detect_twice_writes_the_same_bytes(run, cohort: Path, detector: Path, tmp_path: Path):
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    written = []
    for size in (1, 7):
        run("detect", "-i", scan, "-o", tmp_path, "-m", detector, "--batch-size", size)
        written.append({p.name: p.read_bytes() for p in tmp_path.glob("*.nii.gz")})
    assert written[0] == written[1]


def test_minimal_level_writes_mask_table_and_record(run, cohort, detector: Path, tmp_path: Path):
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    run("detect", "-i", scan, "-o", tmp_path, "-m", detector, "--level", "minimal")
    names = {p.name.removeprefix("sub-test0_T1w") for p in tmp_path.iterdir()}
    assert names == {"_mask.nii.gz", "_components.tsv", "_uad.json"}


def test_a_lower_rate_marks_less(run, cohort: Path, detector: Path, tmp_path: Path):
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    marked = []
    for rate in (0.05, 0.001):
        run(
            "detect", "-i", scan, "-o", tmp_path, "-m", detector, "--rate", rate,
            "--level", "minimal",
        )  # fmt: skip
        marked.append(read_scan(tmp_path / "sub-test0_T1w_mask.nii.gz").voxels > 0)
    assert marked[1].sum() < marked[0].sum()
    assert not (marked[1] & ~marked[0]).any()


def test_a_detector_without_thresholds_and_a_rate_without_one_are_refused_at_once(
    run, cohort: Path, detector: Path, tmp_path: Path
):
    bare = tmp_path / "bare"
    Detector.create("intensity", recipe="phantom").save(bare)
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    code, said = run("detect", "-i", scan, "-o", tmp_path / "out", "-m", bare)
    assert code == 2
    assert "has no thresholds, so it can mark nothing" in said
    words = ["detect", "-i", scan, "-o", tmp_path / "out", "-m", detector, "--rate", "0.02"]
    code, said = run(*words)
    assert code == 65
    assert "no threshold for the rate 0.02; choose 0.001, 0.01, 0.05" in said
    assert not (tmp_path / "out").exists()


def test_cells_that_the_encoder_cannot_hide_are_refused_before_the_work(
    run, cohort: Path, tmp_path: Path
):
    words = ["fit", "-i", cohort / "healthy", "-o", tmp_path / "d", "-m", "cddpm"]
    change = ["--preset", "tiny", "--recipe", "phantom", "--set", "cddpm.pretraining.cell_px=5"]
    code, said = run(*words, *change)
    assert code == 2
    assert "pretraining: cells of 5 px" in said
    assert not list(tmp_path.iterdir())


def test_what_is_doubtful_is_said_while_detecting(run, cohort: Path, detector: Path, tmp_path):
    low = shutil.copytree(detector, tmp_path / "low")
    calibration = json.loads((low / "calibration.json").read_text())
    calibration["thresholds"] = dict.fromkeys(calibration["thresholds"], 1e-6)
    (low / "calibration.json").write_text(json.dumps(calibration))
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    code, said = run("detect", "-i", scan, "-o", tmp_path / "out", "-m", low)
    assert code == 0
    assert "of the brain is marked, where 1 % of a healthy one is" in said
    (record,) = (tmp_path / "out").glob("*_uad.json")
    assert "of the brain is marked" in json.loads(record.read_text())["remarks"][0]


def test_reasons_are_said_once(run, detector: Path, tmp_path: Path):
    bad = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    code, said = run("detect", "-i", *bad, "-o", tmp_path / "out", "-m", detector)
    assert code == 1
    assert said.count("no such file") == 2
    assert said.count("a.nii.gz") == 2


def test_one_bad_scan_does_not_stop_the_others(run, cohort: Path, detector: Path, tmp_path: Path):
    good = cohort / "test" / "sub-test0_T1w.nii.gz"
    code, said = run(
        "detect", "-i", tmp_path / "none.nii.gz", good, "-o", tmp_path / "out", "-m", detector,
        "--level", "minimal",
    )  # fmt: skip
    assert code == 1
    assert "1 of 2 scans failed" in said
    assert "none.nii.gz: no such file" in said
    assert (tmp_path / "out" / "sub-test0_T1w_uad.json").exists()
    assert not list((tmp_path / "out").glob("none*"))


def broken(kind: str, folder: Path) -> Path:
    path = folder / "bad.nii.gz"
    scan = person("bad")
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(save(folder, scan, "whole").read_bytes()[:-2000])
    elif kind == "zero":
        save(folder, phantom_of(np.zeros(SHAPE, np.float32)), "bad")
    return path


def phantom_of(voxels: np.ndarray) -> Scan:
    return Scan(voxels=voxels, affine=AFFINE, modality="T1w", subject="bad")


@pytest.mark.parametrize(
    ("kind", "code"), [("missing", 66), ("folder", 65), ("empty", 65), ("cut", 65), ("zero", 65)]
)
def test_a_single_bad_scan_leaves_with_its_own_code(
    run, detector: Path, tmp_path: Path, kind: str, code: int
):
    scan = broken(kind, tmp_path)
    found, said = run("detect", "-i", scan, "-o", tmp_path / "out", "-m", detector)
    assert found == code
    assert said.startswith("brainuad: error: ")
    assert said.count("error") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_a_brain_mask_of_another_shape(run, cohort: Path, detector: Path, tmp_path: Path):
    small = phantom("small", shape=(20, 24, 20), affine=AFFINE)
    assert small.brain is not None
    write_volume(tmp_path / "m.nii.gz", small.brain, like=small, kind="mask")
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    words = ["detect", "-i", scan, "-o", tmp_path / "o", "-m", detector, "--brain"]
    code, said = run(*words, tmp_path / "m.nii.gz")
    assert code == 65
    assert "mask has shape (20, 24, 20)" in said
    code, said = run(*words, tmp_path / "m.nii.gz", tmp_path / "m.nii.gz")
    assert code == 2
    assert "2 masks for 1 scans" in said


def test_scans_of_one_name_are_refused(run, cohort: Path, detector: Path, tmp_path: Path):
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    code, said = run("detect", "-i", scan, scan, "-o", tmp_path, "-m", detector)
    assert code == 2
    assert "has the same name as" in said


@pytest.mark.parametrize(("device", "code"), [("gpu", 2), ("cuda:97", 69)])
def test_a_device_that_is_not_there(run, cohort: Path, detector: Path, device: str, code: int):
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    found, said = run("detect", "-i", scan, "-o", "x", "-m", detector, "--device", device)
    assert found == code
    assert f"device '{device}'" in said


@pytest.mark.parametrize(
    ("part", "damage", "code"),
    [
        ("weights.safetensors", None, 66),
        ("weights.safetensors", b"x", 65),
        ("detector.yaml", None, 66),
        ("calibration.json", b"{", 65),
    ],
)
def test_a_detector_with_a_bad_part(
    run, cohort, detector: Path, tmp_path: Path, part: str, damage: bytes | None, code: int
):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in detector.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    if damage is None:
        (copy / part).unlink()
    else:
        (copy / part).write_bytes(damage)
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    found, said = run("detect", "-i", scan, "-o", tmp_path / "o", "-m", copy)
    assert found == code
    assert part in said


def test_a_detector_that_is_not_there(run, tmp_path: Path):
    code, said = run("detect", "-i", "x.nii.gz", "-o", tmp_path / "o", "-m", tmp_path / "none")
    assert code == 66
    assert "no such detector folder" in said


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 75, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 75, "no space left"),
        (OSError(errno.EACCES, "Permission denied"), 77, "may not be read or written"),
    ],
)
def test_what_stops_detection_leaves_nothing_half_written(
    run, cohort, detector: Path, tmp_path: Path, monkeypatch, error: BaseException, code: int,
    message: str,
):  # fmt: skip
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("brainuad.report.found.write_page", fail)
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    found, said = run("detect", "-i", scan, "-o", tmp_path / "out", "-m", detector)
    assert found == code
    assert message in said
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bug_is_told_in_one_line_with_a_crash_file(
    run, cohort: Path, detector: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Detector, "detect", lambda *_, **__: {}["x"])
    scan = cohort / "test" / "sub-test0_T1w.nii.gz"
    code, said = run("detect", "-i", scan, "-o", tmp_path / "o", "-m", detector)
    assert code == 70
    (crash,) = tmp_path.glob("brainuad-crash-detect-sub-test0_T1w-*.txt")
    assert crash.name in said.replace(" ", "")
    assert "KeyError" in crash.read_text()
    assert str(scan) in crash.read_text()


# Evaluate and report


def test_evaluate_a_folder(run, cohort: Path, found: Path, tmp_path: Path):
    code, said = run("evaluate", "-i", found, "--truth", cohort / "truth", "-o", tmp_path)
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert code == 0, said
    assert rows[0] == (
        "dataset,method,preset,seed,metric,value,low,high,n,protocol,threshold_source"
    )
    assert any(row.startswith("truth,intensity,dark,0,auprc_subject,") for row in rows)
    assert any("dice_at_fpr_0.01" in row and "healthy-fpr" in row for row in rows)
    assert {p.name for p in tmp_path.iterdir()} == {"results.csv", "cases.csv", "index.html"}


def test_evaluate_a_table_with_healthy_scans(run, cohort: Path, found: Path, tmp_path: Path):
    lines = [
        "map\tlesion\tsubject",
        f"sub-test0_T1w_anomalymap.nii.gz\t{cohort}/truth/sub-test0_T1w_lesion.nii.gz\tone",
        "sub-test1_T1w_anomalymap.nii.gz\t\ttwo",
    ]
    (tmp_path / "truth.tsv").write_text("\n".join(lines) + "\n")
    code, said = run(
        "evaluate", "-i", found, "--truth", tmp_path / "truth.tsv", "-o", tmp_path / "o"
    )
    assert code == 0, said
    cases = (tmp_path / "o" / "cases.csv").read_text()
    assert "one,lesion" in cases
    assert "two,clean" in cases
    assert "healthy_fp_ml" in (tmp_path / "o" / "results.csv").read_text()


def test_evaluate_with_the_thresholds_of_a_detector(
    run, cohort: Path, found: Path, detector: Path, tmp_path: Path
):
    words = ["evaluate", "-i", found, "--truth", cohort / "truth", "-o", tmp_path]
    assert run(*words, "-m", detector)[0] == 0
    text = (tmp_path / "results.csv").read_text()
    assert all(f"dice_at_fpr_{rate}," in text for rate in ("0.001", "0.01", "0.05"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-i", "{none}", "--truth", "{truth}"], 66, "no such folder"),
        (["-i", "{truth}", "--truth", "{truth}"], 66, "no X_anomalymap.nii.gz"),
        (["-i", "{found}", "--truth", "{none}"], 66, "no such folder"),
        (["-i", "{found}", "--truth", "{found}/none.tsv"], 66, "no such file"),
        (["-i", "{found}", "--truth", "{healthy}"], 66, "no sub-test0_T1w_lesion.nii.gz"),
        (["-i", "{found}", "--truth", "{truth}", "--protocol", "p"], 2, "protocol 'p': unknown"),
    ],
)
def test_evaluate_says_what_is_wrong(
    run, cohort, found: Path, tmp_path: Path, words: list[str], code: int, message: str
):
    places = {
        "none": tmp_path / "none", "found": found, "truth": cohort / "truth",
        "healthy": cohort / "healthy",
    }  # fmt: skip
    got, said = run("evaluate", "-o", tmp_path / "o", *(w.format(**places) for w in words))
    assert got == code
    assert message in said
    assert not (tmp_path / "o").exists()


def renamed(found: Path, cohort: Path, folder: Path) -> tuple[Path, Path]:
    """The same maps and lesions under the names of other subjects."""
    for source, kind in ((found, "anomalymap"), (cohort / "truth", "lesion")):
        (folder / kind).mkdir()
        for path in source.glob(f"*_{kind}.nii.gz"):
            (folder / kind / path.name.replace("test", "ill")).write_bytes(path.read_bytes())
    for path in found.glob("*_brain.nii.gz"):
        place = folder / "anomalymap" / path.name.replace("test", "ill")
        place.write_bytes(path.read_bytes())
    return folder / "anomalymap", folder / "lesion"


def test_evaluate_with_labelled_validation_scans(run, cohort: Path, found: Path, tmp_path: Path):
    maps, lesions = renamed(found, cohort, tmp_path)
    code, said = run(
        "evaluate", "-i", found, "--truth", cohort / "truth", "-o", tmp_path / "o",
        "--protocol", "behrendt", "--validation", maps, "--validation-truth", lesions,
    )  # fmt: skip
    assert code == 0, said
    assert "warning: protocol behrendt: the threshold is chosen on the lesions of" in said
    results = (tmp_path / "o" / "results.csv").read_text()
    assert "dice_at_validation" in results
    assert ",behrendt,labelled-validation" in results
    page = (tmp_path / "o" / "index.html").read_text()
    assert "published grid: volumes of 96 x 96 x 50 at 2 mm" in page
    assert "Dice at the threshold of the validation scans" in page


def test_evaluate_with_healthy_validation_scans(run, cohort: Path, found: Path, tmp_path: Path):
    maps, _ = renamed(found, cohort, tmp_path)
    code, said = run(
        "evaluate", "-i", found, "--truth", cohort / "truth", "-o", tmp_path / "o",
        "--protocol", "uad-imag", "--validation", maps,
    )  # fmt: skip
    assert code == 0, said
    assert "(oracle)" in said
    assert "dice_at_fpr_0.01" in (tmp_path / "o" / "results.csv").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["behrendt"], 2, "give them as validation= (--validation FOLDER)"),
        (["behrendt", "--validation", "{found}"], 2, "give --validation-truth FOLDER or TSV"),
        (["behrendt", "--validation-truth", "{truth}"], 2, "given without maps"),
        (["kascenas", "--validation", "{found}"], 2, "takes no validation scans"),
        (["uad-imag", "--validation", "{truth}"], 66, "no X_anomalymap.nii.gz"),
        (
            ["behrendt", "--validation", "{found}", "--validation-truth", "{truth}"],
            65,
            "is in both validation and test",
        ),
        (["andi", "--model", "{found}"], 2, "has thresholds of its own; leave --model out"),
        (["meissen"], 65, "takes number 15 to 124 of 155 slices"),
    ],
)
def test_evaluate_says_what_a_published_protocol_lacks(
    run, cohort, found: Path, tmp_path: Path, words: list[str], code: int, message: str
):
    places = {"found": found, "truth": cohort / "truth"}
    got, said = run(
        "evaluate", "-i", found, "--truth", cohort / "truth", "-o", tmp_path / "o",
        "--protocol", *(word.format(**places) for word in words),
    )  # fmt: skip
    assert got == code
    assert message in said
    assert not (tmp_path / "o").exists()


def test_the_help_of_evaluate_names_every_protocol(run):
    code, said = run("evaluate", "--help")
    assert code == 0
    names = said.partition("Protocols: ")[2].partition(". brainuad info")[0]
    assert names.replace(" ", "").split(",") == list(PROTOCOLS)


def test_a_table_without_the_needed_column(run, found: Path, tmp_path: Path):
    (tmp_path / "t.csv").write_text("map,mask\na,b\n")
    code, said = run("evaluate", "-i", found, "--truth", tmp_path / "t.csv", "-o", tmp_path / "o")
    assert code == 65
    assert "no column 'lesion' among map, mask" in said


def test_report_makes_pages_again(run, found: Path, tmp_path: Path):
    for path in found.iterdir():
        if path.suffix != ".html":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    code, said = run("report", tmp_path)
    assert code == 0, said
    again = (tmp_path / "sub-test0_T1w.html").read_text()
    first = (found / "sub-test0_T1w.html").read_text()
    for words in ("sub-test0_T1w.nii.gz", "healthy percentile", "data:image/png"):
        assert again.count(words) == first.count(words)


def test_report_of_a_table(run, tmp_path: Path):
    line = "phantom,dae,tiny,0,auprc_subject,0.5,0.4,0.6,12,brainuad,none"
    head = "dataset,method,preset,seed,metric,value,low,high,n,protocol,threshold_source"
    (tmp_path / "results.csv").write_text(f"{head}\n{line}\n")
    assert run("report", tmp_path)[0] == 0
    assert "0.400 to 0.600" in (tmp_path / "index.html").read_text()


def test_report_of_nothing(run, tmp_path: Path):
    code, said = run("report", tmp_path)
    assert code == 66
    assert "holds neither X_uad.json nor results.csv" in said
    assert run("report", tmp_path / "none")[0] == 66


def test_report_of_a_damaged_record(run, tmp_path: Path):
    (tmp_path / "x_uad.json").write_text("{")
    code, said = run("report", tmp_path)
    assert code == 65
    assert "damaged" in said


def test_report_of_a_scan_that_has_gone(run, found: Path, tmp_path: Path):
    record = json.loads((found / "sub-test0_T1w_uad.json").read_text())
    record["preparation"]["input"]["path"] = "gone.nii.gz"
    (tmp_path / "sub-test0_T1w_uad.json").write_text(json.dumps(record))
    code, said = run("report", tmp_path)
    assert code == 66
    assert "was made from gone.nii.gz, which is not there" in said


# Benchmark and demo


def test_benchmark_hands_its_options_on(run, tmp_path: Path, monkeypatch):
    seen: dict[str, Any] = {}

    def record(name: str, **options: Any) -> Path:
        seen.update(options, name=name)
        return tmp_path / "index.html"

    monkeypatch.setattr("brainuad.benchmark.run_benchmark", record)
    code, said = run(
        "benchmark", "ixi-stroke", "-o", tmp_path, "--data", "d", "--methods", "dae", "mad_ad@9m",
        "--set", "training.steps=7", "--mini", "--no-progress",
    )  # fmt: skip
    assert code == 0, said
    assert seen["methods"] == ["dae", "mad_ad@9m"]
    settings = seen["settings"]
    assert (settings.training.steps, settings.mini, settings.progress) == (7, True, False)
    assert "report:" in said


def test_benchmark_settings_hold_the_training_alone(run, tmp_path: Path):
    (tmp_path / "x.yaml").write_text("method: dae\n")
    code, said = run("benchmark", "ixi-stroke", "-o", "x", "--config", tmp_path / "x.yaml")
    assert code == 2
    assert "unknown setting 'method'; known: training" in said


def test_demo_says_where_its_page_is(run, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("brainuad.demo.run_demo", lambda out, **_: out / "index.html")
    code, said = run("demo", "-o", tmp_path)
    assert code == 0
    assert f"report: {tmp_path / 'index.html'}" in said


# What a first-time user met


def test_pictures_are_prepared_by_the_recipe_for_slices(run, tmp_path: Path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for n in range(2):
        values = np.random.default_rng(n).integers(0, 255, (24, 20), np.uint8)
        Image.fromarray(values).save(tmp_path / "in" / f"sub-{n}_T1w.png")
    code, said = run("prepare", "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0, said
    report = json.loads((tmp_path / "out" / "sub-0_T1w_prepare.json").read_text())
    assert report["recipe"]["name"] == "slices"
    mixed = save(tmp_path / "in2", person("sub-x"))
    picture = tmp_path / "in" / "sub-0_T1w.png"
    code, said = run("prepare", "-i", mixed, picture, "-o", tmp_path / "out2")
    assert code == 2
    assert "pictures and volumes in one run; prepare them apart" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,brian\na.nii,b.nii\n", "column 'brian' is unknown; is it 'brain'?"),
        (b"path;brain\na.nii;b.nii\n", "no column 'path' among path;brain (commas between cells)"),
        ("path,subject\nM\xfcller.nii,1\n".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_tables_that_are_not_what_they_seem(run, tmp_path: Path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    code, said = run("prepare", "-i", tmp_path / "t.csv", "-o", tmp_path / "out")
    assert code == 65
    assert message in said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_stopped_has_a_page_of_what_is_done(
    run, cohort: Path, tmp_path: Path, monkeypatch, workers: int
):
    from brainuad.cli import preparing

    words = ["prepare", "-i", cohort / "healthy", "-o", tmp_path, "--recipe", "phantom"]
    tell, told = preparing.told, []

    def stop_after_two(done: Any) -> None:
        tell(done)
        told.append(done.name)
        if len(told) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "told", stop_after_two)
    code, said = run(*words, "--workers", workers)
    assert code == 130
    assert f"page of what is done: {tmp_path / 'index.html'}" in said
    text = (tmp_path / "index.html").read_text()
    there = {p.name.removesuffix("_prepare.json") for p in tmp_path.glob("*_prepare.json")}
    assert there >= set(told)
    assert all(f'src="pictures/{name}.png"' in text for name in there)
    assert f"Preparation of {len(there)} scans" in text
    assert ("stopped before" in text) == (len(there) < 3)
    monkeypatch.setattr(preparing, "told", tell)
    code, said = run(*words)
    assert code == 0
    assert said.count("as before") == len(there)


@pytest.mark.parametrize(
    ("step", "code", "message"),
    [
        ("{step: polish}", 2, "names no step; choose from brain"),
        ("{step: register, levels_mm: [0.0]}", 2, "use numbers above 0"),
        ("{step: register, template: /none/sri24.nii}", 66, "template /none/sri24.nii: no such"),
    ],
)
def test_a_wrong_recipe_is_said_once_before_the_first_scan(
    run, cohort: Path, tmp_path: Path, step: str, code: int, message: str
):
    (tmp_path / "own.yaml").write_text(f"steps: [{{step: brain}}, {step}]")
    words = ["prepare", "-i", cohort / "healthy", "-o", tmp_path / "out"]
    found, said = run(*words, "--recipe", tmp_path / "own.yaml")
    assert found == code
    assert said.count(message) == 1
    assert not (tmp_path / "out").exists()


def test_filters_of_data_sets_are_not_ignored_elsewhere(run, cohort: Path, tmp_path: Path):
    words = ["prepare", "-i", cohort / "others", "-o", tmp_path / "o", "--participant", "09"]
    code, said = run(*words)
    assert code == 2
    assert "is no BIDS data set, so --participant and --session have no meaning" in said


def test_an_output_that_is_a_file_is_said_before_any_work(run, cohort: Path, tmp_path: Path):
    (tmp_path / "occupied").write_text("x")
    code, said = run(
        "prepare", "-i", cohort / "others", "-o", tmp_path / "occupied", "--recipe", "phantom"
    )
    assert code == 2
    assert "occupied: something else stands there or above it; choose another name" in said
    assert "prepared (" not in said
