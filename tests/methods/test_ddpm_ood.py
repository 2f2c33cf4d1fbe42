import numpy as np
import pytest
import torch
from tests.family import ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.latents import split
from brainuad.method import preset_options
from brainuad.methods.ddpm_ood import DdpmOod, DdpmOodOptions
from brainuad.train_settings import TrainSettings, plan
from brainuad.types import DataError, UnavailableError, UsageError

LATENT = {"autoencoder": {"preset": "tiny"}}


class Knows(nn.Module):
    """Takes these images in [-1, 1] for the clean ones, whatever it sees."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, x, t):
        return self.x0


def made(**changes) -> DdpmOod:
    options = {**preset_options("ddpm_ood", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DdpmOod(build(DdpmOodOptions, options, where="ddpm_ood"))


def fitted(**changes) -> DdpmOod:
    return testing.fitted(lambda: made(**changes), "axial")  # pyright: ignore[reportReturnType]


def knowing(healthy, **changes) -> DdpmOod:
    """Whose every reconstruction is ``healthy``; errors of healthy images: 0.1 and 0.2 wide."""
    method = ready(made(predict="x0", **changes), Knows(2 * healthy - 1))
    method.healthy.mean.copy_(torch.tensor([0.01, 0.03]))
    method.healthy.deviation.copy_(torch.tensor([0.1, 0.2]))
    return method


def found(method, batch, seed=3):
    return method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))


def blobs(count: int = 2):
    return testing.Blobs(count, "axial").get(range(count))


def test_map_is_the_squared_error_in_healthy_deviations():
    batch = blobs()
    healthy = 0.8 * batch.x
    detection = found(knowing(healthy), batch)
    wanted = (batch.x - healthy).square() * (1 / 0.1 + 1 / 0.2) / 2
    torch.testing.assert_close(detection.anomaly, wanted, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(detection.healthy, healthy, atol=1e-4, rtol=0)


@pytest.mark.parametrize("region", ["brain", "image"])
def test_score_is_the_mean_z_score_of_the_mean_squared_error(region):
    batch = blobs()
    healthy = 0.8 * batch.x
    detection = found(knowing(healthy, region=region), batch)
    for x, y, brain, score in zip(batch.x, healthy, batch.brain, detection.score, strict=True):
        squares = ((x - y) ** 2).numpy()
        mse = squares[brain.numpy()].mean() if region == "brain" else squares.mean()
        wanted = ((mse - 0.01) / 0.1 + (mse - 0.03) / 0.2) / 2
        assert float(score) == pytest.approx(wanted, abs=1e-4)


def test_mean_of_the_map_is_the_score_but_for_a_constant():
    method, batch = fitted(), testing.lesioned("axial")
    detection = found(method, batch)
    inside = batch.brain.flatten(1).sum(1)
    mean = detection.anomaly.flatten(1).sum(1) / inside
    constant = (method.healthy.mean / method.healthy.deviation).mean()
    torch.testing.assert_close(mean - constant, detection.score, atol=1e-3, rtol=1e-4)


def test_slice_score_is_the_score_of_the_detection():
    method, batch = fitted(), testing.lesioned("axial")
    alone = method.slice_score(batch.x, batch.brain, rng=batch.rng(3, "detect"))
    assert torch.equal(alone, found(method, batch).score)


def test_an_unusual_image_scores_higher_than_a_usual_one():
    batch = blobs()
    lesion = batch.x.clone()
    lesion[0, :, 14:18, 22:26] *= 0.2
    method = knowing(batch.x)
    scores = method.slice_score(lesion, batch.brain, rng=batch.rng(0))
    assert scores[0] > scores[1]


def test_healthy_errors_are_those_of_the_images_that_were_held_out():
    method, images = made(), testing.Blobs(12, "axial")
    trained_on = []

    def minimise(stage, module, loss, batches):
        trained_on.append([key for batch in batches.in_order(5) for key in batch.keys])
        testing.few_steps(stage, module, loss, batches)

    method.fit(images, minimise=minimise)
    training, rest = split(images, 0.5)
    batch = rest.get(range(6))
    assert trained_on == [training.all_keys()]
    assert not set(batch.keys) & set(trained_on[0])
    with torch.no_grad():
        errors = method.errors(batch.x, batch.brain, rng=batch.rng(0, "healthy")).numpy()
    np.testing.assert_allclose(method.healthy.mean, errors.mean(1), rtol=1e-4)
    np.testing.assert_allclose(method.healthy.deviation, errors.std(1, ddof=1), rtol=1e-3)
    assert set(method.state_dict()) >= {"healthy.mean", "healthy.deviation"}


def test_at_most_so_many_healthy_images_are_reconstructed(monkeypatch):
    seen = []
    errors = DdpmOod.errors
    monkeypatch.setattr(
        DdpmOod, "errors", lambda s, x, b, *, rng: seen.append(len(x)) or errors(s, x, b, rng=rng)
    )
    fitted(measured=3)
    assert sum(seen) == 3


def test_counterpart_is_the_image_with_the_lowest_map():
    method, batch = fitted(), testing.lesioned("axial")
    detection = found(method, batch)
    with torch.no_grad():
        copies = list(method.reconstructions(batch.x, rng=batch.rng(3, "detect")))

    def total(y):
        parts = zip(method.healthy.weights(), copies, strict=True)
        return sum(float((w * (y - c).square() * batch.brain).sum()) for w, c in parts)

    best = total(detection.healthy)
    noise = 0.02 * torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(0))
    assert best < total(detection.healthy + noise)
    assert best < min(total(copy * batch.brain) for copy in copies)


@pytest.mark.parametrize(
    ("skip", "count"), [(2, 50), (4, 25), (5, 20), (8, 13), (16, 7), (32, 4), (64, 2)]
)
def test_reconstructions_are_as_many_as_published(skip, count):
    assert len(made(walk=100, skip=skip).starts) == count


def test_a_reconstruction_starts_at_its_own_level():
    """The net is asked first about the start, then about every level below it."""
    asked = []

    class Listens(Knows):
        def forward(self, x, t):
            asked.append(int(t[0]))
            return self.x0

    batch = blobs()
    method = knowing(batch.x, walk=4, skip=2)
    method.net = Listens(2 * batch.x - 1)
    found(method, batch)
    assert asked == [250, 0, 0, 750, 500, 500, 250, 0]


def test_dark_and_bright_maps_add_up_and_the_score_has_no_sign():
    state, batch = fitted().state_dict(), testing.lesioned("axial")
    detections = {}
    for sign in ("absolute", "dark", "bright"):
        method = made(sign=sign)
        method.restore(state)
        detections[sign] = found(method.eval(), batch)
    both = detections["dark"].anomaly + detections["bright"].anomaly
    torch.testing.assert_close(both, detections["absolute"].anomaly)
    assert torch.equal(detections["dark"].score, detections["bright"].score)


@pytest.mark.parametrize(
    "check",
    [
        testing.map_is_valid,
        testing.weights_carry_everything,
        testing.batch_size_changes_nothing,
        testing.passes_are_counted,
        testing.odd_sizes_are_answered_or_refused,
    ],
)
def test_the_contract_holds_on_latents(check):
    check(lambda: made(**LATENT), view="axial")


def test_latents_are_scaled_to_unit_deviation_and_given_back():
    method, batch = fitted(**LATENT), blobs(6)
    z = method.into(batch.x)
    assert float(z.std()) == pytest.approx(1, rel=0.2)
    torch.testing.assert_close(
        method.out_of(z), method.autoencoder.decode(method.autoencoder.encode(batch.x))
    )


def test_images_are_scaled_and_given_back():
    method, batch = made(scale=0.3), blobs()
    assert float(method.into(batch.x).abs().max()) <= 0.3 + 1e-6
    torch.testing.assert_close(method.out_of(method.into(batch.x)), batch.x)


def test_without_an_autoencoder_the_denoiser_has_the_whole_time():
    settings = TrainSettings(time_budget=100.0)
    for options, seconds in (({}, 100), (LATENT, 65)):
        shares = DdpmOod.stages_with(made(**options).options)
        of_stage = plan(settings, "denoiser", shares=shares, images=10, precision="32")
        assert of_stage.seconds == pytest.approx(seconds)


def test_too_few_healthy_images_are_refused_before_anything_is_trained():
    def minimise(*given):
        raise AssertionError("nothing should be trained")

    with pytest.raises(DataError, match=r"1 image\(s\) to say how much they differ; give more"):
        made(held_out=0.1).fit(testing.Blobs(8, "axial"), minimise=minimise)


def test_scores_before_a_fit_are_refused():
    batch = blobs()
    with pytest.raises(UnavailableError, match="not fitted yet; call fit"):
        made().slice_score(batch.x, batch.brain, rng=batch.rng(0))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"walk": 300}, "300 of 1000 steps cannot be reached by a whole stride"),
        ({"walk": 1}, "walk"),
        ({"critic": {}}, "a critic without an autoencoder to judge; leave it out"),
        ({"autoencoder": {"codes": 5000}}, "5000 codes; use at most 2048"),
        ({"autoencoder": {"dimensions": 3}}, "autoencoder of 3 dimensions; slices have 2"),
        ({"perceptual": "vgg"}, "perceptual"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, match):
    with pytest.raises(UsageError, match=match):
        made(**changes)
