import pytest
import torch

from brainuad import testing
from brainuad.config import build
from brainuad.latents import warn_unused
from brainuad.method import preset_options
from brainuad.methods.latent_ddpm import LatentDdpm, LatentDdpmOptions
from brainuad.types import UsageError


def made(**changes) -> LatentDdpm:
    options = {**preset_options("latent_ddpm", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LatentDdpm(build(LatentDdpmOptions, options, where="latent_ddpm"))


def fitted(**changes) -> LatentDdpm:
    return testing.fitted(lambda: made(**changes), "axial")  # pyright: ignore[reportReturnType]


def found(method, batch, seed=3):
    return method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))


def test_the_threshold_flags_its_share_of_the_images_it_was_set_on():
    method = fitted(held_out=0.0, percentile=90.0)
    flagged, cells = 0, 0
    for batch in testing.Blobs(12, "axial").in_order(16):
        z = method.scale * method.autoencoder.encode(batch.x)
        score = method.score(z, rng=batch.rng(0, "threshold"))
        inside = torch.nn.functional.avg_pool2d(batch.brain.float(), 4) >= 0.5
        flagged += int((score > method.threshold)[inside].sum())
        cells += int(inside.sum())
    assert flagged / cells == pytest.approx(0.10, abs=1.5 / cells + 1e-3)


def test_with_nothing_flagged_the_map_is_empty_and_the_image_is_the_reconstruction():
    method, batch = fitted(), testing.lesioned("axial")
    method.threshold.fill_(float("inf"))
    detection = found(method, batch)
    assert (detection.anomaly == 0).all()
    view = method.autoencoder.decode(method.autoencoder.encode(batch.x)).clamp(0, 1)
    torch.testing.assert_close(detection.healthy, view * batch.brain)


@pytest.mark.parametrize("kind", ["masked", "smoothed", "residual"])
def test_the_map_is_the_residual_times_its_weight(kind):
    method, batch = fitted(map={"kind": kind}, percentile=80.0), testing.lesioned("axial")
    detection = found(method, batch)
    z = method.scale * method.autoencoder.encode(batch.x)
    score = method.score(z, rng=batch.rng(3, "detect").fork("score"))
    mask = (score > method.threshold).repeat_interleave(4, 2).repeat_interleave(4, 3)
    if kind == "masked":
        assert (detection.anomaly[~mask] == 0).all()
        assert (detection.anomaly[mask & batch.brain] > 0).any()
    if kind == "smoothed":
        near = torch.nn.functional.max_pool2d(mask.float(), 33, stride=1, padding=16) > 0
        assert (detection.anomaly[~near] == 0).all()
    if kind == "residual":
        assert (detection.anomaly[~mask & batch.brain] > 0).any()


def test_the_three_maps_are_ordered():
    """A weight of at most 1 can only lower the residual, where both see the same repainting."""
    batch = testing.lesioned("axial")
    state = fitted(percentile=80.0).state_dict()
    maps = {}
    for kind in ("residual", "masked", "smoothed"):
        method = made(map={"kind": kind}, percentile=80.0)
        method.restore(state)
        maps[kind] = found(method.eval(), batch).anomaly
    assert (maps["masked"] <= maps["residual"] + 1e-6).all()
    assert (maps["smoothed"] <= maps["residual"] + 1e-6).all()


def test_compared_with_its_own_reconstruction_unflagged_images_show_nothing():
    method = fitted(map={"kind": "residual", "reference": "reconstruction"})
    method.threshold.fill_(float("inf"))
    assert (found(method, testing.lesioned("axial")).anomaly == 0).all()


def test_the_scale_gives_latents_of_unit_deviation():
    method = fitted(held_out=0.0)
    z = torch.cat([method.autoencoder.encode(b.x) for b in testing.Blobs(12, "axial").in_order(4)])
    assert float((method.scale * z).std()) == pytest.approx(1, rel=0.05)
    assert 1 <= float(method.perplexity) <= 16


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"repaint": {"start": 1000}}, "start below 1000"),
        ({"repaint": {"start": 10, "steps": 20}}, "repaint in 20 steps from step 10"),
        ({"autoencoder": {"preset": "tiny", "codes": 5000}}, "5000 codes; use at most 2048"),
        ({"percentile": 100.0}, "percentile"),
        ({"map": {"kind": "score", "sign": "dark"}}, "sign and reference have no meaning"),
        ({"scorer": {"window": (75, 1000)}}, "window up to step 1000 of 1000"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, match):
    with pytest.raises(UsageError, match=match):
        made(**changes)


def test_an_autoencoder_that_was_never_fitted_is_noticed():
    with pytest.raises(Exception, match="not fitted yet; call fit"):
        found(made().eval(), testing.lesioned("axial"))


def test_a_codebook_that_is_mostly_unused_is_said(caplog):
    warn_unused(300.0, 512)
    assert not caplog.records
    warn_unused(100.0, 512)
    assert "codebook of 512 codes: perplexity 100, less than 0.5 of them; train" in caplog.text
