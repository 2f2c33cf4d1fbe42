"""How published systems were trained, for the presets that follow them.

Numbers as papers and released code give them; what no source states is said beside it.
"""

from typing import Any

_CONSTANT: dict[str, Any] = {
    "betas": (0.9, 0.999),
    "warmup": 0.0,
    "final_lr": 1.0,
    "ema_decay": 0.0,
    "clip": None,
}
"""Adam at a constant rate, as most released code has it."""

_BEHRENDT: dict[str, Any] = {**_CONSTANT, "batch_size": 32, "steps": 19_200, "precision": "32"}
BEHRENDT: dict[str, dict[str, Any]] = {
    "paper": {**_BEHRENDT, "lr": 1e-5},
    "code": {**_BEHRENDT, "lr": 1e-4},
}
"""DDPM and pDDPM (Behrendt et al. 2023). An epoch of theirs takes one random slice of each of 385
scans, 12 steps of 32; of their 1600 epochs the steps are kept, not the passes over all slices."""

MDDPM: dict[str, dict[str, Any]] = {
    "paper": BEHRENDT["paper"],
    "code": {**BEHRENDT["code"], "steps": 115_200},
}
"""mDDPM (Iqbal et al. 2023): the released code lists each scan six times, so that an epoch has 72
steps; the paper is silent on that."""

_CONDITIONED: dict[str, Any] = {**_CONSTANT, "batch_size": 32, "lr": 1e-4, "steps": 14_400}
_CONDITIONED |= {
    "betas": {"pretrain": (0.9, 0.95), "denoiser": (0.9, 0.999)},
    "weight_decay": {"pretrain": 0.05, "denoiser": 0.0},
}
CDDPM: dict[str, dict[str, Any]] = {
    "paper": {
        **_CONDITIONED,
        "lr": {"pretrain": 1e-4, "denoiser": 1e-5},
        "steps": {"pretrain": 14_400, "denoiser": 19_200},
    },
    "code": _CONDITIONED,
    "mhd": _CONDITIONED,
}
"""cDDPM (Behrendt et al. 2025): 1600 epochs of 12 steps in the paper, 1200 in the code; the
pre-training is that of the code. How the nets of ``mhd`` were trained is not stated."""

ANDI: dict[str, dict[str, Any]] = {
    "paper": {"lr": 1e-4, "batch_size": 128, "epochs": 233, "ema_decay": 0.995, "final_lr": 1.0}
}
"""ANDi (Frotscher et al. 2023): a rise over the first 5 % of the steps."""

_BERCEA: dict[str, Any] = {**_CONSTANT, "lr": 1e-4, "batch_size": 16}
_MASKED: dict[str, Any] = {**_BERCEA, "epochs": 3000}
AUTODDPM: dict[str, dict[str, Any]] = dict.fromkeys(["paper", "lpips"], _MASKED)
"""AutoDDPM (Bercea et al. 2023)."""
_THOR: dict[str, Any] = {**_BERCEA, "epochs": 1500}
THOR: dict[str, dict[str, Any]] = dict.fromkeys(["paper", "lpips", "simplex"], _THOR)
"""THOR (Bercea et al. 2024)."""

_WYATT: dict[str, Any] = {**_CONSTANT, "lr": 1e-4, "batch_size": 1, "ema_decay": 0.9999}
ANODDPM: dict[str, dict[str, Any]] = dict.fromkeys(["anoddpm", "anoddpm-256"], _WYATT)
"""AnoDDPM (Wyatt et al. 2022): 3000 epochs of one random slice of each scan, whose number of steps
depends on their set of scans; the decay of the average is a choice here."""

DAE: dict[str, dict[str, Any]] = {
    "paper": {**_CONSTANT, "lr": 1e-4, "weight_decay": 1e-5, "batch_size": 16, "steps": 67_200}
}
"""DAE (Kascenas et al. 2022); there with AMSGrad, and a rate that falls and rises as a cosine."""

COMPACT: dict[str, dict[str, Any]] = {"paper": {**_CONSTANT, "lr": 1e-4, "batch_size": 32}}
"""Autoencoder and VAE (Baur et al. 2021; Behrendt et al. 2023); their length is not stated."""

_NAVAL: dict[str, Any] = {
    **_CONSTANT, "lr": 1e-4, "batch_size": 64, "steps": 100_000, "ema_decay": 0.9999,
}  # fmt: skip
DISYRE: dict[str, dict[str, Any]] = dict.fromkeys(["paper", "v1"], _NAVAL)
"""DISYRE (Naval Marimont et al. 2023, 2024)."""

_BEIZAEE: dict[str, Any] = {
    "batch_size": 96,
    "weight_decay": 1e-4,
    "clip": None,
    "precision": "32",
    # Twice the steps after which the critic's verdict counts; the published length is unknown.
    "steps": {"autoencoder": 100_000},
}
_KL_BETAS = (0.5, 0.9)
MAD_AD: dict[str, dict[str, Any]] = {
    "paper": {
        **_BEIZAEE,
        "lr": {"autoencoder": 1e-4, "denoiser": 5e-4},
        "betas": {"autoencoder": _KL_BETAS, "denoiser": (0.9, 0.999)},
        "epochs": {"denoiser": 300},
        "warmup": 0.033,
        "final_lr": 0.08,
        "ema_decay": 0.9999,
    },
    "code": {
        **_BEIZAEE,
        "lr": {"autoencoder": 1e-4, "denoiser": 4e-5},
        "betas": {"autoencoder": _KL_BETAS, "denoiser": (0.9, 0.999)},
        "epochs": {"denoiser": 200},
        "warmup": 0.05,
        "final_lr": 0.08,
        "ema_decay": 0.0,
    },
}
MAD_AD["code-augmented"] = {**MAD_AD["code"], "epochs": {"denoiser": 50}}
"""MAD-AD (Beizaee et al. 2025); rate and length of the autoencoder are choices here. The cache of
the preset with augmentation holds each slice four times: an epoch of it is four published ones."""

_FLOWS = ("flow", "second")
_REFLECT: dict[str, Any] = {
    **_BEIZAEE,
    "lr": 1e-4,
    "betas": {"autoencoder": _KL_BETAS, **dict.fromkeys(_FLOWS, (0.9, 0.999))},
    "epochs": dict.fromkeys(_FLOWS, 100),
    "warmup": 0.025,
    "final_lr": 0.5,
}
REFLECT: dict[str, dict[str, Any]] = dict.fromkeys(["paper", "paper-2", "paper-f4"], _REFLECT)
"""REFLECT (Beizaee et al. 2025): 200 epochs, of which the cache, which holds each slice twice,
needs half."""

LINEAGE: dict[str, dict[str, Any]] = {
    "lineage": {**_CONSTANT, "lr": {"autoencoder": 1e-3, "denoiser": 2.5e-5}}
}
"""Later code of the authors of the latent DDPM; the rate of the autoencoder is a choice here, and
how long their nets for brains were trained is not known."""

_TUTORIAL: dict[str, Any] = {**_CONSTANT, "lr": 5e-4, "batch_size": 256, "epochs": 20}
VQVAE: dict[str, dict[str, Any]] = {
    "lineage": {"lr": 1e-3, "ema_decay": 0.0},
    "tutorial": _TUTORIAL,
}
"""Later code of the authors of the latent DDPM (its rate is a choice here), and their tutorial on
head CT of 64 x 64 pixels, whose 20 epochs are short for a demonstration."""

ITERMASK2: dict[str, dict[str, Any]] = {
    "paper": {**_CONSTANT, "lr": 1e-4, "batch_size": 32, "steps": 90_000}
}
"""IterMask2 (Liang et al. 2024): the released code trains 150,000 steps at a constant rate and
tests the weights of step 90,000; the averaged weights that it computes are never saved."""

_OOD: dict[str, Any] = {**_CONSTANT, "lr": 2.5e-5, "epochs": 300}
GRAHAM: dict[str, dict[str, Any]] = {
    "paper": _OOD,
    "lpips": _OOD,
    "paper-latent": {
        **_CONSTANT,
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
