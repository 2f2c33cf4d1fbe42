"""One contract for a denoising network, whatever it was trained to predict.

A denoiser takes an image with noise of standard deviation sigma and returns a clean estimate.
Published networks take a variance-preserving image and an integer step; that stays in here.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn

from brainuad.schedule import Schedule
from brainuad.types import Images, PerItem


def as_column(numbers: PerItem, x: Images) -> Float[Tensor, "batch ..."]:
    """One number per image, shaped to multiply ``x``."""
    return numbers.to(x).reshape(-1, *[1] * (x.ndim - 1))


class SigmaDenoiser(nn.Module, ABC):
    """A network ``net(x_vp, t)`` trained on a schedule, as a denoiser on sigma.

    Args:
        net: the network.
        schedule: the schedule it was trained on.
    """

    def __init__(self, net: nn.Module, schedule: Schedule):
        super().__init__()
        self.net = net
        self.schedule = schedule

    def timestep(self, sigma: PerItem) -> Int[Tensor, " batch"]:
        """The step whose noise level is nearest to ``sigma``, by ratio."""
        levels = self.schedule.sigmas.to(sigma.device).log()
        return (sigma.double().log()[:, None] - levels).abs().argmin(1)

    def forward(self, x: Images, sigma: PerItem) -> Images:
        """Clean estimate x0 of images with noise of standard deviation ``sigma`` above 0."""
        s = as_column(sigma, x)
        x_vp = x / (s.square() + 1).sqrt()
        return self.clean(x, self.net(x_vp, self.timestep(sigma)), s)

    @abstractmethod
    def clean(self, x: Images, output: Images, s: Float[Tensor, "batch ..."]) -> Images:
        """Clean estimate from what the network says."""


class X0Denoiser(SigmaDenoiser):
    """A network that predicts the clean image, as in MAD-AD and the pDDPM family."""

    def clean(self, x: Images, output: Images, s: Float[Tensor, "batch ..."]) -> Images:
        """The output itself."""
        return output


class EpsDenoiser(SigmaDenoiser):
    """A network that predicts the noise, as DDPM trains it (Ho et al. 2020)."""

    def clean(self, x: Images, output: Images, s: Float[Tensor, "batch ..."]) -> Images:
        """The image less its noise."""
        return x - s * output


class VDenoiser(SigmaDenoiser):
    """A network that predicts v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho 2022)."""

    def clean(self, x: Images, output: Images, s: Float[Tensor, "batch ..."]) -> Images:
        """The share of the image that is signal, less the share of v that is not."""
        return x / (s.square() + 1) - s / (s.square() + 1).sqrt() * output


def targets(x0: Images, eps: Images, abar: PerItem) -> dict[str, Images]:
    """What each kind of network should say of a noised image: ``x0``, ``eps`` and ``v``."""
    left = as_column(abar, x0)
    return {"x0": x0, "eps": eps, "v": left.sqrt() * eps - (1 - left).sqrt() * x0}
