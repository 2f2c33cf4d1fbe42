"""The recipes of the shipped detectors can be read, and describe what is shipped."""

from pathlib import Path

import pytest

from brainuad.config import build, load_yaml, to_dict
from brainuad.detector import Detector
from brainuad.fit_settings import resolve
from brainuad.method import method_class
from brainuad.shipped import (
    BEST,
    HOME,
    detector_folder,
    find_detector,
    shipped_detectors,
    shipped_names,
)
from brainuad.types import MissingError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
JOINED = {path.stem: path for path in CONFIGS[0].parent.glob("joined/*.yaml")}
LARGEST_MB = 60
ALONE = tuple(name for name in shipped_names() if name not in JOINED)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_recipe_describes_a_detector(path):
    settings = resolve(path, [], named={})
    assert settings.detector().config.modality == settings.data["modality"]
    assert settings.training.time_budget


def test_every_shipped_detector_has_a_recipe():
    assert set(shipped_names()) <= {path.stem for path in CONFIGS} | set(JOINED)


@pytest.mark.parametrize("name", sorted(set(JOINED) & set(shipped_names())))
def test_a_shipped_ensemble_is_what_its_recipes_say(name):
    detector, said = Detector.load(name), load_yaml(JOINED[name])
    assert detector.config.about == said["about"]
    members = detector.config.options["members"]
    assert {who: member["weight"] for who, member in members.items()} == said["members"]
    for who, member in members.items():
        asked = resolve(CONFIGS[0].parent / f"{who}.yaml", [], named={}).detector().config
        assert (member["method"], member["preset"]) == (asked.method, asked.preset)
        assert member["options"] == to_dict(asked.options)
        assert member["normative"] == (asked.normative and to_dict(asked.normative))
        assert detector.config.postprocess == asked.postprocess
        assert detector.config.recipe.hash == asked.recipe.hash
    assert_calibrated_on_others(detector)


def assert_calibrated_on_others(detector):
    assert detector.calibration is not None
    assert detector.calibration.n >= 20
    assert not set(detector.config.provenance["inputs"]) & set(detector.calibration.subjects)


@pytest.mark.parametrize("name", ALONE)
def test_a_shipped_detector_is_what_its_recipe_says(name):
    detector = Detector.load(name)
    asked = resolve(HOME.parents[2] / "configs" / f"{name}.yaml", [], named={}).detector().config
    config = detector.config
    assert (config.method, config.preset) == (asked.method, asked.preset)
    # An option that is younger than the detector has its default there.
    kind = method_class(config.method).Options
    assert build(kind, dict(config.options), where="") == build(kind, dict(asked.options), where="")
    assert config.normative == asked.normative
    assert config.postprocess == asked.postprocess
    assert config.recipe.hash == asked.recipe.hash
    assert_calibrated_on_others(detector)


def test_shipped_weights_are_small_and_were_not_trained_on_non_commercial_data():
    files = list(HOME.glob("*/*"))
    assert sum(path.stat().st_size for path in files) < LARGEST_MB * 1e6
    for name in shipped_names():
        fitted = Detector.load(name).config.provenance["inputs"]
        # IXI (CC BY-SA), ds002748 (CC0), generated ones; OASIS is not for commercial use.
        assert all(subject.startswith(("IXI", "sub-")) for subject in fitted)


def test_short_names_are_of_shipped_detectors():
    for short, name in BEST.items():
        assert detector_folder(short) == HOME / name


def test_every_shipped_name_says_what_it_is():
    said = shipped_detectors()
    assert set(said) == {*BEST, *shipped_names()}
    for name in shipped_names():
        assert said[name].startswith(Detector.load(name).config.modality)
    assert said["t1"] == f"the most accurate for T1w: {BEST['t1']}"


def test_an_own_folder_goes_before_a_shipped_name(tmp_path, monkeypatch):
    own = tmp_path / "t1"
    own.mkdir()
    (own / "detector.yaml").write_text("x: 1\n")
    monkeypatch.chdir(tmp_path)
    assert find_detector("t1") == Path("t1")


def test_an_unknown_name_lists_what_is_shipped():
    with pytest.raises(MissingError, match=r"nothing-such.*shipped detectors \(.*t1"):
        detector_folder("nothing-such")
