"""IterMask2: all that looks suspicious is hidden and filled in; what is filled in well is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from brainuad import training_published
from brainuad.augment import Augment, augment
from brainuad.difference import Sign, squared
from brainuad.diffusion import SMALL, TINY
from brainuad.latents import split
from brainuad.likelihood import percentile
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.rng import Rng
from brainuad.scatter import ScatterLaw, scattered
from brainuad.types import AnomalyMap, Brain, Images, PerItem
from brainuad.unet import UNet, UNetOptions

__all__ = ["Itermask2"]

SPAN = 6.0
"""Intensities 0 to 1 are -3 to 3 for the nets, beside noise of standard deviation 1."""
FAINT = 1e-2
"""Amplitude of a frequency, below which its phase is rounding error and counts less."""
Share = Annotated[float, Field(gt=0, lt=1)]
Errors = Float[Tensor, "batch 1 *space"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Itermask2Options:
    """Options of :class:`Itermask2`."""

    net: UNetOptions = field(default_factory=UNetOptions)
    """Both U-Nets; their channels are those of the method."""
    radius: Annotated[float, Field(ge=0)] = 15.0
    """Frequencies nearer to 0 than this lose their amplitude in the hint, in bins."""
    masks: ScatterLaw = field(default_factory=ScatterLaw)
    """Law of the masks that the second net learns to fill."""
    first_share: Share = 0.6
    """Share of the brain that the first mask hides: where the first net errs most."""
    exceeded: Share = 0.2
    """Share of the masked pixels of healthy images whose error lies above the threshold."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the images, of whole scans, that only set the threshold; 0: all train and set it."""
    shrink: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """An image is finished when its mask shrinks by less than this share."""
    rounds: Annotated[int, Field(ge=1)] = 20
    """Largest number of times that an image is filled in."""
    min_max: bool = False
    """Scale the map of every slice to 0 to 1 by its own minimum and maximum."""
    sign: Sign = "absolute"
    """Which errors the map shows: both, only darker, or only brighter than the counterpart."""
    augment: Augment | None = None
    """Random changes of the training images, or none as published."""


PUBLISHED: dict[str, Any] = {
    "width": 32,
    "multipliers": [1, 1, 2, 3, 4],
    "blocks": 2,
    "attention": [2, 3, 4],
    "heads": 1,
    "injection": "film",
    "resample": "block",
}


class Itermask2(Method):
    """Hides what is suspicious, fills it in from the rest, shows again what was filled in well.

    The hint is the image without its low frequencies: edges and texture, not intensity. A first net
    guesses the image from the hint alone; the places where it errs most are hidden. A second net
    fills them in, and what it fills in as well as it does in healthy images is shown again, until
    the mask no longer shrinks.

    Masks: True = hidden.

    References:
        Liang, Guo, Noble, Kamnitsas 2024, "IterMask2: iterative unsupervised anomaly segmentation
        via spatial and frequency masking for brain lesions in MRI", MICCAI, arXiv 2406.02422.
    """

    title = "IterMask2, shrinking masks with a frequency hint"
    paper = "Liang et al. 2024, MICCAI, arXiv 2406.02422"
    space = "pixel"
    stages: ClassVar[Mapping[str, float]] = {"guess": 0.5, "fill": 0.5}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.ITERMASK2
    Options = Itermask2Options
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": {**PUBLISHED, "groups": 8}, "augment": {}},
        "small": {"net": SMALL, "augment": {}},
        "small-dark": {"net": SMALL, "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY},
        "paper": {
            "net": {**PUBLISHED, "dropout": 0.1},
            "masks": {"pixel_mm": 1.875},
            "rounds": 1000,
            "min_max": True,
        },
    }
    threshold: Tensor

    def __init__(self, options: Itermask2Options | None = None):
        super().__init__(options)
        self.guess = UNet(with_channels(self.options.net, 1))
        self.net = UNet(with_channels(self.options.net, 2))
        self.register_buffer("threshold", torch.zeros(()))

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The first net, the second net, and the threshold on images that trained neither."""
        training, rest = split(batches, self.options.held_out)
        minimise("guess", self.guess, self.guess_loss, training)
        minimise("fill", self.net, self.fill_loss, training)
        self.net.eval()
        self.set_threshold(rest)
        self.mark_fitted()

    def guess_loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Squared error of images guessed from their hints, mean over all pixels; in -3 to 3."""
        x, _ = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        return mean(SPAN**2 * (self.guessed(self.hint(x)) - x).square())

    def fill_loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Squared error of images with a hidden part, mean over all pixels; in -3 to 3."""
        x, brain = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        mask = scattered(self.options.masks, brain, rng=rng.fork("mask"))
        restored = self.filled(x, self.hint(x), mask, rng=rng.fork("noise"))
        return mean(SPAN**2 * (restored - x).square())

    @torch.no_grad()
    def set_threshold(self, batches: Batches) -> None:
        """Squared error that the wanted share of hidden pixels of healthy images exceeds."""
        errors = []
        for batch in batches.in_order(16):
            x, brain = batch.x.to(self.threshold.device), batch.brain.to(self.threshold.device)
            rng = batch.rng(0, "threshold")
            mask = scattered(self.options.masks, brain, rng=rng.fork("mask"))
            restored = self.filled(x, self.hint(x), mask, rng=rng.fork("noise"))
            errors.append((restored - x).square()[mask].cpu())
        self.threshold.fill_(percentile(torch.cat(errors), 100 * (1 - self.options.exceeded)))

    # Nets

    def hint(self, x: Images) -> Images:
        """The images without the amplitude of their low frequencies, in -3 to 3."""
        return structure(SPAN * (x - 0.5), self.options.radius)

    def guessed(self, hint: Images) -> Images:
        """Images as the first net guesses them from their hints."""
        return told_nothing(self.guess, hint) / SPAN + 0.5

    def filled(self, x: Images, hint: Images, mask: Brain, *, rng: Rng) -> Images:
        """Images as the second net restores them when it sees noise in the mask, and the hint."""
        seen = torch.where(mask, rng.normal_like(x), SPAN * (x - 0.5))
        return told_nothing(self.net, torch.cat([seen, hint], dim=1)) / SPAN + 0.5

    # Detection

    def passes(self, size: tuple[int, ...]) -> int:
        """The guess, and as many fillings as there are rounds."""
        return 1 + self.options.rounds

    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Squared error of the last filling, 0 outside the brain."""
        self.check_fitted()
        healthy = self.refined(x, brain, rng=rng)[0] * brain
        anomaly = squared(x, healthy, sign=self.options.sign) * brain
        if self.options.min_max:
            anomaly = scaled(anomaly) * brain
        return Detection(anomaly=anomaly, healthy=healthy)

    @torch.no_grad()
    def refined(self, x: Images, brain: Brain, *, rng: Rng) -> tuple[Images, Brain]:
        """The last filling of each image, and the mask that it filled."""
        hint, restored = self.hint(x), torch.empty_like(x)
        mask = worst((self.guessed(hint) - x).square(), brain, self.options.first_share)
        rows = torch.arange(len(x), device=x.device)
        for number in range(self.options.rounds):
            own = Rng([rng.seeds[row] for row in rows.tolist()]).fork("noise", number)
            restored[rows] = self.filled(x[rows], hint[rows], mask[rows], rng=own)
            bad = (restored[rows] - x[rows]).square() > self.threshold
            smaller = mask[rows] & bad
            on = shrunk(mask[rows], smaller, self.options.shrink)
            rows, smaller = rows[on], smaller[on]
            if not len(rows) or number == self.options.rounds - 1:
                break
            mask[rows] = smaller
        return restored, mask


def with_channels(options: UNetOptions, channels: int) -> UNetOptions:
    """The same net for so many input channels and one output channel of slices."""
    return replace(
        options, channels_in=channels, channels_out=1, dimensions=2, condition=0, mask_head=False
    )


def told_nothing(net: nn.Module, x: Images) -> Errors:
    """What a net says that has no use for a time: step 0 for every image."""
    out = net(x, torch.zeros(len(x), dtype=torch.long, device=x.device))
    assert isinstance(out, Tensor)
    return out


def mean(x: Images) -> PerItem:
    """Mean of each image."""
    return x.flatten(1).mean(1)


def structure(x: Images, radius: float | int) -> Images:
    """Real part of images whose low frequencies have amplitude 1 and keep their phase.

    Args:
        x: 2-D images.
        radius: frequencies nearer to 0 than this are low, in bins.
    """
    bins = [torch.fft.fftfreq(n, 1 / n, device=x.device) for n in x.shape[2:]]
    low = (bins[0].square()[:, None] + bins[1].square()).sqrt() < radius
    spectrum = torch.fft.fft2(x.float())
    phase = spectrum / spectrum.abs().clamp(min=FAINT)
    return torch.fft.ifft2(torch.where(low, phase, spectrum)).real.to(x)


def worst(error: Errors, brain: Brain, share: float) -> Brain:
    """The given share of each brain, where the error is largest."""
    bounds = [percentile(e[b], 100 * (1 - share)) for e, b in zip(error, brain, strict=True)]
    return (error > error.new_tensor(bounds).reshape(-1, 1, 1, 1)) & brain


def shrunk(before: Brain, after: Brain, share: float) -> Bool[Tensor, " batch"]:
    """Which masks lost at least this share of their pixels; an empty one has none to lose."""
    n, left = (mask.flatten(1).sum(1) for mask in (before, after))
    return (n > 0) & (n - left >= share * n)


def scaled(anomaly: AnomalyMap) -> AnomalyMap:
    """Each map from 0 to 1 by its own minimum and maximum; 0 where it is the same everywhere."""
    flat = anomaly.flatten(1)
    low, high = (v.reshape(-1, 1, 1, 1) for v in (flat.amin(1), flat.amax(1)))
    return (anomaly - low) / (high - low).clamp(min=torch.finfo(anomaly.dtype).tiny)
