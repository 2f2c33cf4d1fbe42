"""What pixel-space diffusion methods share: net, schedule, noise, loss, and one-step restoration.

Images run from 0 to 1 outside and from -1 to 1 inside. Levels are counted from 1 as in the papers:
"t = 500" is index 499 of the schedule.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from brainuad.augment import Augment, augment
from brainuad.denoiser import as_column
from brainuad.difference import Sign
from brainuad.layers import Embedding
from brainuad.method import Batch, Batches, Method, Minimise
from brainuad.noise import coarse, pyramid
from brainuad.rng import Rng
from brainuad.sample import ddim_step
from brainuad.schedule import Cosine, LinearBeta, ScaledLinear, Schedule
from brainuad.simplex import simplex
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.unet import UNet, UNetOptions, ddpm_options

Steps = Int[Tensor, " batch"]
Level = Annotated[int, Field(ge=1)]
Change: TypeAlias = Callable[[int, Images, int], Images | None]
"""(level, clean estimate there, next level) -> what to go on from, or None to step as usual."""
SCHEDULES = {"cosine": Cosine, "linear": LinearBeta, "scaled_linear": ScaledLinear}
PUBLISHED: dict[str, Any] = {
    "width": 128,
    "multipliers": [1, 2, 2],
    "blocks": 3,
    "head_channels": 64,
    "injection": "film",
    "resample": "block",
}
"""Net of pDDPM and mDDPM (37.5 M parameters); the options of :func:`brainuad.unet.ddpm_options`."""
SMALL: dict[str, Any] = {
    **PUBLISHED,
    "width": 32,
    "multipliers": [1, 2, 2],
    "blocks": 1,
    "head_channels": 32,
    "groups": 8,
    "fold": 2,
}
"""The same at a size that a CPU can train in minutes."""
TINY: dict[str, Any] = {
    **SMALL,
    "width": 8,
    "multipliers": [1, 2],
    "head_channels": 8,
    "groups": 4,
    "fold": 1,
}

SIMPLEX_X0: dict[str, Any] = {"noise": {"kind": "simplex"}, "predict": "x0", "error": "l1"}
"""White noise leaves what is wide and dark in the image, and its restoration keeps it."""


class Start(NamedTuple):
    """Where a restoration starts."""

    level: int
    """Level of the noise, counted from 1."""
    eps: Images
    """The noise."""
    rng: Rng
    """Where noise comes from that is drawn on the way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The noise that images are diffused with."""

    kind: Literal["simplex", "gaussian", "coarse", "pyramid"] = "simplex"
    """Fractal simplex noise, white noise, blurred noise on a grid, or noise of many scales."""
    shared: bool = False
    """Simplex: one noise image for a whole batch of training, and in detection one for all slices
    of a scan, as published, instead of one per image."""
    normalise: bool = False
    """Simplex: mean 0 and standard deviation 1 in each image; published noise has neither."""
    cell_px: Annotated[float, Field(gt=0)] = 8.0
    """Coarse: distance between the nodes, in pixels."""
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Pyramid: factor on the noise of each coarser level, in (0, 1)."""

    def stream(self, rng: Rng) -> Rng:
        """Where detection draws from: each image's own stream, or the one that a scan's share.

        A batch of detection holds any slices of a scan, so what they share must not hang on it.
        """
        return rng.of_scans() if self.shared and self.kind == "simplex" else rng

    def of_batch(self, x: Images, *, rng: Rng) -> Images:
        """Noise for a batch of training, one image for all of it where that is shared."""
        alike = self.shared and self.kind == "simplex"
        return self.like(x, rng=Rng(rng.seeds[:1] * len(rng)) if alike else rng)

    def like(self, x: Images, *, rng: Rng) -> Images:
        """Noise in the shape of ``x``, from each image's own stream."""
        if self.kind == "simplex":
            return simplex(x, rng=rng, normalise=self.normalise)
        if self.kind == "coarse":
            return coarse(x, std=1.0, cell_px=self.cell_px, rng=rng)
        if self.kind == "pyramid":
            return pyramid(x, discount=self.discount, rng=rng)
        return rng.normal_like(x)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionOptions:
    """Options of every pixel-space diffusion method."""

    net: UNetOptions = field(default_factory=ddpm_options)
    """The denoising U-Net."""
    schedule: Literal["cosine", "linear", "scaled_linear"] = "cosine"
    """How noise grows from step to step."""
    steps: Level = 1000
    """Steps of the schedule."""
    predict: Literal["x0", "eps", "v"] = "x0"
    """What the net says: the clean image, the noise, or the velocity between the two."""
    error: Literal["l1", "l2"] = "l1"
    """Loss: absolute or squared error of the prediction, mean over all pixels."""
    noise: Noise = field(default_factory=Noise)
    """The noise of training and detection."""
    levels: tuple[Level, ...] = (500,)
    """Levels that images are restored from, counted from 1; several: mean of the restorations."""
    sign: Sign = "absolute"
    """Which residuals count: both, only darker, or only brighter than the healthy counterpart."""
    augment: Augment | None = None
    """Random changes of the training images, or none as published."""

    def __post_init__(self) -> None:
        """Refuse levels that the schedule does not have."""
        if not self.levels or max(self.levels) > self.steps:
            raise UsageError(
                f"levels: {list(self.levels)} of {self.steps} steps; give at least one level "
                f"between 1 and {self.steps}"
            )


class Diffusion(Method):
    """Base of the methods that noise an image and restore it with a net.

    A subclass may change the loss and the restoration (:meth:`restored`); here both take the whole
    image, and the restoration takes one step, as in the DDPM baseline of Behrendt et al. (MIDL
    2023), which never walks the chain.
    """

    space = "pixel"
    stages: ClassVar[Mapping[str, float]] = {"denoiser": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    Options = DiffusionOptions

    def __init__(self, options: Any = None):
        super().__init__(options)
        self.net = self.make_net()
        self.schedule = self.make_schedule()

    def make_net(self) -> UNet:
        """The net of the options."""
        return UNet(self.options.net)

    def make_schedule(self) -> Schedule:
        """The schedule of the options."""
        return SCHEDULES[self.options.schedule](steps=self.options.steps)

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: the denoiser on healthy images."""
        minimise("denoiser", self.net, self.loss, batches)
        self.mark_fitted()

    # Training

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Error of the net's prediction at a random step of each image, mean over all pixels."""
        x, brain = self.augmented(batch, rng)
        shown = 2 * self.shown(x, brain, rng.fork("sick")) - 1
        return self.loss_at(2 * x - 1, brain, *self.drawn(x, rng), shown)

    def shown(self, x: Images, brain: Brain, rng: Rng) -> Images:
        """The training images as the net sees them, before noise: as they are."""
        return x

    def drawn(self, x: Images, rng: Rng) -> tuple[Steps, Images]:
        """A random step for each training image, and its noise."""
        t = rng.fork("step").integers(0, self.options.steps)
        return t.to(x.device), self.options.noise.of_batch(x, rng=rng.fork("noise"))

    def loss_at(
        self, x0: Images, brain: Brain, t: Steps, eps: Images, shown: Images | None = None
    ) -> PerItem:
        """The loss for given images in [-1, 1], steps and noise.

        ``shown`` is what is noised where that is not the target ``x0`` itself.
        """
        output = self.net(self.schedule.add_noise(x0 if shown is None else shown, eps, t), t)
        return self.distance(output - self.target(x0, eps, t))

    def augmented(self, batch: Batch, rng: Rng) -> tuple[Images, Brain]:
        """Training images and brains, changed at random where the options say so."""
        return augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))

    def distance(self, difference: Images) -> PerItem:
        """Mean absolute or squared difference of each image, over all pixels."""
        size = difference.abs() if self.options.error == "l1" else difference.square()
        return size.flatten(1).mean(1)

    def target(self, x0: Images, eps: Images, t: Steps) -> Images:
        """What the net should say."""
        if self.options.predict == "x0":
            return x0
        if self.options.predict == "eps":
            return eps
        signal, noise = self.rates(t, x0)
        return signal * eps - noise * x0

    # Restoration

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each of the levels."""
        return len(self.options.levels)

    def rates(self, t: Steps, x: Images) -> tuple[Float[Tensor, "batch ..."], ...]:
        """sqrt(abar_t) and sqrt(1 - abar_t) of each image, shaped to multiply ``x``."""
        abar = self.schedule.abar[t.cpu()]
        return as_column(abar.sqrt(), x), as_column((1 - abar).sqrt(), x)

    def clean(self, x_t: Images, t: Steps, condition: Embedding | None = None) -> Images:
        """The net's estimate of the clean image in [-1, 1], whatever it predicts."""
        output = self.net(x_t, t, condition) if condition is not None else self.net(x_t, t)
        if self.options.predict == "x0":
            return output
        signal, noise = self.rates(t, x_t)
        if self.options.predict == "eps":
            return (x_t - noise * output) / signal
        return signal * x_t - noise * output

    def restored(self, x: Images, brain: Brain, level: int, eps: Images) -> Images:
        """Healthy counterpart in [0, 1] of images in [0, 1]: noised to ``level``, one net call."""
        t = torch.full((len(x),), level - 1, device=x.device)
        return (self.clean(self.schedule.add_noise(2 * x - 1, eps, t), t) + 1) / 2

    def restorations(self, x: Images, brain: Brain, starts: Sequence[Start]) -> list[Images]:
        """The restoration from each level with the noise given for it."""
        return [self.restored(x, brain, start.level, start.eps) for start in starts]

    # The chain; levels are counted from 1, and 0 is the clean image

    def left(self, level: int) -> float:
        """Share of the image's variance left at a level; 1 at level 0."""
        return float(self.schedule.abar[level - 1]) if level else 1.0

    def noised(self, x: Images, eps: Images, level: int) -> Images:
        """Images in [-1, 1] with noise of a level; themselves at level 0."""
        return self.left(level) ** 0.5 * x + (1 - self.left(level)) ** 0.5 * eps

    def bounded(self, x_t: Images, t: Steps) -> Images:
        """The clean estimate, kept in [-1, 1]."""
        return self.clean(x_t, t).clamp(-1, 1)

    def down(
        self,
        x: Images,
        levels: Sequence[int],
        *,
        eta: float,
        rng: Rng,
        change: Change | None = None,
    ) -> Images:
        """Walk images down the chain (Song et al. 2021, arXiv 2010.02502, Eq. 12).

        Args:
            x: images in [-1, 1] with noise of the first level.
            levels: falling; the clean estimate is asked for at all but the last.
            eta: share of fresh noise in a step, of the kind of the training: 0 none (DDIM), 1 as
                in DDPM.
            rng: one stream per image, for fresh noise.
            change: may replace the images before the next step.
        """
        for now, then in pairwise(levels):
            x0 = self.bounded(x, torch.full((len(x),), now - 1, device=x.device))
            changed = change(now, x0, then) if change is not None else None
            fresh = partial(self.fresh, x, now, rng)
            abar = (self.left(now), self.left(then))
            x = ddim_step(x0, x, abar, eta=eta, fresh=fresh) if changed is None else changed
        return x

    def fresh(self, x: Images, level: int, rng: Rng) -> Images:
        """Noise that is drawn on the way, in the step down from a level."""
        return self.options.noise.like(x, rng=rng.fork("fresh", level))
