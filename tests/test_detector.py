import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest
import torch

import brainuad
from brainuad.detect import in_own_intensity, overflow
from brainuad.detector import Detector
from brainuad.maps import canonical_maps
from brainuad.nifti import read_scan
from brainuad.normative import NormativeOptions
from brainuad.phantom import phantom
from brainuad.postprocess import Postprocess
from brainuad.prepare import prepare_scan, recipe
from brainuad.store import Store
from brainuad.train_settings import TrainSettings
from brainuad.types import DataError, MissingError, UnavailableError, UsageError

SHAPE = (20, 24, 20)
AFFINE = np.array([[8.0, 0, 0, -76], [0, 8, 0, -109], [0, 0, 8, -71], [0, 0, 0, 1]])
PARTS = ("detector.yaml", "weights.safetensors", "calibration.json", "card.md")
AS_IS = recipe("phantom")


def person(name, modality="T1w"):
    return phantom(name, shape=SHAPE, affine=AFFINE, modality=modality)


def prepared(name):
    return prepare_scan(person(name), AS_IS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "store"
    store = Store.create(folder, recipe_hash=AS_IS.hash, affine=AFFINE, shape=SHAPE, modality="T1w")
    for n in range(3):
        store.add(prepared(f"healthy-{n}").scan)
    return store


def fitted(store, folder, method="dae", **options):
    detector = Detector.create(method, preset="tiny", recipe=AS_IS, options=options)
    detector.fit(store, TrainSettings(steps=2, batch_size=4), work=folder, progress=False)
    detector.calibrate([prepared("calib-0"), prepared("calib-1")], cohort="phantoms")
    return detector


@pytest.fixture(scope="module")
def detector(store, tmp_path_factory):
    return fitted(store, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return detector.save(tmp_path_factory.mktemp("saved") / "my-dae")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A scan in a file whose axes are not RAS+, with the voxels as 16-bit integers."""
    scan = person("sub-07")
    axes = nib.orientations.axcodes2ornt("PSR")
    image = nib.Nifti1Image(scan.voxels.astype(np.int16), scan.affine)
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), axes)
    )
    image.set_sform(image.affine, code=4)
    image.set_qform(image.affine, code=1)
    path = tmp_path_factory.mktemp("scan") / "sub-07_T1w.nii.gz"
    nib.save(image, path)
    return path


# Normative model


@pytest.fixture(scope="module")
def normed(store, tmp_path_factory):
    options = NormativeOptions(sign="dark", minimum_count=2, scans=3, smooth_px=0.0)
    detector = Detector.create("dae", preset="tiny", recipe=AS_IS, normative=options)
    work = tmp_path_factory.mktemp("normed")
    detector.fit(store, TrainSettings(steps=2, batch_size=4), work=work, progress=False)
    detector.calibrate([prepared("calib-0"), prepared("calib-1")])
    return detector


def test_a_detector_compares_its_residuals_with_those_of_the_fitted_scans(store, normed):
    options = normed.config.normative
    maps = [
        canonical_maps(
            normed.method, store.scan(s), view="axial", seed=0, batch_size=16, device="cpu"
        )
        for s in store.subjects
    ]
    scans = [store.scan(s) for s in store.subjects]
    values = [
        options.compared(s, m.anomaly, m.healthy)[0] for s, m in zip(scans, maps, strict=True)
    ]
    brains = np.stack([s.brain for s in scans])
    inside = np.where(brains.all(0), np.mean(values, 0), 0)
    assert np.allclose(normed.normative.mean[brains.all(0)], inside[brains.all(0)], atol=2e-3)


@pytest.mark.parametrize("nearest", [None, 3])
def test_a_scan_taken_given_its_counterpart_is_judged_the_same_after_loading(
    nearest, store, detector, tmp_path
):
    options = NormativeOptions(
        of="conditional", minimum_count=2, scans=3, nearest=nearest, components=4
    )
    made = Detector.create("dae", preset="tiny", recipe=AS_IS, normative=options)
    settings = TrainSettings(steps=2, batch_size=4)
    made.fit(store, settings, work=tmp_path / "work", progress=False)
    scan = prepared("sub-01")
    found = made.detect_prepared(scan)
    again = Detector.load(made.save(tmp_path / "made"))
    assert np.array_equal(found.anomaly, again.detect_prepared(scan).anomaly)
    assert found.anomaly.max() > 0
    assert not np.array_equal(found.anomaly, detector.detect_prepared(scan).anomaly)


def test_a_normative_model_is_saved_and_changes_the_map(normed, detector, tmp_path):
    again = Detector.load(normed.save(tmp_path / "normed"))
    scan = prepared("sub-01")
    found = again.detect_prepared(scan)
    assert np.array_equal(found.anomaly, normed.detect_prepared(scan).anomaly)
    assert again.config.normative == normed.config.normative
    assert not np.array_equal(found.anomaly, detector.detect_prepared(scan).anomaly)


def test_another_contrast_is_refused_unless_forced(normed):
    scan = person("sub-02")
    assert scan.brain is not None
    inverted = dataclasses.replace(scan, voxels=(255 - scan.voxels) * scan.brain)
    with pytest.raises(DataError, match="does not look like the T1w scans"):
        normed.detect(inverted)
    assert normed.detect(inverted, force=True).anomaly.max() > 0
    assert normed.detect(scan).anomaly.max() > 0


def test_a_scan_of_another_modality_is_refused_unless_forced(detector):
    flair = dataclasses.replace(person("sub-02"), modality="FLAIR")
    with pytest.raises(DataError, match=r"is FLAIR, detector \S+ takes T1w; choose .* --force"):
        detector.detect(flair)
    forced, own = detector.detect(flair, force=True), detector.detect(person("sub-02"))
    assert np.array_equal(forced.anomaly, own.anomaly)
    assert forced.prepared.report["named"] == "FLAIR"
    assert "named" not in own.prepared.report


# Folder


def test_the_card_says_what_its_thresholds_hold_for(folder, detector):
    card = (folder / "card.md").read_text()
    assert all(value[:16] in card for value in detector.hashes().values())


def test_a_loaded_detector_says_the_same(detector, folder):
    assert {p.name for p in folder.iterdir()} == set(PARTS)
    other = brainuad.load(folder)
    mine, its = (d.detect(person("x"), seed=3) for d in (detector, other))
    assert np.array_equal(mine.anomaly, its.anomaly)
    assert np.array_equal(mine.mask, its.mask)
    assert (mine.score, mine.percentile) == (its.score, its.percentile)
    assert other.name == "my-dae"


@pytest.mark.parametrize("part", ["detector.yaml", "weights.safetensors"])
def test_a_missing_part_is_named(folder, tmp_path, part):
    copy(folder, tmp_path / "d", leave=part)
    with pytest.raises(MissingError, match=f"{part} is missing"):
        Detector.load(tmp_path / "d")


def test_without_calibration_there_is_no_threshold(folder, tmp_path):
    copy(folder, tmp_path / "d", leave="calibration.json")
    found = Detector.load(tmp_path / "d").detect(person("x"))
    assert found.mask is None
    assert found.percentile is None
    with pytest.raises(UsageError, match="no threshold, so there is no mask; run `brainuad calib"):
        found.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("detector.yaml", "detector.yaml"),
        ("weights.safetensors", "weights.safetensors: damaged, or of another detector"),
        ("calibration.json", "calibration.json: damaged"),
    ],
)
def test_a_damaged_part_is_named(folder, tmp_path, part, said):
    copy(folder, tmp_path / "d")
    raw = (tmp_path / "d" / part).read_bytes()
    (tmp_path / "d" / part).write_bytes(raw[: len(raw) // 2] + b"\x00{")
    with pytest.raises((DataError, UsageError), match=said):
        Detector.load(tmp_path / "d")


def test_a_calibration_of_other_post_processing_is_refused(folder, tmp_path):
    copy(folder, tmp_path / "d")
    path = tmp_path / "d" / "detector.yaml"
    path.write_text(path.read_text().replace("median: 3", "median: 5"))
    with pytest.raises(DataError, match="another detector \\(post-processing"):
        Detector.load(tmp_path / "d")


def test_weights_of_another_detector_are_refused(store, folder, tmp_path):
    other = fitted(store, tmp_path / "work", noise_std=0.4).save(tmp_path / "other")
    copy(folder, tmp_path / "d")
    raw = (other / "weights.safetensors").read_bytes()
    (tmp_path / "d" / "weights.safetensors").write_bytes(raw)
    with pytest.raises(DataError, match="of another detector"):
        Detector.load(tmp_path / "d")


def test_no_folder_and_not_a_detector(tmp_path):
    with pytest.raises(MissingError, match="no such detector folder"):
        Detector.load(tmp_path / "nowhere")
    with pytest.raises(MissingError, match=r"detector\.yaml is missing"):
        Detector.load(tmp_path)


def test_saving_never_replaces_what_is_no_detector(detector, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds other files"):
        detector.save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_saving_again_replaces_the_detector(detector, folder, tmp_path):
    target = detector.save(tmp_path / "d")
    assert detector.save(target) == target
    assert {p.name for p in tmp_path.iterdir()} == {"d"}
    assert np.array_equal(
        Detector.load(target).detect(person("x")).anomaly, detector.detect(person("x")).anomaly
    )


def copy(source, target, leave=None):
    target.mkdir()
    for path in source.iterdir():
        if path.name != leave:
            (target / path.name).write_bytes(path.read_bytes())


# Creating and fitting


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match="method 'madad': unknown; choose from .*mad_ad"):
        Detector.create("madad")
    with pytest.raises(UsageError, match="unknown preset 'huge'; choose from .*default"):
        Detector.create("dae", preset="huge")
    with pytest.raises(UsageError, match=r"noise_sdt.*noise_std"):
        Detector.create("dae", options={"noise_sdt": 1})


def test_options_reach_into_the_preset():
    detector = Detector.create("mad_ad", preset="tiny", options={"map": {"sign": "dark"}})
    options = detector.method.options
    assert (options.map.sign, options.map.gate) == ("dark", True)
    assert options.size == "tiny"


def test_starting_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = Detector.create("dae", preset="tiny").weights_hash
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert Detector.create("dae", preset="tiny").weights_hash == first


def test_a_store_of_another_recipe_is_refused(store, tmp_path):
    detector = Detector.create("dae", preset="tiny", recipe="default-t1")
    with pytest.raises(DataError, match="prepared with recipe .* prepare the scans again"):
        detector.fit(store, work=tmp_path)


def test_checks_do_not_part_a_fit_from_its_checkpoints(store, tmp_path):
    """They change no voxel that is trained on; another shape of the net does."""
    settings = TrainSettings(steps=2, batch_size=4)
    first = fitted(store, tmp_path).weights_hash
    again = Detector.create("dae", preset="tiny", recipe=AS_IS.forced())
    assert again.config.recipe != AS_IS
    again.fit(store, settings, work=tmp_path, progress=False)
    assert again.weights_hash == first
    other = Detector.create("dae", preset="tiny", recipe=AS_IS, options={"noise_std": 0.3})
    with pytest.raises(UsageError, match=r"is of another training \(made for was"):
        other.fit(store, settings, work=tmp_path, progress=False)


def test_scans_of_the_fit_cannot_calibrate(detector):
    with pytest.raises(DataError, match="healthy-1: was fitted on, so it cannot calibrate"):
        detector.calibrate([prepared("healthy-1")])


def test_an_unfitted_detector_says_so():
    with pytest.raises(UnavailableError, match="not fitted yet"):
        Detector.create("dae", preset="tiny", recipe=AS_IS).detect(person("x"))


# Detecting


def test_the_mask_is_the_map_above_the_calibrated_threshold(detector):
    found = detector.detect(person("x"))
    threshold = detector.calibration.thresholds[0.01]
    assert np.array_equal(found.mask, found.anomaly > threshold)
    assert sum(row["volume_mm3"] for row in found.components) == pytest.approx(
        found.mask.sum() * 8**3
    )
    assert found.record["threshold"]["source"] == "healthy-fpr"


def test_calibration_scans_are_marked_at_the_calibrated_rate(detector):
    marked = total = 0
    for name in ("calib-0", "calib-1"):
        found = detector.detect(person(name))
        marked, total = marked + found.mask.sum(), total + found.scan.brain.sum()
    assert marked / total <= 0.01
    assert marked / total == pytest.approx(0.01, abs=2 / total + 1e-4)


@pytest.mark.parametrize("method", ["dae", "mad_ad"])
def test_batch_size_does_not_change_the_map(store, tmp_path, method):
    detector = fitted(store, tmp_path, method)
    maps = [detector.detect(person("x"), batch_size=n).anomaly for n in (1, 7, 32)]
    for other in maps[1:]:
        assert np.abs(other - maps[0]).max() <= 1e-5


@pytest.mark.parametrize("method", ["dae", "mad_ad", "healthy_atlas", "pddpm"])
def test_a_scan_of_one_slice_is_fitted_calibrated_and_judged(tmp_path, method):
    def picture(name):
        whole = person(name)
        cut = {n: np.ascontiguousarray(getattr(whole, n)[:, :, 9:10]) for n in ("voxels", "brain")}
        return dataclasses.replace(whole, **cut)

    flat, how = (*SHAPE[:2], 1), recipe("slices")
    store = Store.create(
        tmp_path / "s", recipe_hash=how.hash, affine=AFFINE, shape=flat, modality="T1w"
    )
    for n in range(10):
        store.add(prepare_scan(picture(f"healthy-{n}"), how).scan)
    preset = "default" if method == "healthy_atlas" else "tiny"
    detector = Detector.create(method, preset=preset, recipe=how)
    detector.fit(store, TrainSettings(steps=2, batch_size=4), work=tmp_path, progress=False)
    detector.calibrate([prepare_scan(picture("calib-0"), how)], cohort="slices")
    found = detector.detect(picture("x"))
    assert found.anomaly.shape == found.mask.shape == flat
    assert np.isfinite(found.anomaly).all()


def test_a_batch_size_of_zero_is_refused(detector):
    with pytest.raises(UsageError, match="batch size is 0"):
        detector.detect(person("x"), batch_size=0)


def test_another_modality_is_refused(detector):
    with pytest.raises(DataError, match="is FLAIR, detector .* takes T1w"):
        detector.detect(person("x", modality="FLAIR"))


def test_a_threshold_never_meets_another_map(store, tmp_path):
    detector = fitted(store, tmp_path)
    detector.config = dataclasses.replace(detector.config, postprocess=Postprocess(median=5))
    with pytest.raises(DataError, match="post-processing"):
        detector.detect(person("x"))


# Writing


def test_outputs_lie_on_the_files_own_grid(detector, file, tmp_path):
    written = detector.detect(file).save(tmp_path)
    source = nib.load(file)
    for kind in ("anomalymap", "mask", "healthy"):
        image = nib.load(written[kind])
        assert image.shape == source.shape
        assert np.array_equal(image.affine, source.affine)
        for code in ("sform_code", "qform_code"):
            assert int(image.header[code]) == int(source.header[code])
    assert {p.name for p in tmp_path.iterdir()} == {
        "sub-07_T1w_anomalymap.nii.gz",
        "sub-07_T1w_mask.nii.gz",
        "sub-07_T1w_healthy.nii.gz",
        "sub-07_T1w_components.tsv",
        "sub-07_T1w_uad.json",
    }


def test_two_runs_write_the_same_voxels(detector, file, tmp_path):
    pairs = [detector.detect(file, seed=1).save(tmp_path / n) for n in "ab"]
    for kind in ("anomalymap", "mask", "healthy", "components"):
        assert pairs[0][kind].read_bytes() == pairs[1][kind].read_bytes()


def test_the_record_tells_where_the_numbers_come_from(detector, file, tmp_path):
    found = detector.detect(file)
    record = json.loads(found.save(tmp_path)["record"].read_text())
    assert record["score"] == pytest.approx(found.score)
    assert record["healthy_percentile"] == found.percentile
    assert record["threshold"]["value"] == detector.calibration.thresholds[0.01]
    assert record["hashes"] == detector.hashes()
    assert record["anomaly_ml"] == pytest.approx(found.mask.sum() * 8**3 / 1000)
    assert record["files"]["mask"] == "sub-07_T1w_mask.nii.gz"


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("minimal", {"mask", "components", "record"}),
        ("full", {"mask", "components", "record", "anomalymap", "healthy", "brain"}),
    ],
)
def test_levels_choose_what_is_written(detector, file, tmp_path, level, kinds):
    written = detector.detect(file).save(tmp_path, level=level)
    assert set(written) == kinds
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in written.values()}


def test_the_healthy_counterpart_is_in_the_scans_own_intensity(detector, file, tmp_path):
    scan = read_scan(file)
    healthy = detector.detect(file).healthy
    inside = prepare_scan(scan, AS_IS).original.brain
    assert np.array_equal(healthy[~inside], scan.voxels[~inside])
    # the prepared scan itself, brought back, is the scan wherever its intensity was not cut
    prepared_scan = prepare_scan(scan, AS_IS)
    back = in_own_intensity(prepared_scan, prepared_scan.scan.voxels)
    uncut = (prepared_scan.scan.voxels > 0) & (prepared_scan.scan.voxels < 1)
    assert uncut.mean() > 0.2
    assert back[uncut] == pytest.approx(scan.voxels[uncut], rel=1e-4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_broken_off_write_leaves_the_older_outputs(detector, file, tmp_path, error):
    detector.detect(file, seed=1).save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def page(path, finding):
        path.write_text("half")
        raise error

    with pytest.raises(error):
        detector.detect(file, seed=2).save(tmp_path, page=page)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_scores_of_slices_reach_the_record_and_thresholds_of_places_the_folder(store, tmp_path):
    detector = fitted(store, tmp_path / "work", "latent_ddpm", per_location=True, percentile=80.0)
    other = brainuad.load(detector.save(tmp_path / "detector"))
    mine, its = (d.detect(person("x"), seed=3) for d in (detector, other))
    assert np.array_equal(mine.anomaly, its.anomaly)
    scores = mine.record["slice_scores"]
    brain = mine.prepared.scan.brain
    assert list(scores) == np.flatnonzero(brain.any(axis=(0, 1))).tolist()
    assert all(np.isfinite(score) for score in scores.values())
    files = its.save(tmp_path / "out")
    read = json.loads(files["record"].read_text(encoding="utf-8"))["slice_scores"]
    assert {int(k): score for k, score in read.items()} == pytest.approx(scores)


def test_without_scores_of_slices_the_record_has_none(detector):
    assert "slice_scores" not in detector.detect(person("x")).record


@pytest.mark.parametrize(
    ("share", "rate", "doubted"),
    [(0.05, 0.01, False), (0.06, 0.01, True), (0.2, 0.05, False), (0.26, 0.05, True)],
)
def test_a_mask_that_takes_much_of_the_brain_is_doubted(share, rate, doubted):
    said = overflow(share, rate)
    assert bool(said) is doubted
    if doubted:
        assert f"{100 * share:.0f} % of the brain is marked, where {100 * rate:g} %" in said[0]
