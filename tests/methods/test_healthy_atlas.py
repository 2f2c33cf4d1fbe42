import numpy as np
import pytest
import torch
from scipy import ndimage

from brainuad import nearest, testing
from brainuad.config import build
from brainuad.detector import Detector
from brainuad.detector_config import configured
from brainuad.method import Batch
from brainuad.methods.healthy_atlas import HealthyAtlas, HealthyAtlasOptions
from brainuad.prepare import recipe
from brainuad.rng import Rng
from brainuad.types import DataError, UsageError


def atlas(count=12, **options):
    method = HealthyAtlas(HealthyAtlasOptions(**options))
    method.fit(testing.Blobs(count, "volume"), minimise=testing.few_steps)
    return method


def test_mean_and_deviation_are_those_of_the_covering_brains():
    method = atlas(equalise=False, floor_quantile=0.0)
    batch = testing.Blobs(12, "volume").get(range(12))
    everywhere = batch.brain.all(0)
    assert method.mean[everywhere] == pytest.approx(batch.x.mean(0)[everywhere], abs=1e-6)
    expected = batch.x.std(0)[everywhere]
    assert method.deviation[everywhere] == pytest.approx(expected, abs=1e-5)
    assert torch.equal(method.count, batch.brain.sum(0).float())


def test_a_healthy_scan_far_from_the_mean_scores_its_z():
    method = atlas(equalise=False)
    brain = method.count[None] >= 12
    x = (method.mean + 3 * method.deviation)[None] * brain
    z = method.detect(x, brain, rng=Rng([0])).anomaly
    assert z[brain] == pytest.approx(torch.full_like(z[brain], 3.0), abs=1e-3)


@pytest.mark.parametrize(("sign", "darker", "brighter"), [("dark", 2, 0), ("bright", 0, 2)])
def test_the_sign_selects_one_side(sign, darker, brighter):
    method = atlas(equalise=False, sign=sign)
    brain = method.count[None] >= 12
    for shift, expected in ((-2, darker), (2, brighter)):
        x = (method.mean + shift * method.deviation)[None] * brain
        z = method.detect(x, brain, rng=Rng([0])).anomaly[brain]
        assert z == pytest.approx(torch.full_like(z, float(expected)), abs=1e-3)


def test_places_that_few_brains_cover_are_never_anomalous():
    method = atlas()
    rare = method.count < 10
    assert rare.any()
    x = torch.ones(1, *method.mean.shape)
    found = method.detect(x, torch.ones_like(x, dtype=torch.bool), rng=Rng([0]))
    assert (found.anomaly[0][rare] == 0).all()


def test_smoothing_lowers_the_spread_of_noise():
    rough, smooth = atlas(equalise=False), atlas(equalise=False, smooth_px=1.0)
    inner = rough.count >= 12
    assert smooth.deviation[inner].mean() < 0.6 * rough.deviation[inner].mean()


def test_smoothed_deviations_are_those_of_scipy_and_stay_where_enough_brains_are():
    plain, smooth = atlas(equalise=False), atlas(equalise=False, smooth_map_px=1.3)
    batch = testing.lesioned("volume", 2)
    z, found = (m.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly for m in (plain, smooth))
    known = (batch.brain & (plain.count >= 10)).numpy()
    for n in range(2):
        wanted = ndimage.gaussian_filter(z[n, 0].double().numpy(), 1.3) * known[n, 0]
        np.testing.assert_allclose(found[n, 0], wanted, atol=1e-5, rtol=1e-4)
    assert (found.numpy()[~known] == 0).all()


def test_the_smooth_preset_smooths_before_and_after():
    build_it = {**HealthyAtlas.presets["smooth"]}
    method = HealthyAtlas(build(HealthyAtlasOptions, build_it, where="healthy_atlas"))
    method.fit(testing.Blobs(12, "volume"), minimise=testing.few_steps)
    batch = testing.lesioned("volume", 1)
    images = testing.Blobs(12, "volume").get(range(12))
    blurred = np.stack([ndimage.gaussian_filter(i[0].double().numpy(), 1.0) for i in images.x])
    everywhere = images.brain.all(0)[0].numpy()
    mean, deviation = blurred.mean(0), blurred.std(0, ddof=1)
    np.testing.assert_allclose(method.mean[0][everywhere], mean[everywhere], atol=1e-5)
    np.testing.assert_allclose(
        method.deviation[0][everywhere],
        np.maximum(deviation, float(method.deviation.min()))[everywhere],
        atol=1e-5,
    )
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    x = ndimage.gaussian_filter(batch.x[0, 0].double().numpy(), 1.0)
    known = (batch.brain[0, 0] & (method.count[0] >= 10)).numpy()
    z = np.abs(x - method.mean[0].numpy()) / method.deviation[0].numpy() * known
    np.testing.assert_allclose(found[0, 0], ndimage.gaussian_filter(z, 1.0) * known, rtol=1e-3)


@pytest.mark.parametrize("least", [2, 10, 12])
def test_voxels_inside_too_few_brains_are_counted(least):
    method = atlas(minimum_count=least)
    brains = testing.Blobs(12, "volume").get(range(12)).brain.numpy()
    counted = [sum(bool(b[0][place]) for b in brains) for place in np.ndindex(*brains.shape[2:])]
    scarce = sum(0 < n < least for n in counted)
    assert scarce > 0
    assert method.scarce == scarce
    inside = sum(n > 0 for n in counted)
    (note,) = method.notes()
    assert f"{scarce} of the {inside} voxels" in note
    assert f"fewer than {least} of them" in note


def test_the_card_of_a_detector_says_how_many_those_are(tmp_path):
    config = configured("healthy_atlas", "raw", {}, recipe=recipe("slices"))
    method = atlas(equalise=False)
    folder = Detector(config, method).save(tmp_path / "atlas")
    assert method.notes()[0] in (folder / "card.md").read_text()
    (again,) = Detector.load(folder).method.notes()
    assert again == method.notes()[0]


def test_too_few_scans_are_refused():
    with pytest.raises(DataError, match="5 healthy scans; give at least 10"):
        atlas(count=5)


def test_unaligned_brains_are_refused():
    class Scattered(testing.Blobs):
        def get(self, indices):
            batch = super().get(indices)
            nowhere = torch.zeros_like(batch.brain)
            return type(batch)(x=batch.x, brain=nowhere, keys=batch.keys)

    method = HealthyAtlas()
    with pytest.raises(DataError, match="no voxel lies inside enough healthy brains"):
        method.fit(Scattered(12, "volume"), minimise=testing.few_steps)


def test_a_scan_of_another_grid_is_refused():
    x = torch.rand(1, 1, 8, 8, 8)
    with pytest.raises(UsageError, match=r"shape \(1, 8, 8, 8\), the atlas"):
        atlas().detect(x, x > 0, rng=Rng([0]))


def slices(count=40, **options):
    method = HealthyAtlas(
        HealthyAtlasOptions(**{"equalise": False, "nearest": 12, "components": 5} | options)
    )
    method.fit(testing.Blobs(count, "axial"), minimise=testing.few_steps)
    return method


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stretch", [True, False], ids=["stretched", "as they lie"])
def test_nearest_keeps_the_contract(check, stretch):
    options = HealthyAtlasOptions(equalise=False, nearest=10, stretch=stretch)
    check(lambda: HealthyAtlas(options), view="axial")


def brute_force(method, x, brain, sign):
    """z of one image from the healthy ones by loops, numpy and a full principal decomposition."""
    healthy, covered = (a[:, 0].double().numpy() for a in (method.images, method.covered))
    image, inside = x[0].double().numpy(), brain[0].numpy()
    flat = healthy.reshape(len(healthy), -1)
    centre = flat.mean(0)
    axes = np.linalg.svd(flat - centre, full_matrices=False)[2][:5]
    place = axes @ (image.ravel() - centre)
    distances = [np.sum((axes @ (row - centre) - place) ** 2) for row in flat]
    chosen = sorted(range(len(flat)), key=lambda n: distances[n])[:12]
    mean, spread, count = (np.zeros(image.shape) for _ in range(3))
    for i, j in np.ndindex(*image.shape):
        own = [healthy[n, i, j] for n in chosen if covered[n, i, j]]
        count[i, j] = len(own)
        if len(own) > 1:
            mean[i, j], spread[i, j] = np.mean(own), np.std(own, ddof=1)
    ordered = np.sort(spread[count >= 10])
    floor = max(0.02, ordered[max(1, round(0.05 * len(ordered))) - 1])
    z = (image - mean) / np.maximum(spread, floor)
    z = {"absolute": np.abs(z), "dark": np.maximum(-z, 0), "bright": np.maximum(z, 0)}[sign]
    return z * (count >= 10) * inside


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_z_against_the_nearest_slices_is_that_of_brute_force(sign):
    method = slices(stretch=False, floor=0.02, sign=sign)
    batch = testing.lesioned("axial")
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    for n in range(len(batch)):
        expected = brute_force(method, batch.x[n], batch.brain[n], sign)
        np.testing.assert_allclose(found.anomaly[n, 0], expected, rtol=1e-3, atol=1e-3)
    assert found.anomaly.max() > (1 if sign == "bright" else 3)  # the lesion is dark


def test_stretched_z_is_that_of_the_stretched_images():
    stretching, plain = slices(), slices(stretch=False)
    plain.images, plain.covered = stretching.images, stretching.covered
    plain.centre, plain.axes, plain.places = (
        stretching.centre, stretching.axes, stretching.places)  # fmt: skip
    batch = testing.lesioned("axial", 1)
    frame, inside = nearest.stretched(batch.x, batch.brain)
    expected = nearest.returned(
        plain.detect(frame, torch.ones_like(inside), rng=Rng([0])).anomaly, batch.brain[0]
    )
    found = stretching.detect(batch.x, batch.brain, rng=Rng([0])).anomaly
    assert torch.allclose(found, expected * batch.brain, atol=1e-5)


def heads(sizes):
    """The same anatomy in heads of other sizes."""
    axes = [torch.linspace(-1, 1, n) for n in (32, 48)]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    radius = (rows.square() + columns.square()).sqrt() / torch.tensor(sizes).reshape(-1, 1, 1, 1)
    brain = radius < 1
    noise = Rng.named(5, [str(size) for size in sizes]).normal(1, 32, 48)
    x = (0.5 + 0.3 * torch.cos(6 * radius) + 0.02 * noise).clamp(0, 1) * brain
    return Batch(x=x, brain=brain, keys=tuple(str(size) for size in sizes))


def test_heads_of_another_size_need_the_stretch():
    healthy = testing.Fixed(heads([0.6 + 0.01 * n for n in range(40)]))
    mean = {}
    for stretch in (True, False):
        method = HealthyAtlas(HealthyAtlasOptions(equalise=False, nearest=20, stretch=stretch))
        method.fit(healthy, minimise=testing.few_steps)
        small = heads([0.45])
        found = method.detect(small.x, small.brain, rng=Rng([0])).anomaly
        mean[stretch] = float(found[small.brain].mean())
    assert mean[True] < 0.5 * mean[False]


def test_batches_do_not_change_a_single_bit():
    method, batch = slices(), testing.lesioned("axial", 5)
    whole = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    for n in range(5):
        own = (batch.x[n : n + 1], batch.brain[n : n + 1])
        assert torch.equal(method.detect(*own, rng=Rng([0])).anomaly[0], whole[n])


def test_floor_bounds_the_deviation_of_the_atlas():
    assert float(atlas(equalise=False, floor=0.2).deviation.min()) == pytest.approx(0.2)


def test_nearest_slices_have_no_count_of_places():
    method = slices()
    assert method.scarce == 0
    assert method.notes() == ()


def test_nearest_takes_slices_and_the_atlas_volumes():
    settings = {"recipe": recipe("slices")}
    assert configured("healthy_atlas", "nearest", {}, **settings).view == "axial"
    assert configured("healthy_atlas", "raw", {}, **settings).view == "volume"


def test_too_few_slices_are_refused():
    with pytest.raises(DataError, match="11 healthy slices; give at least 12 or lower nearest"):
        slices(count=11)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nearest": 9, "equalise": False}, "nearest 9 is below 2 or minimum_count 10"),
        ({"nearest": 1, "minimum_count": 1, "equalise": False}, "nearest 1 is below 2"),
        ({"nearest": 30}, "nearest compares slices, .* set equalise to false"),
        ({"components": 0}, "components is 0; give 1 or more"),
        ({"smooth_px": -1.0}, "smooth_px is -1.0; give a number >= 0"),
        ({"smooth_map_px": float("inf")}, "smooth_map_px is inf; give a number >= 0"),
        ({"smooth_map_px": 1.0, "nearest": 30, "equalise": False}, "smooth_map_px goes with one"),
        ({"floor": -0.1}, "floor is -0.1; give a number >= 0"),
        ({"floor": float("nan")}, "floor is nan; give a number >= 0"),
        ({"nearest": "many"}, "nearest"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        build(HealthyAtlasOptions, options, where="healthy_atlas")
