import pytest
import torch

from brainuad import testing
from brainuad.config import build
from brainuad.latents import warn_unused
from brainuad.method import Batch, preset_options
from brainuad.methods.latent_ddpm import LatentDdpm, LatentDdpmOptions
from brainuad.rng import Rng
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
        ({"requantise": False, "encoding": {"kind": "kl"}}, "requantise has no meaning .* kl"),
        ({"critic": {}, "encoding": {"kind": "downsampling"}}, "critic has no meaning"),
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


KINDS = ("non_quantised", "indices", "downsampling", "kl")
CONTRACT = (
    testing.map_is_valid,
    testing.weights_carry_everything,
    testing.batch_size_changes_nothing,
    testing.odd_sizes_are_answered_or_refused,
)


def encoded(kind, **changes):
    return {"encoding": {"kind": kind, "kl": {"preset": "tiny"}}, "percentile": 80.0, **changes}


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_every_encoding_keeps_the_contract(kind, check):
    check(lambda: made(**encoded(kind)), view="axial")


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_flagged_every_encoding_shows_its_own_view_of_the_scan(kind):
    method, batch = fitted(**encoded(kind)), testing.lesioned("axial")
    method.threshold = torch.full_like(method.threshold, float("inf"))
    detection = found(method, batch)
    assert (detection.anomaly == 0).all()
    view = method.encoding.images(method.encoding.latents(batch.x)).clamp(0, 1)
    torch.testing.assert_close(detection.healthy, view * batch.brain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoding_trains_on_latents_of_unit_deviation(kind):
    method = fitted(**encoded(kind, held_out=0.0))
    batch = testing.Blobs(12, "axial").get(range(12))
    kept = method.encoding.kept(batch.x)
    z = method.scale * method.encoding.drawn(kept, batch.rng(0))
    assert float(z.std()) == pytest.approx(1, rel=0.05)
    assert (float(method.perplexity) >= 1) == (kind in ("non_quantised", "indices"))


@pytest.mark.parametrize(
    ("kind", "stages"), [("kl", ["autoencoder", "denoiser"]), ("downsampling", ["denoiser"])]
)
def test_small_images_need_no_autoencoder_to_be_trained(kind, stages):
    seen = []

    def note(stage, module, loss, batches):
        seen.append(stage)
        testing.few_steps(stage, module, loss, batches)

    made(**encoded(kind)).fit(testing.Blobs(8, "axial"), minimise=note)
    assert seen == stages


def test_a_threshold_for_each_place_flags_its_share_at_each_of_them():
    method = fitted(held_out=0.0, percentile=75.0, per_location=True)
    batch = testing.Blobs(12, "axial").get(range(12))
    score = method.score(
        method.scale * method.encoding.latents(batch.x), rng=batch.rng(0, "threshold")
    )
    inside = torch.nn.functional.avg_pool2d(batch.brain.float(), 4) >= 0.5
    full = inside.all(0, keepdim=True)
    flagged = (score > method.threshold) & full
    assert method.threshold.shape == (1, 1, 8, 12)
    assert full.any()
    # of 12 values, 3 lie above the smallest one that at most a quarter exceeds
    assert (flagged.sum(0, keepdim=True)[full] == 3).all()


def test_thresholds_of_places_are_saved_and_bound_to_their_grid():
    testing.weights_carry_everything(lambda: made(per_location=True, percentile=80.0), view="axial")
    method, batch = fitted(per_location=True, percentile=80.0), testing.lesioned("axial")
    batch = testing.Batch(x=batch.x[..., 4:], brain=batch.brain[..., 4:], keys=batch.keys)
    with pytest.raises(UsageError, match="each of 8 x 12 cells, this image has 8 x 11"):
        found(method, batch)


def test_one_threshold_and_places_can_be_loaded_into_each_other():
    """Weights say themselves which of both they hold."""
    state = fitted(per_location=True, percentile=80.0).state_dict()
    method = made(percentile=80.0)
    method.restore(state)
    assert torch.equal(method.threshold, state["threshold"])
    assert method.threshold.ndim == 4


@pytest.mark.parametrize("kind", ["window", "full", "mean", "max", "top"])
def test_slices_have_a_score_that_does_not_depend_on_their_batch(kind):
    batch = testing.lesioned("axial")
    method = fitted(slice_score={"kind": kind}, percentile=80.0)
    whole = found(method, batch).score
    assert whole.shape == (3,)
    for n, key in enumerate(batch.keys):
        one = testing.Batch(x=batch.x[n : n + 1], brain=batch.brain[n : n + 1], keys=(key,))
        torch.testing.assert_close(found(method, one).score, whole[n : n + 1])
    if kind == "window":
        z = method.scale * method.encoding.latents(batch.x)
        score = method.score(z, rng=batch.rng(3, "detect").fork("score"))
        torch.testing.assert_close(whole, score.mean((1, 2, 3)))


def test_calls_for_the_bound_are_counted():
    testing.passes_are_counted(
        lambda: made(slice_score={"kind": "full"}, percentile=50.0), view="axial"
    )
    plain, full = made(), made(slice_score={"kind": "full"})
    assert full.passes((32, 48)) - plain.passes((32, 48)) == len(range(1, 1000, 50))


def test_an_unlikely_latent_scores_higher_as_a_whole():
    """A denoiser that knows the distribution: the score grows with the distance from its mean."""
    method = fitted()
    t_abar = method.schedule.abar

    def exact(z, t):
        abar = t_abar[t.cpu()].reshape(-1, 1, 1, 1).to(z)
        return (1 - abar).sqrt() * z  # data N(0, 1)

    method.predict_eps = exact
    far = torch.tensor([0.0, 1.0, 3.0]).reshape(3, 1, 1, 1).expand(3, 4, 8, 12)
    scores = method.score(far, rng=Rng([1, 1, 1])).mean((1, 2, 3))
    bound = method.bound(far, rng=Rng([1, 1, 1]))
    assert (scores.diff() > 0).all()
    assert (bound.diff() > 0).all()


def test_the_card_says_how_much_of_the_codebook_is_used_and_what_the_threshold_is():
    method = fitted(held_out=0.0, percentile=90.0)
    used, error, limit = method.notes()
    assert f"images: {method.perplexity:.0f} of at most {method.encoding.codes}." in used
    batch = testing.Blobs(12, "axial").get(range(12))
    view = method.autoencoder.decode(method.autoencoder.encode(batch.x))
    found = (view - batch.x).abs()[batch.brain].mean()
    assert float(error.split()[-4]) == pytest.approx(float(found), abs=2e-4)
    assert f"above {float(method.threshold):.3g} is sampled anew: percentile 90" in limit
    places = fitted(held_out=0.0, per_location=True).notes()[-1]
    assert "(a mean over places) is sampled anew" in places
    assert len(fitted(**encoded("kl")).notes()) == 2


def test_the_loss_is_the_error_of_the_noise_that_was_added():
    method = fitted()
    batch = testing.Blobs(8, "axial").get(range(8))
    kept, cells = method.encode(batch, 0)

    class Half(torch.nn.Module):
        def forward(self, z, t):
            self.z, self.t = z, t
            return torch.full_like(z, 0.5)

    method.denoiser = asked = Half()
    cached = Batch(x=kept.float(), brain=cells, keys=batch.keys)
    found = method.loss(cached, batch.rng(4))
    z = method.scale * method.autoencoder.quantiser.codes[kept.long()[:, 0]].movedim(-1, 1)
    abar = method.schedule.abar[asked.t].float()[:, None, None, None]
    eps = (asked.z - abar.sqrt() * z) / (1 - abar).sqrt()
    assert asked.t.unique().numel() > 4
    assert eps.mean().abs() < 0.15
    assert eps.std() == pytest.approx(1, abs=0.1)
    expected = (eps - 0.5).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
