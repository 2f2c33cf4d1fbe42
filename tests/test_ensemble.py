"""Detectors joined to one: its map is the weighted sum of theirs, saved, loaded and calibrated."""

import numpy as np
import pytest
import torch

from brainuad.detector import Detector
from brainuad.ensemble import ensemble
from brainuad.joint import Joint, halved
from brainuad.normative import NormativeOptions
from brainuad.phantom import phantom
from brainuad.postprocess import Postprocess
from brainuad.prepare import prepare_scan, recipe
from brainuad.store import Store
from brainuad.train_settings import TrainSettings
from brainuad.types import DataError, UsageError

SHAPE = (20, 24, 20)
AFFINE = np.array([[8.0, 0, 0, -76], [0, 8, 0, -109], [0, 0, 8, -71], [0, 0, 0, 1]])
AS_IS = recipe("phantom")
LOOSE = NormativeOptions(minimum_count=2, scans=3)


def prepared(name):
    return prepare_scan(phantom(name, shape=SHAPE, affine=AFFINE), AS_IS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "store"
    made = Store.create(folder, recipe_hash=AS_IS.hash, affine=AFFINE, shape=SHAPE, modality="T1w")
    for n in range(3):
        made.add(prepared(f"healthy-{n}").scan)
    return made


def fitted(store, folder, method, **settings):
    detector = Detector.create(
        method, preset="tiny", recipe=AS_IS, postprocess=Postprocess(median=0), **settings
    )
    return detector.fit(store, TrainSettings(steps=2, batch_size=4), work=folder, progress=False)


@pytest.fixture(scope="module")
def parts(store, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return {
        "slices": fitted(store, work / "dae", "dae", normative=LOOSE),
        "volumes": fitted(store, work / "fpi", "fpi"),
    }


def test_the_map_is_the_weighted_sum_of_the_members(parts):
    scan = prepared("new")
    each = [detector.detect_prepared(scan) for detector in parts.values()]
    found = ensemble(parts, {"volumes": 0.25}).detect_prepared(scan)
    expected = each[0].anomaly + 0.25 * each[1].anomaly
    assert np.allclose(found.anomaly, expected, atol=1e-4 * expected.max())
    assert np.allclose(found.healthy, each[0].healthy)
    assert expected.max() > 0


def test_saved_and_loaded_it_says_the_same(parts, tmp_path):
    made = ensemble(parts)
    made.calibrate([prepared("calib-0"), prepared("calib-1")])
    again = Detector.load(made.save(tmp_path / "both"))
    assert isinstance(again.method, Joint)
    scan = prepared("new")
    first, second = (d.detect_prepared(scan) for d in (made, again))
    assert (first.anomaly == second.anomaly).all()
    assert (first.mask == second.mask).all()
    assert again.weights_hash == made.weights_hash


def test_names_may_hold_dots_but_no_slashes(parts, tmp_path):
    first, second = parts.values()
    made = ensemble({"v1.0": first, "v1.1": second})
    scan = prepared("new")
    again = Detector.load(made.save(tmp_path / "both"))
    assert (again.detect_prepared(scan).anomaly == made.detect_prepared(scan).anomaly).all()
    with pytest.raises(UsageError, match="'a/b' is no name of a member; leave out the /"):
        ensemble({"a": first, "a/b": second})


def test_scans_that_a_member_was_fitted_on_cannot_calibrate(parts):
    with pytest.raises(DataError, match="healthy-1: was fitted on"):
        ensemble(parts).calibrate([prepared("healthy-1")])


def test_the_contrast_is_checked_by_the_member_that_knows_it(parts):
    scan = phantom("other", shape=SHAPE, affine=AFFINE)
    turned = type(scan)(
        voxels=(scan.voxels.max() - scan.voxels) * (scan.voxels > 0),
        affine=scan.affine,
        modality="T1w",
        subject="other",
        brain=scan.brain,
    )
    with pytest.raises(DataError, match="does not look like the T1w scans"):
        ensemble(parts).detect(turned)


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["slices"], {}, r"1 detector\(s\); give at least two"),
        (["slices", "volumes"], {"slice": 2.0}, "weight for slice, which is none of slices, vol"),
        (["slices", "volumes"], {"slices": 0.0}, "a member counts 0.0; give weights above 0"),
    ],
)
def test_refuses_too_few_members_and_wrong_weights(parts, names, weights, message):
    with pytest.raises(UsageError, match=message):
        ensemble({name: parts[name] for name in names}, weights)


def test_refuses_members_that_see_unlike_scans(parts):
    other = Detector.create("dae", preset="tiny", recipe="default-t1")
    with pytest.raises(UsageError, match="other takes T1w prepared with .* join detectors of one"):
        ensemble({**parts, "other": other})
    bare = Detector.create("dae", preset="tiny", recipe=AS_IS, postprocess=Postprocess(median=3))
    with pytest.raises(UsageError, match="bare post-processes its map otherwise"):
        ensemble({**parts, "bare": bare})
    with pytest.raises(UsageError, match="both is one itself"):
        ensemble({**parts, "both": ensemble(parts)})


def test_it_is_not_fitted_itself(parts, store, tmp_path):
    with pytest.raises(UsageError, match="fit its members"):
        ensemble(parts).fit(store, TrainSettings(steps=1), work=tmp_path, progress=False)


def test_half_precision_is_half_the_file_and_the_same_after_loading(store, tmp_path):
    import dataclasses

    made = Detector.create("dae", preset="tiny", recipe=AS_IS)
    whole = made.save(tmp_path / "whole")
    made.config = dataclasses.replace(made.config, half=True)
    made.fit(store, TrainSettings(steps=2), work=tmp_path / "work", progress=False)
    made.calibrate([prepared("calib-0")])
    short = made.save(tmp_path / "short")
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (short, whole)]
    assert sizes[0] < 0.6 * sizes[1]
    scan = prepared("new")
    again = Detector.load(short)
    assert (again.detect_prepared(scan).anomaly == made.detect_prepared(scan).anomaly).all()


def test_numbers_too_large_for_half_precision_are_kept_whole():
    large, small = torch.tensor([1e5, 1.0]), torch.tensor([0.5])
    assert halved(large) is large
    assert halved(small).dtype == torch.float16
    assert halved(torch.tensor([True])).dtype == torch.bool
