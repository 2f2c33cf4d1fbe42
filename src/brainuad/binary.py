"""An autoencoder whose latent is made of bits (Wang et al. 2023, CVPR, arXiv 2304.04820)."""

from jaxtyping import Float
from torch import Tensor, nn

from brainuad.autoencoder import AutoencoderOptions, Decoder, Encoder
from brainuad.layers import Layers, Maps
from brainuad.types import UsageError

Bits = Float[Tensor, "batch bit *cells"]
"""0 or 1, or the probability of a 1."""


def straight_through(bits: Bits, probability: Bits) -> Bits:
    """The bits, with the gradient of their probabilities."""
    return bits + probability - probability.detach()


class BinaryAutoencoder(nn.Module):
    """Images in [-1, 1] to ``latent_channels`` bits per cell, and back.

    Args:
        options: layers and sizes, as of the KL autoencoder.
    """

    def __init__(self, options: AutoencoderOptions):
        super().__init__()
        a = options.architecture
        layers = Layers(dimensions=options.dimensions, groups=a.groups, eps=1e-6, zero_init=False)
        self.bits: int = a.latent_channels
        self.factor: int = a.fold * 2 ** (len(a.multipliers) - 1)
        self.fold = nn.PixelUnshuffle(a.fold) if a.fold > 1 else nn.Identity()
        self.unfold = nn.PixelShuffle(a.fold) if a.fold > 1 else nn.Identity()
        channels = options.channels * a.fold**2
        self.encoder = Encoder(channels, a, layers)
        self.decoder = Decoder(channels, a, layers)
        self.to_bits = layers.convolution(2 * self.bits, self.bits, kernel=1)
        self.from_bits = layers.convolution(self.bits, self.bits, kernel=1)

    def probability(self, x: Maps) -> Bits:
        """How likely each bit is a 1; cells are ``factor`` pixels wide.

        Raises:
            UsageError: an axis that ``factor`` does not divide.
        """
        if any(size % self.factor for size in x.shape[2:]):
            raise UsageError(
                f"binary autoencoder: image of {' x '.join(map(str, x.shape[2:]))} cannot be "
                f"divided by {self.factor}; crop or pad it to a multiple"
            )
        return self.to_bits(self.encoder(self.fold(x))).sigmoid()

    def encode(self, x: Maps) -> Bits:
        """The most likely bits; nothing is drawn."""
        return (self.probability(x) > 0.5).to(x.dtype)

    def decode(self, bits: Bits) -> Maps:
        """Image of bits."""
        return self.unfold(self.decoder(self.from_bits(2 * bits - 1)))
