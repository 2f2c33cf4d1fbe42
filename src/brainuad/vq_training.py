"""How a VQ-VAE learns: what its copies of a batch lose."""

from brainuad.augment import Augment, augment
from brainuad.method import Batch
from brainuad.rng import Rng
from brainuad.types import Images, PerItem
from brainuad.vq import VqAutoencoder


def reconstruct(
    autoencoder: VqAutoencoder, batch: Batch, how: Augment | None, rng: Rng
) -> tuple[Images, Images, PerItem]:
    """Images, their reconstructions, absolute error plus commitment loss.

    Args:
        autoencoder: in training mode its codebook moves.
        batch: healthy images.
        how: random changes of the images, or none.
        rng: one stream per image.
    """
    x, _ = augment(batch.x, batch.brain, how, rng=rng.fork("augment"))
    decoded, commitment = autoencoder(x)
    return x, decoded, (decoded - x).abs().flatten(1).mean(1) + commitment
