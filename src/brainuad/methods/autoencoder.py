"""Autoencoder with a small code: what does not fit through the code is the anomaly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from brainuad import training_published
from brainuad.augment import augment
from brainuad.compact import CodeKind, Compact, CompactOptions
from brainuad.method import Batch, Batches, Minimise
from brainuad.reconstruction import Reconstruction, ReconstructionOptions
from brainuad.rng import Rng
from brainuad.types import Images, PerItem

__all__ = ["Autoencoder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderOptions(ReconstructionOptions):
    """Options of :class:`Autoencoder`."""

    net: CompactOptions = field(default_factory=CompactOptions)
    """Encoder and decoder."""
    latent: CodeKind = "dense"
    """One vector per image, or a small grid that keeps places."""


class Autoencoder(Reconstruction):
    """Copies healthy images through a small code; what the code cannot hold is the anomaly.

    References:
        Baur, Denner, Wiestler, Navab, Albarqouni 2021, "Autoencoders for unsupervised anomaly
        segmentation in brain MR images: a comparative study", Medical Image Analysis 69:101952.
    """

    title = "Autoencoder, dense or spatial code"
    paper = "Baur et al. 2021, Medical Image Analysis"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    Options = AutoencoderOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.COMPACT
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"augment": {}},
        "spatial": {"latent": "spatial", "augment": {}},
        "small": {"augment": {}},
        "small-dark": {"augment": {}, "sign": "dark"},
        "tiny": {"net": {"widths": [8, 8, 16], "code_size": 16, "cells": [4, 4]}},
        "paper": {"net": {"norm": "batch"}},
    }

    def __init__(self, options: AutoencoderOptions | None = None):
        super().__init__(options)
        self.net = Compact(self.options.net, kind=self.options.latent)

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: copy healthy images."""
        minimise("autoencoder", self.net, self.loss, batches)
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Mean absolute error of the copy over all pixels."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        return (self.copied(x) - x).abs().flatten(1).mean(1)

    def copied(self, x: Images) -> Images:
        """What comes out when images go through the code."""
        return self.net.decode(self.net.encode(x), tuple(x.shape[2:]))
