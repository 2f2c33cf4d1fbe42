import pytest
import torch

from brainuad import testing
from brainuad.methods.healthy_atlas import HealthyAtlas, HealthyAtlasOptions
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
