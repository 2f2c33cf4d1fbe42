"""Presets that follow a publication train as it says, where nothing else is asked for."""

import pytest

from brainuad.benchmark.entries import Entry
from brainuad.detector_config import training_settings
from brainuad.method import method_class, method_names, preset_options
from brainuad.train import TrainSettings
from brainuad.train_settings import plan

PUBLISHED = [
    ("ddpm", "paper", {"lr": 1e-5, "batch_size": 32, "ema_decay": 0.0, "clip": None}),
    ("ddpm", "code", {"steps": 19_200, "epochs": None, "precision": "32"}),
    ("ddpm", "anoddpm", {"lr": 1e-4, "batch_size": 1}),
    ("pddpm", "code", {"lr": 1e-4, "steps": 19_200, "betas": (0.9, 0.999), "final_lr": 1.0}),
    ("mddpm", "paper", {"lr": 1e-5, "warmup": 0.0, "steps": 19_200}),
    ("mddpm", "code", {"lr": 1e-4, "steps": 115_200}),
    ("cddpm", "paper", {"lr": {"pretrain": 1e-4, "denoiser": 1e-5}}),
    ("cddpm", "code", {"lr": 1e-4, "steps": 14_400}),
    ("cddpm", "code", {"weight_decay": {"pretrain": 0.05, "denoiser": 0.0}}),
    ("cddpm", "mhd", {"lr": 1e-4, "steps": 14_400}),
    ("andi", "paper", {"lr": 1e-4, "batch_size": 128, "epochs": 233, "ema_decay": 0.995}),
    ("autoddpm", "paper", {"lr": 1e-4, "batch_size": 16, "epochs": 3000}),
    ("thor", "paper", {"lr": 1e-4, "batch_size": 16, "epochs": 1500}),
    ("thor", "simplex", {"lr": 1e-4, "batch_size": 16, "epochs": 1500}),
    ("dae", "paper", {"lr": 1e-4, "weight_decay": 1e-5, "batch_size": 16, "steps": 67_200}),
    ("autoencoder", "paper", {"lr": 1e-4, "batch_size": 32}),
    ("vae", "paper", {"lr": 1e-4, "batch_size": 32}),
    ("disyre", "paper", {"lr": 1e-4, "batch_size": 64, "steps": 100_000, "ema_decay": 0.9999}),
    ("mad_ad", "paper", {"batch_size": 96, "ema_decay": 0.9999, "precision": "32"}),
    ("mad_ad", "paper", {"steps": {"autoencoder": 100_000}, "epochs": {"denoiser": 300}}),
    ("mad_ad", "code", {"weight_decay": 1e-4, "ema_decay": 0.0, "clip": None}),
    ("mad_ad", "code-augmented", {"epochs": {"denoiser": 50}, "ema_decay": 0.0}),
    ("reflect", "paper", {"lr": 1e-4, "weight_decay": 1e-4}),
    ("reflect", "paper-2", {"lr": 1e-4, "epochs": {"flow": 100, "second": 100}}),
    ("latent_ddpm", "lineage", {"ema_decay": 0.0, "warmup": 0.0, "final_lr": 1.0, "clip": None}),
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


@pytest.mark.parametrize(
    ("preset", "stage", "steps"),
    [
        ("paper", "autoencoder", 100_000),
        ("paper", "denoiser", 300 * 20),
        ("code", "denoiser", 200 * 20),
        # Its cache holds each image four times.
        ("code-augmented", "denoiser", 50 * 20),
    ],
)
def test_an_autoencoder_is_trained_beyond_the_step_at_which_its_critic_counts(preset, stage, steps):
    settings = training_settings("mad_ad", preset=preset)
    found = plan(settings, stage, shares={}, images=20 * 96 + 5, precision="32")
    assert found.steps == steps
    start = preset_options("mad_ad", preset)["critic"]["start"]
    assert stage != "autoencoder" or found.steps > start
    assert found.betas == ((0.5, 0.9) if stage == "autoencoder" else (0.9, 0.999))


@pytest.mark.parametrize("method", method_names())
def test_every_stage_of_a_published_training_has_its_settings(method):
    kind = method_class(method)
    for preset in kind.train_presets:
        settings = training_settings(method, preset=preset)
        for stage in kind.stages:
            assert plan(settings, stage, shares={}, images=600, precision="32").steps


@pytest.mark.parametrize("method", method_names())
def test_only_presets_that_exist_have_settings_and_ours_are_left_alone(method):
    kind = method_class(method)
    assert set(kind.train_presets) <= set(kind.presets)
    assert training_settings(method, preset="small") == training_settings(method)


def test_steps_that_are_asked_for_end_the_training():
    settings = Entry.parse("ddpm:paper@20").settings(TrainSettings())
    assert (settings.steps, settings.epochs, settings.lr) == (20, None, 1e-5)
