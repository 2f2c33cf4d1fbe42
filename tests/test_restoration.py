"""Residuals that methods share, and restorations drawn several times, with analytic nets."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.family import Copy, Stand, ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.detector_config import configured, new_method
from brainuad.difference import structural_ensemble
from brainuad.diffusion import TINY
from brainuad.method import method_class, method_names
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.prepare import recipe
from brainuad.rng import Rng
from brainuad.types import UsageError

DRAWN = ("ddpm", "pddpm", "mddpm", "cddpm")
WITH_RESIDUAL = tuple(
    name for name in method_names() if hasattr(method_class(name).Options, "residual")
)
SINGLE = ("autoencoder", "dae", "vae", "vqvae", *DRAWN)
"""Methods whose map is one residual to the healthy counterpart that they show."""


def made(name, **changes) -> Any:
    return new_method(configured(name, "tiny", changes, recipe=recipe("phantom")))


def ddpm(net=None, **changes):
    options = build(DdpmOptions, {"net": TINY, **changes}, where="ddpm")
    return ready(Ddpm(options), net or Stand())


def test_every_method_that_restores_offers_the_residuals():
    assert set(WITH_RESIDUAL) == {*SINGLE, "svae", "disyre", "thor", "autoddpm"}


@pytest.mark.parametrize("name", WITH_RESIDUAL)
@pytest.mark.parametrize("kind", ["ssim", "ssim_ensemble"])
@pytest.mark.parametrize("sign", ["dark", "bright"])
def test_one_sign_of_a_similarity_is_refused_when_the_method_is_made(name, kind, sign):
    with pytest.raises(UsageError, match=f"residual: {kind} has no sign, and sign is {sign}; set"):
        made(name, residual=kind, sign=sign)


@pytest.mark.parametrize("name", WITH_RESIDUAL)
def test_a_residual_that_does_not_exist_is_refused(name):
    with pytest.raises(UsageError, match="residual: .*'ssim_ensemble'"):
        made(name, residual="l3")


@pytest.mark.parametrize("name", WITH_RESIDUAL)
@pytest.mark.parametrize("kind", ["ssim", "ssim_ensemble"])
@pytest.mark.parametrize(
    "check",
    [testing.map_is_valid, testing.batch_size_changes_nothing, testing.poor_images_get_an_answer],
    ids=lambda check: check.__name__,
)
def test_contract_with_other_residuals(check, kind, name):
    check(lambda: made(name, residual=kind), view=method_class(name).views[0])


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("kind", ["squared", "ssim_ensemble"])
def test_the_map_is_the_residual_to_the_counterpart_inside_the_brain(name, kind):
    batch = testing.lesioned("axial")
    method = testing.fitted(lambda: made(name, residual=kind), "axial")
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.healthy is not None
    plain = (batch.x - found.healthy).square()
    wanted = plain if kind == "squared" else structural_ensemble(batch.x, found.healthy)
    wanted = wanted * batch.brain
    torch.testing.assert_close(found.anomaly, wanted)
    assert found.anomaly.max() > 0.1


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract_with_several_draws(check, name):
    check(lambda: made(name, mahalanobis=3, residual="ssim"), view="axial")


def brute_factor(x, draws, brain):
    """Blurred parts of the distance of one image (i, j), by a full inverse; negative ones at 0."""
    rows = draws[:, brain]
    sigma = np.cov(rows, rowvar=False) + 0.01 * np.eye(rows.shape[1])
    d = x[brain] - rows.mean(0)
    parts = np.zeros(x.shape)
    parts[brain] = 0.01 * d * (np.linalg.inv(sigma) @ d)
    return np.maximum(ndimage.gaussian_filter(parts, 1.0), 0)


@pytest.mark.parametrize("levels", [[500], [300, 600]])
def test_the_map_is_the_residual_to_the_mean_times_the_distance_of_the_image(levels):
    batch = testing.lesioned("axial", 2)
    method, rng = ddpm(levels=levels, mahalanobis=4), batch.rng(1)
    found = method.detect(batch.x, batch.brain, rng=rng)
    draws = []
    for n in range(4):
        starts = method.starts(batch.x, rng.fork("draw", n))
        draws.append(torch.stack(method.restorations(batch.x, batch.brain, starts)).mean(0))
    mean = torch.stack(draws).mean(0) * batch.brain
    torch.testing.assert_close(found.healthy, mean)
    for n in range(2):
        x, brain = batch.x[n, 0].double().numpy(), batch.brain[n, 0].numpy()
        own = np.stack([draw[n, 0].double().numpy() for draw in draws])
        wanted = np.abs(x - own.mean(0)) * brain * brute_factor(x, own, brain)
        np.testing.assert_allclose(found.anomaly[n, 0], wanted, atol=1e-6, rtol=1e-3)


def test_draws_are_independent():
    batch = testing.lesioned("axial", 1)
    method, rng = ddpm(noise={"kind": "gaussian"}), batch.rng(1)
    noise = [method.starts(batch.x, rng.fork("draw", n))[0][1].flatten() for n in range(6)]
    together = np.corrcoef(torch.stack(noise))
    # Chance correlations of 1536 numbers have a standard deviation of 0.026.
    assert np.abs(together[~np.eye(6, dtype=bool)]).max() < 0.13


def test_what_differs_from_draw_to_draw_counts_less_than_what_never_does():
    """Two squares, each equally unlike the mean; only the first one varies from draw to draw."""
    batch = testing.Blobs(1, "axial").get([0])
    brain = torch.ones_like(batch.brain)
    x = torch.full_like(batch.x, 0.5)
    first = (..., slice(8, 14), slice(8, 14))
    second = (..., slice(20, 26), slice(30, 36))
    calls = []

    class Wavering(nn.Module):
        def forward(self, x_t, t):
            calls.append(len(calls))
            healthy = torch.zeros_like(x_t)
            healthy[first] = 0.4 + 0.4 * (-1) ** len(calls)
            healthy[second] = 0.4
            return healthy

    found = ddpm(Wavering(), mahalanobis=6).detect(x, brain, rng=batch.rng(0)).anomaly
    varying, steady = (float(found[square].mean()) for square in (first, second))
    assert 0 < varying < 0.1 * steady


def test_a_net_that_hears_no_noise_leaves_the_blurred_square_as_factor():
    batch = testing.lesioned("axial", 2)

    class Flat(nn.Module):
        def forward(self, x_t, t):
            return torch.zeros_like(x_t)

    found = ddpm(Flat(), mahalanobis=3).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    size = ((batch.x - 0.5).abs() * batch.brain).numpy()
    wanted = size * ndimage.gaussian_filter(size**2, (0, 0, 1, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("count", [1, -2])
def test_a_covariance_of_fewer_than_two_draws_is_refused(name, count):
    with pytest.raises(UsageError, match="mahalanobis"):
        made(name, mahalanobis=count)
    if count == 1:
        with pytest.raises(UsageError, match="mahalanobis: a covariance of 1 draws; give 0"):
            DdpmOptions(mahalanobis=1)


def test_draws_multiply_the_calls_of_the_net():
    assert ddpm(levels=[300, 600], walk=2, mahalanobis=5).passes((8, 8)) == 2 * 2 * 5
    assert ddpm(levels=[300, 600], walk=2).passes((8, 8)) == 2 * 2
    assert ddpm(levels=[300, 600], walk=2, draws=5).passes((8, 8)) == 2 * 2 * 5


def test_several_draws_without_the_factor_compare_with_their_mean():
    batch = testing.lesioned("axial", 2)
    method, rng = ddpm(draws=3), batch.rng(1)
    found = method.detect(batch.x, batch.brain, rng=rng)
    drawn = [
        method.restorations(batch.x, batch.brain, method.starts(batch.x, rng.fork("draw", n)))[0]
        for n in range(3)
    ]
    mean = torch.stack(drawn).mean(0) * batch.brain
    torch.testing.assert_close(found.healthy, mean)
    torch.testing.assert_close(found.anomaly, (batch.x - mean).abs() * batch.brain)


@pytest.mark.parametrize("name", DRAWN)
def test_draws_of_a_mean_and_of_a_covariance_at_once_are_refused(name):
    with pytest.raises(UsageError, match="draws: 3, but mahalanobis says that 5 are drawn; leave"):
        made(name, draws=3, mahalanobis=5)


# Synthetic anomalies and the levels of training


class Seen(nn.Module):
    """Answers the clean images, whatever it sees, and keeps what it saw."""

    def __init__(self, clean):
        super().__init__()
        self.clean, self.images, self.steps = 2 * clean - 1, None, None

    def forward(self, x, t, condition=None):
        self.images, self.steps = x, t
        return self.clean


def batch_of(count):
    return testing.Blobs(count, "axial").get(range(count))


def trained_once(name, batch, **changes):
    """A method's loss with a net that answers the clean image, and what that net saw."""
    method = made(name, augment=None, **changes)
    method.net = Seen(batch.x)
    return method.loss(batch, batch.rng(0)), method.net


@pytest.mark.parametrize("name", DRAWN)
def test_the_target_is_the_slice_without_the_anomalies(name):
    batch = batch_of(6)
    loss, seen = trained_once(name, batch, sick=1.0, levels=[1], only_levels=True)
    assert loss.abs().max() == 0  # only if the clean slice is what is asked for
    assert set(seen.steps.tolist()) == {0}
    still = trained_once(name, batch, levels=[1], only_levels=True)[1]
    # The same noise and masks: what differs is the anomalies.
    assert ((seen.images - still.images).abs().flatten(1).max(1).values > 0.1).all()


def test_so_many_slices_are_sick_and_dark_ones_darker():
    method, batch = made("ddpm", sick=0.5, sign="dark", anomalies={"grain": 0.0}), batch_of(100)
    shown = method.shown(batch.x, batch.brain, batch.rng(0))
    changed = (shown != batch.x).flatten(1).any(1)
    assert 30 < int(changed.sum()) < 70
    assert (shown <= batch.x).all()
    again = method.shown(batch.x[:7], batch.brain[:7], Rng(batch.rng(0).seeds[:7]))
    assert torch.equal(again, shown[:7])
    assert made("ddpm").shown(batch.x, batch.brain, batch.rng(0)) is batch.x


def test_the_condition_is_made_of_what_the_net_is_shown():
    batch, told = batch_of(3), []
    method = made("cddpm", sick=1.0)
    encoder = method.encoder.forward
    method.encoder.forward = lambda x: told.append(x) or encoder(x)
    method.loss(batch, batch.rng(0))
    wanted = method.shown(batch.x, batch.brain, batch.rng(0).fork("sick"))
    torch.testing.assert_close(told[0], wanted)
    assert not torch.allclose(wanted, batch.x, atol=0.05)


@pytest.mark.parametrize("name", DRAWN)
def test_a_net_may_learn_at_the_levels_of_detection_alone(name):
    batch = batch_of(60)
    for only in (True, False):
        seen = trained_once(name, batch, levels=[200, 700], only_levels=only)[1]
        steps = set(seen.steps.tolist())
        assert (steps == {199, 699}) is only


@pytest.mark.parametrize("name", DRAWN)
def test_anomalies_need_a_net_that_says_the_clean_image(name):
    with pytest.raises(UsageError, match=r"sick: 0.5 with predict eps; .* use predict x0"):
        made(name, sick=0.5, predict="eps")


def test_a_walk_needs_all_levels():
    with pytest.raises(UsageError, match="only_levels with a walk of 5 calls, .* set it to false"):
        made("ddpm", walk=5, only_levels=True)


@pytest.mark.parametrize("name", DRAWN)
def test_without_noise_in_detection_the_net_sees_the_scaled_slice(name):
    batch = testing.lesioned("axial")
    method = ready(made(name, detection_noise=0, levels=[300]), Copy())
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    scale = method.left(300) ** 0.5
    torch.testing.assert_close(
        2 * found.healthy - 1, torch.where(batch.brain, scale * (2 * batch.x - 1), -1.0)
    )
    other = method.detect(batch.x, batch.brain, rng=batch.rng(1))
    assert torch.equal(found.anomaly, other.anomaly)


@pytest.mark.parametrize("changes", [{"draws": 3}, {"mahalanobis": 2}])
def test_draws_need_noise(changes):
    with pytest.raises(UsageError, match=r"detection_noise: 0, so . draws are all the same"):
        made("ddpm", detection_noise=0, **changes)


def test_half_of_the_noise_is_half_of_the_noise():
    batch = testing.lesioned("axial")
    found = [
        ready(made("ddpm", detection_noise=share, levels=[300], sign="absolute"), Copy())
        .detect(batch.x, batch.brain, rng=batch.rng(0))
        .healthy
        for share in (0.0, 0.5, 1.0)
    ]
    none, half, whole = found
    torch.testing.assert_close(half, (none + whole) / 2)
    assert not torch.allclose(none, whole, atol=0.05)


def test_fresh_noise_on_the_way_needs_noise_in_detection():
    with pytest.raises(UsageError, match=r"eta 1.0 draws fresh noise, but detection_noise is 0.0"):
        made("ddpm", walk=5, eta=1.0, detection_noise=0.0)


def test_anomalies_are_made_in_slices_of_one_channel():
    net = {"net": {**TINY, "channels_in": 3, "channels_out": 3}, "sick": 0.5}
    with pytest.raises(UsageError, match="sick: 0.5 with 3 channels in 2 dimensions"):
        build(DdpmOptions, net, where="ddpm")
