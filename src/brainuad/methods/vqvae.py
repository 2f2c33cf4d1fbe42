"""VQ-VAE: what a codebook learnt from healthy slices cannot say is the anomaly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from brainuad import training_published
from brainuad.critic import CriticOptions, fit_autoencoder
from brainuad.latents import use_of, warn_unused
from brainuad.layers import padded
from brainuad.method import Batch, Batches, Minimise
from brainuad.reconstruction import Reconstruction, ReconstructionOptions
from brainuad.rng import Rng
from brainuad.types import Images, PerItem
from brainuad.vq import VqAutoencoder, VqOptions
from brainuad.vq_training import reconstruct

__all__ = ["Vqvae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VqvaeOptions(ReconstructionOptions):
    """Options of :class:`Vqvae`."""

    autoencoder: VqOptions = field(default_factory=VqOptions)
    """Encoder, codebook and decoder."""
    critic: CriticOptions | None = None
    """A critic that makes the copies sharp; None: none."""


# Cells of 4 pixels copy lesions as well as anything else; cells of 16 must guess from around.
COARSE: dict[str, Any] = {"preset": "vq-f4", "widths": [256, 256, 256, 256]}
SMALL: dict[str, Any] = {
    "autoencoder": {"preset": "vq-f4-small", "widths": [32, 64, 64, 64]},
    "augment": {},
}


class Vqvae(Reconstruction):
    """Copies healthy slices through a grid of codebook vectors: the first stage of ``latent_ddpm``.

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, "Neural discrete representation learning",
        NeurIPS, arXiv 1711.00937; as a baseline for brains in Pinaya et al. 2022, "Unsupervised
        brain imaging 3D anomaly detection and segmentation with transformers", Medical Image
        Analysis 79:102475.
    """

    title = "VQ-VAE, residual of a codebook"
    paper = "Pinaya et al. 2022, Medical Image Analysis; van den Oord et al. 2017, NeurIPS"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.VQVAE
    Options = VqvaeOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"autoencoder": COARSE, "augment": {}},
        "small": SMALL,
        "small-dark": {**SMALL, "sign": "dark"},
        "tiny": {"autoencoder": {"preset": "tiny"}},
        "lineage": {"autoencoder": {"preset": "vq-f8-lineage", "revive": 0.0}},
        "tutorial": {"autoencoder": {"preset": "vq-f4", "codes": 16, "revive": 0.0}},
    }

    def __init__(self, options: VqvaeOptions | None = None):
        super().__init__(options)
        self.autoencoder = VqAutoencoder(self.options.autoencoder)

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: copy healthy images through the codebook."""
        fit_autoencoder(self.autoencoder, self.reconstruct, batches, self.options.critic, minimise)
        codebook = self.autoencoder.quantiser
        warn_unused(codebook.perplexity(), len(codebook.codes))
        self.mark_fitted()

    def notes(self) -> tuple[str, ...]:
        """Use of the codebook."""
        codebook = self.autoencoder.quantiser
        return use_of(codebook.perplexity(), len(codebook.codes))

    def reconstruct(self, batch: Batch, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images, their copies, absolute error plus commitment loss; sides that fit the codes."""
        multiple = self.autoencoder.factor
        whole = Batch(
            x=padded(batch.x, multiple),
            brain=padded(batch.brain.float(), multiple) > 0,
            keys=batch.keys,
        )
        return reconstruct(self.autoencoder, whole, self.options.augment, rng)

    def copied(self, x: Images) -> Images:
        """The image of the nearest codes."""
        codes = self.autoencoder.encode(padded(x, self.autoencoder.factor))
        return self.autoencoder.decode(codes)[(..., *map(slice, x.shape[2:]))]
