"""Thresholds from healthy maps: exact rates, conformal p-values, refusals, round trip."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.calibrate import (
    QUANTILES,
    RATES,
    STEADY,
    Calibration,
    Calibrator,
    check_same,
    scan_score,
)
from brainuad.config import to_dict
from brainuad.types import DataError, MissingError

SHAPE = (12, 11, 10)
HASHES = {"postprocess_hash": "p", "recipe_hash": "r", "weights_hash": "w"}


def healthy(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    brain = rng.random(SHAPE) < 0.7
    anomaly = (rng.gamma(1.5, scale, SHAPE) * brain).astype(np.float32)
    return anomaly, brain


def calibrated(maps, names=None):
    calibrator = Calibrator()
    for number, (anomaly, brain) in enumerate(maps):
        name = names[number] if names else f"sub-{number:02d}"
        calibrator.add(anomaly, brain, scan_score(anomaly, brain), name)
    return calibrator.finish(**HASHES, cohort="test")


MAPS = [healthy(n) for n in range(6)]
VALUES = np.concatenate([anomaly[brain] for anomaly, brain in MAPS])
CALIBRATION = calibrated(MAPS)


@pytest.mark.parametrize("rate", RATES)
def test_rate_comes_back_on_the_same_scans_within_one_bin(rate):
    threshold = CALIBRATION.threshold(rate)
    share = np.mean(threshold < VALUES)
    assert share == pytest.approx(CALIBRATION.achieved[rate], abs=1e-12)
    assert share <= rate
    just_below = threshold * (1 - 2.0**-11)  # the bin under the threshold, and a little more
    assert np.mean(just_below < VALUES) >= rate - 1 / VALUES.size


def test_enough_scans_need_no_remark():
    calibrator = Calibrator()
    for n in range(STEADY):
        anomaly = np.random.default_rng(n).random((8, 8, 8), dtype=np.float32)
        calibrator.add(anomaly, np.ones(anomaly.shape, bool), 0.5, f"p{n}")
    hashes = {f"{part}_hash": "x" for part in ("postprocess", "recipe", "weights")}
    assert calibrator.finish(**hashes).remarks == ()


@pytest.mark.parametrize("rate", RATES)
def test_threshold_is_the_quantile(rate):
    expected = np.quantile(VALUES, 1 - rate, method="higher")
    assert CALIBRATION.threshold(rate) == pytest.approx(expected, rel=1e-3)


def test_counts_and_quantiles_are_of_the_scans():
    assert (CALIBRATION.n, CALIBRATION.voxels) == (6, VALUES.size)
    assert CALIBRATION.highest == VALUES.max()
    assert not CALIBRATION.dead
    assert [remark.partition(":")[0] for remark in CALIBRATION.remarks] == [
        "made of 6 healthy scans"
    ]
    for q in QUANTILES:
        own = [np.quantile(anomaly[brain], q) for anomaly, brain in MAPS]
        np.testing.assert_allclose(CALIBRATION.scan_quantiles[q], own, rtol=1e-6)


def test_order_of_scans_changes_nothing():
    names = [f"sub-{n}" for n in range(6)]
    assert calibrated(MAPS, names) == calibrated(MAPS[::-1], names[::-1])


@given(score=st.floats(0, 30))
@settings(max_examples=50, deadline=None)
def test_p_value_counts_healthy_scores_that_are_as_high(score):
    as_high = sum(s >= score for s in CALIBRATION.scores)
    assert CALIBRATION.p_value(score) == pytest.approx((1 + as_high) / 7)
    assert CALIBRATION.percentile(score) == pytest.approx(100 * (6 - as_high) / 7)


def test_p_value_of_a_healthy_score_itself_counts_the_tie():
    assert CALIBRATION.p_value(max(CALIBRATION.scores)) == pytest.approx(2 / 7)
    assert CALIBRATION.p_value(min(CALIBRATION.scores)) == pytest.approx(1.0)


def test_p_values_of_exchangeable_scores_are_valid():
    rng = np.random.default_rng(5)
    below = []
    for _ in range(600):
        *known, new = rng.normal(10, 1, 20)
        subjects = tuple(map(str, range(19)))
        healthy_scores = tuple(map(float, known))
        made = dataclasses.replace(CALIBRATION, scores=healthy_scores, subjects=subjects)
        below.append(made.p_value(float(new)) <= 0.1)
    assert np.mean(below) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
    assert np.mean(below) >= 0.1 - 3 * np.sqrt(0.1 * 0.9 / 600)


def test_dead_detector_is_flagged_and_marks_nothing():
    anomaly, brain = np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool)
    dead = calibrated([(anomaly, brain)])
    assert dead.dead
    assert set(dead.thresholds.values()) == {0.0}
    assert not (anomaly > dead.threshold(0.01)).any()
    assert "0 in every healthy brain" in dead.remarks[0]


def test_mostly_zero_maps_say_that_the_rate_was_not_met():
    anomaly, brain = np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool)
    anomaly[0, 0, :4] = 1.0, 2.0, 3.0, 4.0  # 0.3 % of the voxels
    sparse = calibrated([(anomaly, brain)])
    assert sparse.threshold(0.05) == 0.0
    assert sparse.achieved[0.05] == pytest.approx(4 / anomaly.size)
    assert sparse.threshold(0.001) == 3.0
    assert any("rate 0.05 could not be met" in remark for remark in sparse.remarks)


def test_save_and_load_give_the_same(tmp_path):
    CALIBRATION.save(tmp_path / "calibration.json")
    again = Calibration.load(tmp_path / "calibration.json")
    assert again == CALIBRATION
    assert again.p_value(1.0) == CALIBRATION.p_value(1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def broken(**changes):
    return json.dumps({**to_dict(CALIBRATION), **changes}, default=str)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a calibration"),
        ("{", "not a calibration"),
        ("[1]", "must be a mapping, got list"),
        (broken(voxels="many"), "voxels"),
        (broken(extra=1), "extra"),
        (broken(scores=[1.0]), "6 subjects, 1 scores"),
        (broken(subjects=[], scores=[], scan_quantiles={}), "0 subjects"),
        (broken(achieved={"0.01": 0.01}), "do not match"),
        (broken(thresholds={"high": 1.0}), "thresholds"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, match):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        Calibration.load(path)


def test_bytes_that_are_no_text_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="not a calibration"):
        Calibration.load(path)
    with pytest.raises(MissingError, match="no such file; run `brainuad calibrate` first"):
        Calibration.load(tmp_path / "none.json")


def test_unknown_rate_lists_the_choices():
    with pytest.raises(
        DataError, match=r"no threshold for the rate 0.02; choose 0.001, 0.01, 0.05"
    ):
        CALIBRATION.threshold(0.02)


def test_same_detector_is_accepted():
    check_same(CALIBRATION, **HASHES)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ("postprocess_hash", "post-processing p against x"),
        ("recipe_hash", "preparation r against x"),
        ("weights_hash", "weights w against x"),
    ],
)
def test_another_detector_is_refused(part, word):
    with pytest.raises(DataError, match=word):
        check_same(CALIBRATION, **{**HASHES, part: "x"})


def test_bad_scans_are_refused():
    anomaly, brain = MAPS[0]
    calibrator = Calibrator()
    with pytest.raises(DataError, match="no healthy scans"):
        calibrator.finish(**HASHES)
    with pytest.raises(DataError, match="sub-1: brain mask is empty"):
        calibrator.add(anomaly, np.zeros_like(brain), 1.0, "sub-1")
    with pytest.raises(DataError, match="sub-1: scan score is nan"):
        calibrator.add(anomaly, brain, float("nan"), "sub-1")
    with pytest.raises(DataError, match="sub-1: anomaly map: has shape"):
        calibrator.add(anomaly[1:], brain, 1.0, "sub-1")
    calibrator.add(anomaly, brain, 1.0, "sub-1")
    with pytest.raises(DataError, match="sub-1: counted twice"):
        calibrator.add(anomaly, brain, 1.0, "sub-1")
