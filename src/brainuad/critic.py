"""What a patch critic adds to the training of an autoencoder: sharp, not only correct, images.

Patch-adversarial training as in latent diffusion (Esser et al., CVPR 2021; Rombach et al., CVPR
2022). Their perceptual term compares features of a net trained on photographs (LPIPS); here the
features are the critic's own (feature matching, Larsen et al., ICML 2016), which need no weights
from elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from brainuad.layers import Maps
from brainuad.method import Batch, Batches, Minimise
from brainuad.networks import patch_critic
from brainuad.rng import Rng, seed_of
from brainuad.types import PerItem

Reconstruct = Callable[[Batch, Rng], tuple[Maps, Maps, PerItem]]
"""Images of a batch, their reconstructions, and the loss of these without a critic."""
Weight = Annotated[float, Field(ge=0)]
LARGEST_WEIGHT = 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticOptions:
    """The critic in the first stage of a latent method; without one, the loss is plain."""

    adversarial: Weight = 0.5
    """Weight of the verdict, relative to the reconstruction's pull on the decoder's last layer."""
    perceptual: Weight = 1.0
    """Weight of the distance between the critic's features of image and reconstruction."""
    start: Annotated[int, Field(ge=0)] = 500
    """Steps before the verdict counts; the critic learns from the first step."""
    width: Annotated[int, Field(ge=1)] = 64
    """Channels of the critic's first layer."""
    layers: Annotated[int, Field(ge=1)] = 3
    """Layers of the critic that halve the image."""


class Judged(nn.Module):
    """An autoencoder and its critic, trained together by one optimiser.

    Each part gets the gradient of its own aim alone: the critic's verdict on a reconstruction
    reaches the autoencoder through a critic that is held still, and the critic learns from
    reconstructions that are held still.

    Args:
        autoencoder: what is to be kept in the end; its part ``decoder`` ends in a convolution, on
            whose weights the two aims are balanced.
        channels: of the images.
        options: of the critic.
    """

    steps: Tensor

    def __init__(self, autoencoder: nn.Module, channels: int, options: CriticOptions):
        super().__init__()
        self.autoencoder, self.options = autoencoder, options
        assert isinstance(autoencoder.decoder, nn.Module)
        last = [p for p in autoencoder.decoder.parameters() if p.ndim > 2][-1]
        self.critic = patch_critic(
            dimensions=last.ndim - 2, channels=channels, width=options.width, layers=options.layers
        )
        self.last = (last,)  # in a tuple: it belongs to the autoencoder, not to this module
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def loss(self, x: Maps, decoded: Maps, error: PerItem) -> PerItem:
        """The plain loss, plus both aims of the critic's game, per image."""
        still = {name: p.detach() for name, p in self.critic.named_parameters()}
        *guess, verdict = functional_call(self.critic, still, (decoded,))
        *truth, real = self.critic(x)
        fake = self.critic(decoded.detach())[-1]
        total = error + self.options.perceptual * distance(guess, truth)
        total = total + self.balance(total, -mean(verdict)) + hinge(real, fake)
        self.steps += 1
        return total

    def balance(self, error: PerItem, verdict: PerItem) -> PerItem:
        """The verdict at the weight at which it pulls the last layer as wanted (Esser, Eq. 7)."""
        if self.steps < self.options.start or self.options.adversarial == 0:
            return torch.zeros_like(error)
        pulls = [
            torch.autograd.grad(part.mean(), self.last, retain_graph=True)[0].norm()
            for part in (error, verdict)
        ]
        weight = (pulls[0] / (pulls[1] + 1e-4)).clamp(max=LARGEST_WEIGHT).detach()
        return self.options.adversarial * weight * verdict


def mean(x: Maps) -> PerItem:
    """Mean of each image."""
    return x.flatten(1).mean(1)


def distance(guess: list[Maps], truth: list[Maps]) -> PerItem:
    """Mean absolute difference of features, mean over the layers; ``truth`` is held still."""
    each = [mean((a - b.detach()).abs()) for a, b in zip(guess, truth, strict=True)]
    return torch.stack(each).mean(0)


def hinge(real: Maps, fake: Maps) -> PerItem:
    """What the critic minimises: 0 once it says above 1 to images and below -1 to copies."""
    return (mean(F.relu(1 - real)) + mean(F.relu(1 + fake))) / 2


def fit_autoencoder(
    autoencoder: nn.Module,
    reconstruct: Reconstruct,
    batches: Batches,
    critic: CriticOptions | None,
    minimise: Minimise,
) -> None:
    """Stage "autoencoder" of a latent method, with a critic where asked for; then it is frozen."""
    if critic is None:
        minimise("autoencoder", autoencoder, lambda b, rng: reconstruct(b, rng)[2], batches)
    else:
        judged = seeded(autoencoder, batches.get([0]).x.shape[1], critic)
        minimise("autoencoder", judged, lambda b, rng: judged.loss(*reconstruct(b, rng)), batches)
    autoencoder.eval().requires_grad_(False)


def seeded(autoencoder: nn.Module, channels: int, critic: CriticOptions) -> Judged:
    """A new critic, the same one each time, beside its autoencoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(0, "critic"))
        return Judged(autoencoder, channels, critic)
