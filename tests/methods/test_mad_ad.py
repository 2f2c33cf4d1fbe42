import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brainuad import testing
from brainuad.config import build
from brainuad.method import preset_options
from brainuad.methods.mad_ad import MadAd, MadAdOptions
from brainuad.rng import Rng
from brainuad.types import UsageError


def made(preset="tiny", **options):
    torch.manual_seed(0)
    method = MadAd(build(MadAdOptions, {**preset_options("mad_ad", preset), **options}))
    method.mark_fitted()
    return method.eval()


class Says(nn.Module):
    """A denoiser that answers the same to everything: x0 everywhere, the cells to flag."""

    def __init__(self, x0, flagged):
        super().__init__()
        self.x0, self.flagged = x0, flagged

    def forward(self, z, t):
        logit = torch.where(self.flagged, 4.0, -4.0)
        return self.x0.expand_as(z), logit.expand(len(z), 1, *z.shape[2:])


def cells(batch, method):
    return torch.zeros(1, 1, *[n // method.autoencoder.factor for n in batch.x.shape[2:]]).bool()


# The network as it starts: mad_ad.md invariant 4


def test_at_the_start_nothing_is_restored_and_nothing_is_flagged():
    method = made()
    z = torch.randn(3, method.autoencoder.latent_channels, 8, 12)
    x0, logit = method.denoiser(z, torch.tensor([0, 4, 9]))
    assert (x0 == 0).all()
    assert (logit == 0).all()
    assert torch.equal(method.heal(z, rng=Rng([1, 2, 3])).final, z)


@pytest.mark.parametrize(("kind", "price"), [("bce", math.log(2)), ("mse", 0.25)])
def test_the_loss_at_the_start(kind, price):
    method = made(mask_loss=kind, mask_weight=0.3)
    z = torch.randn(2, 2, 8, 12)
    noised = torch.rand(2, 1, 8, 12) > 0.8
    x0, logit = torch.zeros_like(z), torch.zeros(2, 1, 8, 12)
    assert method.mask_loss(logit, noised) == pytest.approx(torch.full((2,), price), abs=1e-6)
    expected = z.square().flatten(1).mean(1)
    assert method.restoration_loss(z, x0, noised) == pytest.approx(expected, abs=1e-6)


def test_noised_cells_can_weigh_more():
    z, noised = torch.ones(1, 2, 4, 4), torch.zeros(1, 1, 4, 4).bool()
    noised[..., :2] = True
    loss = made(noised_weight=5.0).restoration_loss(z, 0 * z, noised)
    assert loss == pytest.approx(torch.tensor([(1 + 5) / 2]))


@pytest.mark.golden
def test_published_loss(golden):
    data = golden("madad_loss")
    z0, eps = torch.tensor(data["z0"]), torch.tensor(data["eps"])
    keep, t = torch.tensor(data["keep_mask"]).bool(), torch.tensor(data["t"]).long()
    method = made(mask_loss="mse", mask_weight=0.001)
    noised = ~keep
    z_t = torch.where(noised, method.schedule.add_noise(z0, eps, t), z0)
    x0, keep_logit = analytic_net(z_t, t)
    mse = method.restoration_loss(z0, x0, noised)
    mask = method.mask_loss(-keep_logit, noised)
    assert mse.numpy() == pytest.approx(data["mse"], abs=1e-6)
    assert mask.numpy() == pytest.approx(data["mask_mse"], abs=1e-6)
    loss = mse + method.options.mask_weight * mask
    assert loss.numpy() == pytest.approx(data["loss"], abs=1e-6)
    assert float(loss.mean()) == pytest.approx(float(data["loss_batch_mean"]), abs=1e-6)
    start = z0.square().flatten(1).mean(1) + 0.001 * 0.25
    assert np.ravel(data["init_net_loss"]) == pytest.approx(
        start.numpy() if data["init_net_loss"].size > 1 else [float(start.mean())], abs=1e-6
    )


def analytic_net(z, t):
    """Network A1 of the golden files: clean estimate and logit of "clean"."""
    s = (t / 10).reshape(-1, 1, 1, 1)
    mean = torch.nn.functional.avg_pool2d(z.mean(1, keepdim=True), 3, 1, 1)
    return torch.tanh(0.8 * z + 0.1 * s), 0.3 - 4 * mean + 0.2 * s


# Detection


def test_no_flagged_cell_gives_a_map_of_exactly_zero():
    method, batch = made(), testing.lesioned("axial")
    method.denoiser = Says(torch.ones(1), cells(batch, method))
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert (found.anomaly == 0).all()


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_cells_flagged_to_the_end_become_the_clean_estimate(eta):
    method, batch = made(eta=eta), testing.lesioned("axial")
    flagged = cells(batch, method)
    flagged[..., 3:5, 4:6] = True
    method.denoiser = Says(torch.full((1, 2, 1, 1), 0.7), flagged)
    z = torch.randn(3, 2, *flagged.shape[2:])
    final = method.heal(z, rng=Rng([1, 2, 3])).final
    inside = flagged.expand_as(z)
    assert final[inside] == pytest.approx(torch.full_like(final[inside], 0.7), abs=1e-6)
    assert torch.equal(final[~inside], z[~inside])


def test_the_gate_keeps_the_map_near_flagged_cells():
    batch = testing.lesioned("axial")
    method = made(map={"gate": True, "smooth_px": [6.0]})
    flagged = cells(batch, method)
    flagged[..., 3, 4] = True
    method.denoiser = Says(torch.full((1, 2, 1, 1), 3.0), flagged)
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    near = torch.zeros_like(anomaly).bool()
    near[..., 8:20, 12:24] = True
    assert (anomaly[near & batch.brain] > 0).any()
    assert (anomaly[~near] == 0).all()


class Blocks(nn.Module):
    """An autoencoder whose latent is the mean of each block of 4 x 4 pixels."""

    factor, latent_channels = 4, 1

    def encode(self, x):
        mean = nn.functional.avg_pool2d(x, 4)
        return mean, torch.full_like(mean, -30.0)

    def decode(self, z):
        return nn.functional.interpolate(z, scale_factor=4.0, mode="nearest")


@pytest.mark.parametrize("source", ["image", "latent", "mask"])
def test_every_map_source_points_at_the_flagged_cells(source):
    batch = testing.lesioned("axial")
    method = made(map={"source": source, "gate": False, "smooth_px": [1.0], "clip": 0.0})
    method.autoencoder = Blocks()
    flagged = cells(batch, method)
    flagged[..., 3:5, 5:7] = True
    method.denoiser = Says(torch.full((1, 1, 1, 1), 3.0), flagged)
    anomaly = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    inside = torch.zeros_like(anomaly).bool()
    inside[..., 12:20, 20:28] = True
    assert anomaly[inside].mean() > 5 * anomaly[batch.brain & ~inside].mean()


def says_three(**options):
    """A method on block means that restores a few cells, and what it finds in a lesioned batch."""
    batch = testing.lesioned("axial")
    method = made(map={"gate": False, "smooth_px": [1.5], **options})
    method.autoencoder = Blocks()
    flagged = cells(batch, method)
    flagged[..., 3:5, 5:7] = True
    method.denoiser = Says(torch.full((1, 1, 1, 1), 3.0), flagged)
    return method, batch


def anomaly(method, batch):
    return method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly


@pytest.mark.parametrize("changes", [{}, {"squared": True}, {"reference": "input"}])
def test_the_average_map_is_the_mean_of_those_of_image_and_latent(changes):
    maps = {}
    for source in ("image", "latent", "average"):
        own = {k: v for k, v in changes.items() if (source, k) != ("latent", "reference")}
        method, batch = says_three(source=source, clip=0.0, **own)
        method.scale.fill_(0.5)  # so that latents do not differ by as much as images
        maps[source] = anomaly(method, batch)
    assert (maps["image"] - maps["latent"]).abs().max() > 0.01
    torch.testing.assert_close(maps["average"], (maps["image"] + maps["latent"]) / 2)


def test_widths_in_mm_are_widths_in_pixels_times_their_size():
    in_px, batch = says_three(smooth_px=[1.0, 2.5])
    in_mm, _ = says_three(smooth_mm=[2.0, 5.0])
    in_mm.pixel_mm = (2.0, 2.0)
    torch.testing.assert_close(anomaly(in_mm, batch), anomaly(in_px, batch))
    in_mm.pixel_mm = (1.0, 1.0)
    assert (anomaly(in_mm, batch) - anomaly(in_px, batch)).abs().max() > 0.01


def test_pixels_that_are_not_square_are_smoothed_equally_far_in_mm():
    method, _ = says_three(smooth_mm=[4.0])
    method.pixel_mm = (1.0, 2.0)
    assert method.options.map.sigmas(method.pixel_mm) == [[4.0, 2.0]]


def test_widths_in_mm_need_the_size_of_a_pixel():
    with pytest.raises(UsageError, match="smooth_mm needs the size of a pixel"):
        anomaly(*says_three(smooth_mm=[4.0]))


def test_one_sided_maps_add_up_to_the_absolute_one():
    batch = testing.lesioned("axial")
    maps = {}
    for sign in ("absolute", "dark", "bright"):
        method = made(map={"sign": sign, "clip": 0.0, "smooth_px": [1.5], "gate": False})
        flagged = cells(batch, method)
        flagged[..., 2:6, 3:9] = True
        method.denoiser = Says(torch.full((1, 2, 1, 1), 2.0), flagged)
        maps[sign] = method.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    assert maps["absolute"].max() > 0
    assert torch.allclose(maps["dark"] + maps["bright"], maps["absolute"], atol=1e-6)


def test_the_input_can_be_the_reference():
    batch = testing.lesioned("axial")
    method = made(map={"reference": "input", "gate": False, "clip": 0.0, "smooth_px": [0.0]})
    method.denoiser = Says(torch.zeros(1), cells(batch, method))
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    z = method.scale * method.autoencoder.encode(2 * batch.x - 1)[0]
    expected = (2 * batch.x - 1 - method.autoencoder.decode(z / method.scale)).abs() * batch.brain
    assert found.anomaly == pytest.approx(expected.detach(), abs=1e-6)


# Fitting


def test_latents_are_scaled_to_unit_deviation():
    method = made()
    method.fit(testing.Blobs(12, "axial"), minimise=testing.few_steps)
    z = torch.cat(
        [
            method.scale * method.autoencoder.encode(2 * b.x - 1)[0]
            for b in testing.Blobs(12, "axial").in_order(4)
        ]
    )
    # posterior samples have unit deviation, so means have at most that
    assert 0.01 < float(z.std()) <= 1.01


def test_a_fixed_latent_scale_is_kept():
    method = made(latent_scale=0.18215)
    method.fit(testing.Blobs(12, "axial"), minimise=testing.few_steps)
    assert float(method.scale) == pytest.approx(0.18215)


def test_the_two_stages_train_their_own_part_only():
    method, seen = made(), {}

    def minimise(stage, module, loss, batches):
        before = {n: p.clone() for n, p in method.named_parameters()}
        testing.few_steps(stage, module, loss, batches)
        seen[stage] = {
            n.split(".")[0] for n, p in method.named_parameters() if (p != before[n]).any()
        }

    method.fit(testing.Blobs(8, "axial"), minimise=minimise)
    assert seen == {"autoencoder": {"autoencoder"}, "denoiser": {"denoiser"}}


class Remembers(nn.Module):
    """A denoiser that keeps what it was asked, and gives it back with one logit for all cells."""

    def __init__(self, logit=0.0):
        super().__init__()
        self.logit = logit

    def forward(self, z, t):
        self.z, self.t = z, t
        return z, torch.full_like(z[:, :1], self.logit)


@pytest.mark.parametrize("noised_weight", [1.0, 5.0])
@pytest.mark.parametrize("mask_loss", ["bce", "mse"])
def test_the_loss_is_that_of_the_healthy_latent_and_of_the_cells_that_were_noised(
    mask_loss, noised_weight
):
    method = made(mask_loss=mask_loss, mask_weight=0.25, noised_weight=noised_weight)
    batch = testing.Blobs(8, "axial").get(range(8))
    mean, logvar = method.autoencoder.encode(2 * batch.x - 1)
    brain = F.avg_pool2d(batch.brain.float(), method.autoencoder.factor) >= 0.5
    method.denoiser = asked = Remembers(logit=2.0)
    kept = torch.cat([mean, torch.full_like(logvar, -30.0)], 1).detach()
    found = method.loss(dataclasses.replace(batch, x=kept, brain=brain), batch.rng(3))
    z = method.scale * mean
    # Even the least noisy state differs, so noised cells can be told from the others.
    noised = ((asked.z - z).abs() > 1e-4).any(1, keepdim=True)
    assert 0.02 < noised.float().mean() < 0.5
    assert not (noised & ~brain).any()
    error = (z - asked.z).square()
    weight = torch.where(noised, noised_weight, 1.0)
    # Logit 2 on every cell: sigmoid .8808, cross-entropy .1269 where it is right, 2.1269 elsewhere.
    right, wrong = (0.126928, 2.126928) if mask_loss == "bce" else (0.014209, 0.775803)
    told = torch.where(noised, right, wrong).flatten(1).mean(1)
    expected = (error * weight).flatten(1).mean(1) + 0.25 * told
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_noisiest_state_is_the_latent_of_the_image_with_an_anomaly():
    """What detection presumes of its input holds in training, to the share that a schedule keeps.

    Cells that anomalies leave alone are those of the sick image at every level.
    """
    method = made(sick=1.0, sign="dark", anomalies={"radius_min": 3.0, "share_min": 0.8})
    batch = testing.Blobs(8, "axial").get(range(8))
    kept, cells = method.encode(batch, 0)
    n = method.autoencoder.latent_channels
    mean, moved, changed = kept[:, :n], kept[:, 2 * n : 3 * n], kept[:, -1:] > 0
    assert changed.flatten(1).any(1).sum() >= 4
    kept[:, n : 2 * n] = -30.0  # no noise of the posterior
    method.denoiser = asked = Remembers()
    method.loss(dataclasses.replace(batch, x=kept, brain=cells), batch.rng(3))
    healthy, sick = method.scale * mean, method.scale * (mean + moved)
    noised = changed & cells
    expected = method.schedule.add_noise(healthy, sick, asked.t)
    assert torch.allclose(asked.z, torch.where(noised, expected, sick), atol=1e-4)
    last = torch.full((8,), method.options.steps - 1)
    top = method.schedule.add_noise(healthy, sick, last)
    assert (top - sick).abs().max() < 0.2 * healthy.abs().max() + 1e-6


def test_anomalies_are_made_where_wanted_only():
    method = made()
    batch = testing.Blobs(4, "axial").get(range(4))
    assert method.encode(batch, 0)[0].shape[1] == 2 * method.autoencoder.latent_channels


def test_losses_do_not_depend_on_the_batch():
    method = made()
    method.fit(testing.Blobs(8, "axial"), minimise=testing.few_steps)
    batch = testing.Blobs(8, "axial").get(range(4))
    whole = method.reconstruct(batch, batch.rng(5))[2]
    for n, key in enumerate(batch.keys):
        one = testing.Blobs(8, "axial").get([n])
        assert one.keys == (key,)
        assert method.reconstruct(one, one.rng(5))[2] == pytest.approx(whole[n : n + 1], abs=1e-5)


@pytest.mark.parametrize("preset", ["paper", "code", "code-augmented"])
def test_published_presets_have_the_published_parts(preset):
    options = build(MadAdOptions, preset_options("mad_ad", preset))
    assert options.autoencoder.preset == "kl-f8"
    assert (options.size, options.dropout, options.steps, options.eta) == ("L", 0.4, 10, 0.5)
    assert options.latent_scale == pytest.approx(0.18215)
    assert options.map.gate is False


def test_the_augmented_preset_differs_from_the_released_code_in_nothing_else():
    code, augmented = (
        build(MadAdOptions, preset_options("mad_ad", p)) for p in ("code", "code-augmented")
    )
    assert augmented.augment.constant
    assert dataclasses.replace(augmented, augment=None, copies=1) == code


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"map": {"source": "latent", "sign": "dark"}}, "map.sign has no meaning .* the latent"),
        ({"map": {"source": "mask", "reference": "input"}}, "map.reference has no meaning"),
        ({"map": {"source": "mask", "squared": True}}, "map.squared has no meaning"),
        ({"map": {"source": "average", "sign": "dark"}}, "map.sign has no meaning .* the average"),
        ({"map": {"smooth_mm": ()}}, r"map.smooth_mm \[\]; give at least one width, 0 for none"),
        ({"map": {"smooth_px": (-1.0,)}}, r"map.smooth_px \[-1.0\]; give at least one width"),
        ({"walk": (12, 3)}, r"walk \(12, 3\) of 10 steps; give falling indices between 9 and 0"),
        ({"walk": (3, 3)}, "give falling indices"),
        ({"walk": ()}, "give falling indices"),
        ({"eta": 1.5}, "eta 1.5; give 0 to 1"),
        ({"sick": 0.5, "autoencoder": {"dimensions": 3, "fold": 1}}, "sick 0.5 in 3 dimensions"),
        ({"latent_scale": 0.0}, "latent_scale"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_training(options, match):
    with pytest.raises(UsageError, match=match):
        made(**options)


def test_a_map_of_the_predicted_mask_is_a_share_that_is_not_cut():
    method = made(map={"source": "mask", "clip": 0.25, "smooth_px": (0.0,)})
    batch = testing.lesioned("axial", 2)
    flagged = cells(batch, method)
    flagged[..., 2, 3] = True
    z = method.scale * method.autoencoder.encode(2 * batch.x - 1)[0]
    method.denoiser = Says(torch.zeros_like(z[:1]), flagged)
    found = method.detect(batch.x, torch.ones_like(batch.brain), rng=Rng([1, 2])).anomaly
    high, low = (torch.tensor(v).sigmoid().item() for v in (4.0, -4.0))
    assert found.max().item() == pytest.approx(high, abs=1e-5)
    assert found.min().item() == pytest.approx(low, abs=1e-5)
