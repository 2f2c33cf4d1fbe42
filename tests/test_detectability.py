"""A bright lesion is found by brightness, and little where nothing is."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from brainuad.cli.app import main
from brainuad.detectability import NOTHING, Plan, is_found, sensitivities, try_scans
from brainuad.detector import Detector
from brainuad.nifti import write_volume
from brainuad.phantom import phantom
from brainuad.prepare import prepare_scan, recipe
from brainuad.prepare.grid import MNI_2MM
from brainuad.read.source import Source
from brainuad.store import Store
from brainuad.train import TrainSettings
from brainuad.types import UsageError

AFFINE = np.diag([5.0, 5, 5, 1])
AFFINE[:3, 3] = MNI_2MM.affine[:3, 3]
SHAPE = (32, 38, 32)
PLAN = Plan(volumes_ml=(10.0, 40.0), contrasts=(0.1, 1.0), kind="bright", places=2)


def person(name: str):
    return phantom(name, shape=SHAPE, affine=AFFINE)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> list[Source]:
    folder = tmp_path_factory.mktemp("healthy")
    for n in range(2):
        scan = person(f"sub-h{n}")
        write_volume(folder / f"{scan.subject}_T1w.nii.gz", scan.voxels, like=scan, kind="image")
    return [Source(path=path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    detector = Detector.create("intensity", preset="bright", recipe=recipe("phantom"))
    healthy = [prepare_scan(person(f"c{n}"), recipe("phantom")) for n in range(4)]
    store = Store.create(
        folder / "store", recipe_hash=recipe("phantom").hash, affine=AFFINE, shape=SHAPE,
        modality="T1w",
    )  # fmt: skip
    store.add(healthy[0].scan)
    detector.fit(store, TrainSettings(steps=1), work=folder, progress=False)
    detector.calibrate(healthy[1:], cohort="phantoms")
    return detector.save(folder / "bright")


@pytest.fixture(scope="module")
def tried(scans, model):
    return list(try_scans(scans, model, PLAN, progress=False))


def test_every_combination_is_tried_once_and_once_without_a_lesion(tried):
    for each in tried:
        assert not each.error
        keys = [(t.volume_ml, t.place, t.contrast) for t in each.trials]
        assert sorted(keys) == sorted(
            (v, p, c) for v in PLAN.volumes_ml for p in (0, 1) for c in (NOTHING, 0.1, 1.0)
        )


def test_strong_lesions_are_found_and_no_lesion_is_not(tried):
    trials = [t for each in tried for t in each.trials]
    strong = [t for t in trials if t.contrast == 1.0]
    nothing = [t for t in trials if t.contrast == NOTHING]
    assert all(t.found for t in strong)
    assert np.mean([t.recall for t in strong]) > 0.5
    by_chance = np.mean([t.auprc for t in nothing])
    assert np.mean([t.auprc for t in strong]) > max(0.3, 5 * by_chance)
    assert sum(t.found for t in nothing) < len(nothing)
    at = {(t.subject, t.volume_ml, t.place): t.centre_mm for t in strong}
    assert all(at[t.subject, t.volume_ml, t.place] == t.centre_mm for t in nothing)
    assert len(set(at.values())) == len(at)


def test_two_workers_say_the_same(scans, model, tried):
    again = try_scans(scans, model, PLAN, workers=2, progress=False)
    assert sorted(again, key=lambda t: t.path) == sorted(tried, key=lambda t: t.path)


def test_shares_have_wilson_intervals(tried):
    trials = [t for each in tried for t in each.trials]
    shares = sensitivities(trials)
    assert [(s.volume_ml, s.contrast) for s in shares] == sorted(
        (s.volume_ml, s.contrast) for s in shares
    )
    for s in shares:
        p, z = s.share, stats.norm.ppf(0.975)
        middle = (p + z * z / (2 * s.n)) / (1 + z * z / s.n)
        half = z / (1 + z * z / s.n) * np.sqrt(p * (1 - p) / s.n + z * z / (4 * s.n**2))
        assert (s.low, s.high) == pytest.approx((max(0, middle - half), middle + half), abs=1e-9)


def cube(*sides: tuple[int, int]) -> np.ndarray:
    out = np.zeros((40, 40, 40), bool)
    out[tuple(slice(*side) for side in sides)] = True
    return out


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (cube((10, 14), (10, 14), (10, 14)), True),
        (cube((12, 13), (12, 13), (12, 13)), True),
        (cube((20, 24), (20, 24), (20, 24)), False),
        (cube((0, 40), (0, 40), (0, 40)), False),
        (np.zeros((40, 40, 40), bool), False),
    ],
    ids=["same", "one voxel of it", "elsewhere", "everything", "nothing"],
)
def test_what_counts_as_found(mask, found):
    assert is_found(mask, cube((10, 14), (10, 14), (10, 14)), (1.0, 1.0, 1.0)) is found


def test_the_command_writes_tables_and_a_page(scans, model, tmp_path, capsys):
    words = ["simulate", "-i", *(str(s.path) for s in scans), "-o", str(tmp_path / "out")]
    words += ["-m", str(model), "--volumes", "20", "--contrasts", "1", "--kind", "bright"]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    with (tmp_path / "out" / "sensitivity.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["contrast"], r["n"]) for r in rows] == [("0.0", "2"), ("1.0", "2")]
    with (tmp_path / "out" / "trials.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 4
    text = (tmp_path / "out" / "index.html").read_text()
    assert "no lesion" in text
    assert "Share found by volume" in text
    assert " ".join(capsys.readouterr().err.split()).count("1 of 1 lesions found") == 2


def test_a_scan_that_the_detector_was_fitted_on_is_refused(scans, model, tmp_path):
    detector = Detector.load(model)
    provenance = {**detector.config.provenance, "inputs": {"sub-h0": "x"}}
    detector.config = replace(detector.config, provenance=provenance)
    seen = detector.save(tmp_path / "seen")
    first, second = try_scans(scans, seen, Plan(volumes_ml=(20.0,), contrasts=(1.0,)))
    assert "sub-h0_T1w.nii.gz: seen was fitted on it" in first.error
    assert second.trials


def test_a_detector_without_a_threshold_is_refused(scans, model, tmp_path):
    detector = Detector.load(model)
    detector.calibration = None
    bare = detector.save(tmp_path / "bare")
    with pytest.raises(UsageError, match="has no threshold; run `brainuad calibrate` first"):
        list(try_scans(scans, bare, PLAN))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"volumes_ml": ()}, "volumes .*must be above 0 ml"),
        ({"volumes_ml": (1.0, -1.0)}, "volumes .*must be above 0 ml"),
        ({"contrasts": (0.0,)}, r"contrasts .*must lie in \(0, 1\]"),
        ({"contrasts": (1.5,)}, r"contrasts .*must lie in \(0, 1\]"),
        ({"kind": "cloud"}, "kind 'cloud': unknown; choose infarct or bright"),
        ({"places": 0}, "places 0: at least 1"),
    ],
)
def test_plans_that_make_no_sense(wrong, message):
    with pytest.raises(UsageError, match=message):
        Plan(**wrong)
