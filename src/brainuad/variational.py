"""What variational autoencoders share: a small code with a distribution, decoded at its mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from brainuad.augment import augment
from brainuad.compact import Compact, CompactOptions, kl_to_standard
from brainuad.method import Batch, Batches, Minimise
from brainuad.reconstruction import Reconstruction, ReconstructionOptions
from brainuad.rng import Rng
from brainuad.types import Images, PerItem

Copies = Float[Tensor, "batch _ *space"]
"""Copies of what is judged in images, which need not be all of their channels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationalOptions(ReconstructionOptions):
    """Options of every variational autoencoder."""

    net: CompactOptions = field(default_factory=CompactOptions)
    """Encoder and decoder."""
    beta: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the Kullback-Leibler term, which is a mean over the numbers of the code."""


class Variational(Reconstruction):
    """Base of methods that copy healthy images through a code kept near the standard normal."""

    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    Options = VariationalOptions
    net: Compact

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: copy healthy images through samples of their codes."""
        minimise("autoencoder", self.net, self.loss, batches)
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Mean absolute error of a copy through a sampled code, plus the weighted divergence."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        mean, logvar = self.moments(x)
        code = mean + (0.5 * logvar).exp() * rng.fork("code").normal_like(mean)
        error = (self.decoded(code, x) - self.judged(x)).abs().flatten(1).mean(1)
        return error + self.options.beta * kl_to_standard(mean, logvar)

    def moments(self, x: Images) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (cut to [-30, 20]) of the code."""
        mean, logvar = self.net.encode(x).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decoded(self, code: Tensor, x: Images) -> Copies:
        """Images of codes, in the size of ``x``."""
        return self.net.decode(code, tuple(x.shape[2:]))

    def copied(self, x: Images) -> Copies:
        """The image of the code's mean."""
        return self.decoded(self.moments(x)[0], x)
