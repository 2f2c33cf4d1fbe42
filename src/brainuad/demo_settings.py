"""How large the demonstration is: which brains, which lesions, which methods."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brainuad.types import Affine

Words = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method of the demonstration."""

    method: str
    preset: str
    options: Words = field(default_factory=dict)
    """On top of the preset."""
    training: Words = field(default_factory=dict)
    """Settings of the training that differ from the defaults."""


# Small networks that learn in a few minutes of a laptop.
ENTRIES = (
    Entry(method="intensity", preset="dark"),
    Entry(method="healthy_atlas", preset="dark"),
    Entry(
        method="dae",
        preset="tiny",
        options={"sign": "dark"},
        training={"steps": 500, "batch_size": 16, "lr": 2e-3, "ema_decay": 0.995},
    ),
    Entry(
        method="mad_ad",
        preset="small-dark",
        options={
            "size": "tiny",
            "dropout": 0.0,
            "augment": None,
            "copies": 1,
            "patches": {"displaced": 0.7},
        },
        training={
            "steps": {"autoencoder": 400, "denoiser": 2200},
            "batch_size": {"autoencoder": 8, "denoiser": 16},
            "lr": 2e-3,
            "ema_decay": 0.995,
        },
    ),
)


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How large the demonstration is."""

    fit: int = 20
    """Healthy brains to fit on."""
    calibrate: int = 10
    """Healthy brains to set thresholds on."""
    per_size: int = 5
    """Brains with a lesion, for each size."""
    clean: int = 4
    """Healthy brains to test on."""
    sizes_ml: Mapping[str, float] = field(
        default_factory=lambda: {"small": 5.0, "medium": 15.0, "large": 40.0}
    )
    """Volume of the lesion, by the name of the size."""
    contrast: float = 0.9
    """0 leaves the tissue as it is, 1 replaces it by fluid."""
    shape: tuple[int, int, int] = (64, 72, 56)
    """Voxels of a scan."""
    spacing_mm: float = 3.0
    """Edge of a voxel."""
    entries: tuple[Entry, ...] = ENTRIES
    """Methods."""

    @property
    def affine(self) -> Affine:
        """Voxel indices to MNI152 millimetres; the brain's middle is the grid's."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        half = (np.array(self.shape) - 1) / 2 * self.spacing_mm
        affine[:3, 3] = np.array([0.0, -17.5, 8.75]) - half
        return affine
