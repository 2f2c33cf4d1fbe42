"""Sequential variational autoencoder: a slice is copied with its neighbours in sight."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from brainuad.compact import Compact, CompactOptions
from brainuad.slices import REACH, Slices, middle
from brainuad.types import Images
from brainuad.variational import Variational, VariationalOptions

__all__ = ["Svae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SvaeOptions(VariationalOptions):
    """Options of :class:`Svae`."""

    net: CompactOptions = field(default_factory=CompactOptions)
    """Encoder and decoder; three channels in and one out, whatever ``channels`` says."""


class Svae(Variational):
    """Codes a slice together with the slices below and above it; decodes the slice alone.

    The published net reads slices one after the other (recurrent, or with attention); here the
    neighbours are channels. What is shared is the idea.

    References:
        Behrendt et al. 2022, "Capturing inter-slice dependencies of 3D brain MRI-scans for
        unsupervised anomaly detection", MIDL, short paper, openreview db8wDgKH4p4.
    """

    title = "Sequential variational autoencoder, slices with neighbours"
    paper = "Behrendt et al. 2022, MIDL (the idea)"
    views = ("axial3",)
    Options = SvaeOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"augment": {}},
        "small": {"augment": {}},
        "small-dark": {"augment": {}, "sign": "dark"},
        "tiny": {"net": {"widths": [8, 8, 16], "code_size": 16, "cells": [4, 4]}},
    }

    def __init__(self, options: SvaeOptions | None = None):
        super().__init__(options)
        net = replace(self.options.net, channels=2 * REACH["axial3"] + 1)
        self.net = Compact(net, moments=2, channels_out=1)

    def judged(self, x: Images) -> Slices:
        """The slice between its neighbours."""
        return middle(x)
