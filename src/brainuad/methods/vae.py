"""Variational autoencoder: a small code with a known distribution, decoded at its mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from brainuad import training_published
from brainuad.compact import Compact
from brainuad.variational import Variational, VariationalOptions

__all__ = ["Vae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeOptions(VariationalOptions):
    """Options of :class:`Vae`."""


class Vae(Variational):
    """Copies healthy images through a code whose distribution is kept near the standard normal.

    References:
        Kingma and Welling 2014, ICLR, arXiv 1312.6114; Baur et al. 2021, Medical Image Analysis
        69:101952 (comparison on brain MRI); Behrendt et al. 2023, MIDL, arXiv 2303.03758 (weight
        of the divergence).
    """

    title = "Variational autoencoder"
    paper = "Baur et al. 2021, Medical Image Analysis; Kingma and Welling 2014, ICLR"
    Options = VaeOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.COMPACT
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"augment": {}},
        "small": {"augment": {}},
        "small-dark": {"augment": {}, "sign": "dark"},
        "tiny": {"net": {"widths": [8, 8, 16], "code_size": 16, "cells": [4, 4]}},
        "paper": {"net": {"norm": "batch"}},
    }

    def __init__(self, options: VaeOptions | None = None):
        super().__init__(options)
        self.net = Compact(self.options.net, moments=2)
