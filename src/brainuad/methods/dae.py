"""Denoising autoencoder with coarse noise: the best quality per operation among the baselines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from brainuad import training_published
from brainuad.augment import augment
from brainuad.method import Batch, Batches, Minimise
from brainuad.networks import DenoisingUNetOptions, denoising_unet
from brainuad.noise import coarse
from brainuad.reconstruction import Reconstruction, ReconstructionOptions
from brainuad.rng import Rng
from brainuad.types import Images, PerItem

__all__ = ["Dae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DaeOptions(ReconstructionOptions):
    """Options of :class:`Dae`."""

    net: DenoisingUNetOptions = field(default_factory=DenoisingUNetOptions)
    """The denoising network."""
    noise_std: float = 0.2
    """Standard deviation of the noise at the nodes of its grid, in units of intensity."""
    noise_cell_px: float = 8.0
    """Distance between the nodes of the noise grid, in pixels."""


OURS = {"net": {"widths": [16, 32, 64, 128]}, "augment": {}}


class Dae(Reconstruction):
    """Restores images from coarse noise; lesions look like such noise and are taken away with it.

    Noise is added in training only. The anomaly is the difference between the image and what the
    network makes of it.

    References:
        Kascenas, Pugeault, O'Neil 2022, "Denoising autoencoders for unsupervised anomaly detection
        in brain MRI", MIDL; Kascenas et al. 2023, "The role of noise in denoising models for
        anomaly detection in medical images", Medical Image Analysis.
    """

    title = "Denoising autoencoder, coarse noise"
    paper = "Kascenas et al. 2022, MIDL; 2023, Medical Image Analysis"
    stages: ClassVar[Mapping[str, float]] = {"denoise": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    Options = DaeOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.DAE
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "dark": {**OURS, "sign": "dark"},
        "bright": {**OURS, "sign": "bright"},
        # Ours is small already; the names are those of the other methods.
        "small": OURS,
        "small-dark": {**OURS, "sign": "dark"},
        "tiny": {"net": {"widths": [8, 16, 32]}},
        "paper": {},
    }

    def __init__(self, options: DaeOptions | None = None):
        super().__init__(options)
        self.net = denoising_unet(self.options.net)

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: remove coarse noise from healthy images."""
        minimise("denoise", self.net, self.loss, batches)
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Mean over all pixels of the squared error inside the brain (Kascenas et al., Eq. 1)."""
        x, brain = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        noise = coarse(x, std=self.options.noise_std, cell_px=self.options.noise_cell_px, rng=rng)
        error = (self.net(x + noise * brain) - x) * brain
        return error.square().flatten(1).mean(1)

    def copied(self, x: Images) -> Images:
        """The clean image without noise."""
        return self.net(x)
