"""How published systems were trained, for the presets that follow them.

Numbers as papers and released code give them; what no source states is said beside it.
"""

from typing import Any

_BEHRENDT: dict[str, Any] = {
    "batch_size": 32,
    "epochs": 1600,
    "warmup": 0.0,
    "final_lr": 1.0,
    "betas": (0.9, 0.999),
    "ema_decay": 0.0,
    "clip": None,
}
BEHRENDT: dict[str, dict[str, Any]] = {
    "paper": {**_BEHRENDT, "lr": 1e-5},
    "code": {**_BEHRENDT, "lr": 1e-4},
}
"""DDPM, pDDPM, mDDPM and cDDPM (Behrendt et al. 2023, 2025; Iqbal et al. 2023): Adam at a
constant rate."""

_BEIZAEE: dict[str, Any] = {
    "batch_size": 96,
    "betas": (0.9, 0.999),
    "weight_decay": 1e-4,
    "clip": None,
}
MAD_AD: dict[str, dict[str, Any]] = {
    "paper": {
        **_BEIZAEE,
        "lr": {"autoencoder": 1e-4, "denoiser": 5e-4},
        "epochs": 300,
        "warmup": 0.033,
        "final_lr": 0.08,
        "ema_decay": 0.9999,
    },
    "code": {
        **_BEIZAEE,
        "lr": {"autoencoder": 1e-4, "denoiser": 4e-5},
        "epochs": 200,
        "warmup": 0.05,
        "final_lr": 0.08,
        "ema_decay": 0.0,
    },
}
MAD_AD["code-augmented"] = {**MAD_AD["code"], "epochs": 50}
"""MAD-AD (Beizaee et al. 2025); the rate of the autoencoder is a choice here. The cache of the
preset with augmentation holds each slice four times, so an epoch of it is four published ones."""

_REFLECT = {**_BEIZAEE, "lr": 1e-4, "epochs": 200, "warmup": 0.025, "final_lr": 0.5}
REFLECT: dict[str, dict[str, Any]] = dict.fromkeys(["paper", "paper-2", "paper-f4"], _REFLECT)
"""REFLECT (Beizaee et al. 2025)."""

LINEAGE: dict[str, dict[str, Any]] = {
    "lineage": {"lr": {"autoencoder": 1e-3, "denoiser": 2.5e-5}, "ema_decay": 0.0}
}
"""Later code of the authors of the latent DDPM; the rate of the autoencoder is a choice here."""

_TUTORIAL: dict[str, Any] = {
    "lr": 5e-4,
    "batch_size": 256,
    "epochs": 20,
    "betas": (0.9, 0.999),
    "warmup": 0.0,
    "final_lr": 1.0,
    "ema_decay": 0.0,
    "clip": None,
}
VQVAE: dict[str, dict[str, Any]] = {
    "lineage": {"lr": 1e-3, "ema_decay": 0.0},
    "tutorial": _TUTORIAL,
}
"""Later code of the authors of the latent DDPM (its rate is a choice here), and their tutorial on
head CT of 64 x 64 pixels, whose 20 epochs are short for a demonstration."""

ITERMASK2: dict[str, dict[str, Any]] = {
    "paper": {
        "lr": 1e-4,
        "batch_size": 32,
        "steps": 90_000,
        "betas": (0.9, 0.999),
        "warmup": 0.0,
        "final_lr": 1.0,
        "ema_decay": 0.0,
        "clip": None,
    }
}
"""IterMask2 (Liang et al. 2024): the released code trains 150,000 steps at a constant rate and
tests the weights of step 90,000; the averaged weights that it computes are never saved."""

_GRAHAM: dict[str, Any] = {
    "warmup": 0.0,
    "final_lr": 1.0,
    "betas": (0.9, 0.999),
    "ema_decay": 0.0,
    "clip": None,
}
GRAHAM: dict[str, dict[str, Any]] = {
    "paper": {**_GRAHAM, "lr": 2.5e-5, "epochs": 300},
    "paper-latent": {
        **_GRAHAM,
        "lr": {"autoencoder": 3e-5, "denoiser": 2.5e-5},
        "batch_size": {"autoencoder": 8, "denoiser": 6},
    },
}
"""DDPM-OOD and LDM-OOD (Graham et al. 2023): Adam at a constant rate; the latter's 300 epochs of
the autoencoder and 12000 of the denoiser are of volumes and have no meaning for slices."""

WOLLEB: dict[str, dict[str, Any]] = {
    "paper": {"lr": 1e-4, "batch_size": {"autoencoder": 24, "denoiser": 36}}
}
"""Masked Bernoulli diffusion (Wolleb et al. 2024); the rate is a choice here."""
