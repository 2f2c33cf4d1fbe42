"""Presets that follow a publication train as it says, where nothing else is asked for."""

import pytest

from brainuad.benchmark.entries import Entry
from brainuad.detector_config import training_settings
from brainuad.method import method_class, method_names
from brainuad.train import TrainSettings

PUBLISHED = [
    ("ddpm", "paper", {"lr": 1e-5, "batch_size": 32, "ema_decay": 0.0, "clip": None}),
    ("pddpm", "code", {"lr": 1e-4, "epochs": 1600, "betas": (0.9, 0.999), "final_lr": 1.0}),
    ("mddpm", "paper", {"lr": 1e-5, "warmup": 0.0}),
    ("cddpm", "code", {"lr": 1e-4}),
    ("cddpm", "mhd", {"lr": 1e-4, "epochs": 1600}),
    ("mad_ad", "paper", {"batch_size": 96, "epochs": 300, "ema_decay": 0.9999}),
    ("mad_ad", "code", {"epochs": 200, "weight_decay": 1e-4, "ema_decay": 0.0, "clip": None}),
    ("mad_ad", "code-augmented", {"epochs": 50, "ema_decay": 0.0}),
    ("reflect", "paper", {"lr": 1e-4, "weight_decay": 1e-4, "epochs": 200}),
    ("reflect", "paper-2", {"lr": 1e-4, "epochs": 200}),
    ("latent_ddpm", "lineage", {"ema_decay": 0.0}),
    ("vqvae", "tutorial", {"lr": 5e-4, "batch_size": 256, "epochs": 20}),
    ("itermask2", "paper", {"lr": 1e-4, "batch_size": 32, "steps": 90_000, "ema_decay": 0.0}),
    ("ddpm_ood", "paper", {"lr": 2.5e-5, "epochs": 300, "ema_decay": 0.0}),
    ("bernoulli_ldm", "paper", {"batch_size": {"autoencoder": 24, "denoiser": 36}}),
]


@pytest.mark.parametrize(("method", "preset", "wanted"), PUBLISHED)
def test_what_the_publication_says(method, preset, wanted):
    found = training_settings(method, preset=preset)
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert training_settings(method, {"lr": 7e-4}, preset=preset).lr == 7e-4


def test_denoisers_of_mad_ad_have_their_published_rates():
    rates = {p: training_settings("mad_ad", preset=p).lr for p in ("paper", "code")}
    assert rates["paper"]["denoiser"] == 5e-4
    assert rates["code"]["denoiser"] == 4e-5


@pytest.mark.parametrize("method", method_names())
def test_only_presets_that_exist_have_settings_and_ours_are_left_alone(method):
    kind = method_class(method)
    assert set(kind.train_presets) <= {*kind.presets, "paper", "code"}
    assert training_settings(method, preset="small") == training_settings(method)


def test_steps_that_are_asked_for_end_the_training():
    settings = Entry.parse("ddpm:paper@20").settings(TrainSettings())
    assert (settings.steps, settings.epochs, settings.lr) == (20, None, 1e-5)
