"""What a latent diffusion model sees of an image, and the way back to an image.

The kinds ``quantised``, ``non_quantised``, ``indices`` and ``downsampling`` are those of the later
code of the authors of the latent DDPM; ``kl`` is the autoencoder of latent diffusion.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.autoencoder import (
    Autoencoder,
    AutoencoderOptions,
    kl_reconstruction,
    posterior_sample,
)
from brainuad.latents import LARGEST_CACHED, LatentCache, deviation_of
from brainuad.layers import Maps
from brainuad.rng import Rng
from brainuad.types import Images, PerItem, UsageError
from brainuad.vq import Latents, VqAutoencoder, VqOptions, check_size

Kind = Literal["quantised", "non_quantised", "indices", "downsampling", "kl"]
Counts = Int[Tensor, " codes"]
Kept = Float[Tensor, "batch _ *cells"]
LINEAR = {2: "bilinear", 3: "trilinear"}
LEAST_DEVIATION = 1e-6


class Downsampling(nn.Module):
    """Small images instead of learnt latents: means of blocks, and linear interpolation back."""

    latent_channels: int = 1

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def encode(self, x: Maps) -> Latents:
        """Means of blocks of ``factor`` pixels along each axis."""
        check_size(x.shape[2:], self.factor)
        return {4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim](x, self.factor)

    def decode(self, z: Latents) -> Maps:
        """The image at its full size again."""
        size = [self.factor * n for n in z.shape[2:]]
        return F.interpolate(z, size=size, mode=LINEAR[z.ndim - 2], align_corners=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingOptions:
    """What a latent diffusion model works on."""

    kind: Kind = "quantised"
    """Codes of a VQ-VAE, its vectors before they become codes, the numbers of its codes, small
    images, or latents of a KL autoencoder."""
    kl: AutoencoderOptions = field(default_factory=AutoencoderOptions)
    """The autoencoder of the kind ``kl``."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-6
    """Weight of the Kullback-Leibler term in the loss of that autoencoder."""
    block_px: Annotated[int, Field(ge=2)] = 4
    """Edge of the blocks of pixels whose means are the small images of ``downsampling``."""

    def check(self, *, requantise: bool, critic: bool, codes: int) -> None:
        """Refuse settings of a method that this kind has no use for.

        Args:
            requantise: repainted cells are replaced by codes before they are decoded.
            critic: the autoencoder is trained against a critic.
            codes: in the codebook.
        """
        unused = {
            "requantise": not requantise and self.kind != "quantised",
            "critic": critic and self.kind == "downsampling",
        }
        for name in (name for name, wrong in unused.items() if wrong):
            raise UsageError(
                f"latent_ddpm: {name} has no meaning for the encoding {self.kind}; leave it out"
            )
        if self.kind in ("quantised", "indices") and codes > LARGEST_CACHED:
            raise UsageError(f"latent_ddpm: {codes} codes; use at most {LARGEST_CACHED}")

    def autoencoder(self, vq: VqOptions) -> nn.Module:
        """A new autoencoder for this kind, with ``factor`` and ``latent_channels``."""
        if self.kind == "downsampling":
            return Downsampling(self.block_px)
        return Autoencoder(self.kl) if self.kind == "kl" else VqAutoencoder(vq)

    def of(self, autoencoder: nn.Module) -> "Encoding":
        """The encoding with the autoencoder that :meth:`autoencoder` made."""
        if isinstance(autoencoder, Autoencoder):
            return Posterior(autoencoder, self.kl_weight)
        if isinstance(autoencoder, VqAutoencoder):
            kinds = {"non_quantised": Features, "indices": Indices}
            return kinds.get(self.kind, Quantised)(autoencoder)
        return Pixels(autoencoder)


class Encoding(ABC):
    """From images in [0, 1] to latents, before these are scaled, and back.

    Attributes:
        autoencoder: what it uses.
        codes: vectors of the codebook; 0 without one.
        channels: of the latents.
        factor: pixels along the edge of a cell.
    """

    codes: int = 0

    def __init__(self, autoencoder: Any):
        self.autoencoder = autoencoder
        self.channels: int = autoencoder.latent_channels
        self.factor: int = autoencoder.factor

    def reconstruct(self, x: Images, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images as the autoencoder takes them, their reconstructions, and the loss of these."""
        decoded = self.images(self.latents(x))
        return x, decoded, (decoded - x).abs().flatten(1).mean(1)

    @abstractmethod
    def latents(self, x: Images) -> Latents:
        """The latents of images, the same each time."""

    @abstractmethod
    def images(self, z: Latents) -> Images:
        """Images of latents, not cut to any range."""

    def kept(self, x: Images) -> Kept:
        """What the cache holds of training images."""
        return self.latents(x)

    def drawn(self, kept: Kept, rng: Rng) -> Latents:
        """Latents of training images, from what the cache holds of them."""
        return kept

    def snapped(self, z: Latents) -> Latents:
        """Latents with every cell replaced by its nearest code, where there are codes."""
        return z

    def counts(self, cache: LatentCache) -> Counts | None:
        """How often each code occurs in the training images; None without codes."""
        return None

    def deviation(self, cache: LatentCache, counts: Counts | None) -> float:
        """Standard deviation of the numbers in the latents of the training images."""
        return max(LEAST_DEVIATION, float(cache.x.float().std()))


class Features(Encoding):
    """What the encoder of a VQ-VAE says before it becomes codes; only codes are decoded."""

    def __init__(self, autoencoder: VqAutoencoder):
        super().__init__(autoencoder)
        self.book = autoencoder.quantiser
        self.codes = len(self.book.codes)

    def reconstruct(self, x: Images, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images, their reconstructions, absolute error plus commitment loss."""
        decoded, commitment = self.autoencoder(x)
        return x, decoded, (decoded - x).abs().flatten(1).mean(1) + commitment

    def latents(self, x: Images) -> Latents:
        """The vector of each cell."""
        return self.autoencoder.features(x)

    def images(self, z: Latents) -> Images:
        """The image of each cell's nearest code."""
        return self.autoencoder.decode(self.snapped(z))

    def snapped(self, z: Latents) -> Latents:
        """The nearest code of each cell."""
        return self.book.lookup(self.book.nearest(z))

    def numbers(self, kept: Kept) -> Int[Tensor, "batch 1 *cells"]:
        """The numbers of the codes of what the cache holds."""
        return self.book.nearest(kept)

    def counts(self, cache: LatentCache) -> Counts:
        """How often each code occurs in the training images."""
        device, total = self.book.codes.device, torch.zeros(self.codes, dtype=torch.long)
        for part in cache.x.split(64):
            numbers = self.numbers(part.float().to(device)).flatten().cpu()
            total += torch.bincount(numbers, minlength=self.codes)
        return total.to(device)


class Quantised(Features):
    """Codes of a VQ-VAE."""

    def kept(self, x: Images) -> Kept:
        """The numbers of the codes."""
        return self.autoencoder.indices(x).float()

    def numbers(self, kept: Kept) -> Int[Tensor, "batch 1 *cells"]:
        """The numbers themselves."""
        return kept.long()

    def drawn(self, kept: Kept, rng: Rng) -> Latents:
        """The codes with these numbers."""
        return self.book.lookup(kept.long())

    def latents(self, x: Images) -> Latents:
        """The codes of images."""
        return self.autoencoder.encode(x)

    def images(self, z: Latents) -> Images:
        """Images of latents, which need not consist of codes."""
        return self.autoencoder.decode(z)

    def deviation(self, cache: LatentCache, counts: Counts | None) -> float:
        """Standard deviation of the numbers in the codes, as often as they occur."""
        assert counts is not None
        return deviation_of(self.book.codes, counts)


class Indices(Quantised):
    """Numbers of codes, from -1 to 1; their order means nothing."""

    def __init__(self, autoencoder: VqAutoencoder):
        super().__init__(autoencoder)
        self.channels = 1
        self.last = max(1, self.codes - 1)

    def drawn(self, kept: Kept, rng: Rng) -> Latents:
        """The numbers, rescaled."""
        return 2 * kept / self.last - 1

    def latents(self, x: Images) -> Latents:
        """The rescaled numbers of images."""
        return 2 * self.kept(x) / self.last - 1

    def images(self, z: Latents) -> Images:
        """Images of the codes whose numbers are nearest."""
        numbers = ((z + 1) / 2 * self.last).round().long().clamp(0, self.codes - 1)
        return self.autoencoder.decode(self.book.lookup(numbers))

    def snapped(self, z: Latents) -> Latents:
        """The same; numbers are rounded when they are decoded."""
        return z

    def deviation(self, cache: LatentCache, counts: Counts | None) -> float:
        """Standard deviation of the rescaled numbers."""
        assert counts is not None
        values = torch.arange(self.codes, device=counts.device)[:, None]
        return deviation_of(2 * values.float() / self.last - 1, counts)


class Posterior(Encoding):
    """Latents of a KL autoencoder: samples in training, means in detection."""

    def __init__(self, autoencoder: Autoencoder, kl_weight: float):
        super().__init__(autoencoder)
        self.kl_weight = kl_weight

    def reconstruct(self, x: Images, rng: Rng) -> tuple[Images, Images, PerItem]:
        """Images in [-1, 1], their reconstructions, absolute error plus weighted divergence."""
        x = 2 * x - 1
        return x, *kl_reconstruction(self.autoencoder, x, self.kl_weight, rng)

    def latents(self, x: Images) -> Latents:
        """The means of the posteriors."""
        return self.autoencoder.encode(2 * x - 1)[0]

    def images(self, z: Latents) -> Images:
        """Images of latents."""
        return (self.autoencoder.decode(z) + 1) / 2

    def kept(self, x: Images) -> Kept:
        """Means and log-variances, as channels."""
        return torch.cat(self.autoencoder.encode(2 * x - 1), 1)

    def drawn(self, kept: Kept, rng: Rng) -> Latents:
        """Samples of the posteriors."""
        return posterior_sample(kept, rng.fork("posterior"))

    def deviation(self, cache: LatentCache, counts: Counts | None) -> float:
        """Standard deviation of samples."""
        return max(LEAST_DEVIATION, cache.deviation())


class Pixels(Encoding):
    """Small images in [-1, 1], without any autoencoder."""

    def latents(self, x: Images) -> Latents:
        """The small images."""
        return 2 * self.autoencoder.encode(x) - 1

    def images(self, z: Latents) -> Images:
        """The small images at full size."""
        return (self.autoencoder.decode(z) + 1) / 2
