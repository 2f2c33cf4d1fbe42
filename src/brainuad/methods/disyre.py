"""DISYRE: restores slices from synthetic anomalies whose strength plays the part of the noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from brainuad import training_published
from brainuad.augment import Augment, augment
from brainuad.corrupt import BlobLaw, blobs
from brainuad.difference import Residual, Sign, check_residual, residual
from brainuad.diffusion import SMALL, TINY
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.rng import Rng
from brainuad.schedule import LinearBeta, Schedule
from brainuad.smooth import gaussian_blur
from brainuad.types import Brain, Images, PerItem, UnavailableError, UsageError
from brainuad.unet import UNet, UNetOptions

__all__ = ["Disyre"]

TISSUES = {
    "t1": (0.6079509, 0.07953554, 0.4649098, 0.78062236, 0.31114596),
    "t2": (0.04920235, 0.5074527, 0.2573119, 0.7149557, 0.37794548),
}
"""Intensities that stand for tissues in [0, 1], as published for two contrasts."""
FOREIGN = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class DisyreOptions:
    """Options of :class:`Disyre`."""

    net: UNetOptions = field(default_factory=UNetOptions)
    """The restoring U-Net; it is told the strength of the corruption as a step."""
    steps: Annotated[int, Field(ge=2)] = 100
    """Steps of the schedule that turns a strength into a label."""
    shapes: BlobLaw = field(default_factory=BlobLaw)
    """Law of the shapes of synthetic anomalies, in pixels."""
    bias: bool = True
    """Change the intensity of tissues inside the shape besides its texture (second version)."""
    tissues: Literal["t1", "t2"] = "t1"
    """Intensities that stand for tissues: those of T1-weighted or of T2-weighted and FLAIR."""
    labels: tuple[Annotated[int, Field(ge=0)], ...] = (99, 74, 49, 24)
    """Labels that detection asks for, from 0 (strongest corruption); the map is the mean of their
    residuals, or with ``cold`` the residual to the end of a walk over them."""
    cold: bool = False
    """Cold diffusion: walk from the lowest label to the highest, each time on from the last
    restoration, instead of restoring the slice itself at each."""
    by_brain: bool = False
    """Multiply the map by the share of the slice that is brain, as published."""
    sign: Sign = "absolute"
    """Which residuals count: both, only darker, or only brighter than the healthy counterpart."""
    residual: Residual = "l1"
    """Size or square of the difference, or 1 - structural similarity (one window, or eight)."""
    augment: Augment | None = None
    """Random changes of the training images, or none."""

    def __post_init__(self) -> None:
        """Refuse labels that the schedule does not have, and a sign that the residual has not."""
        check_residual(self.residual, self.sign)
        if not self.labels or max(self.labels) >= self.steps:
            raise UsageError(
                f"disyre: labels {list(self.labels)} of {self.steps} steps; give at least one "
                f"label between 0 and {self.steps - 1}"
            )
        if self.cold and len(set(self.labels)) < 2:
            raise UsageError(
                f"disyre: cold diffusion over labels {list(self.labels)}; give at least two to "
                "walk over, or set cold to false"
            )


PUBLISHED = {
    "width": 64,
    "multipliers": [1, 2, 2, 4, 4],
    "blocks": 2,
    "attention": [3, 4],
}


class Disyre(Method):
    """Restoration of synthetic anomalies: a diffusion whose noise is anomaly of known strength.

    Textures of other slices and shifts of intensity are put into healthy slices. A net restores
    the slice, told the strength as a step of a schedule. In detection it restores the slice itself
    at several such steps.

    References:
        Naval Marimont, Baugh, Siomos, Tzelepis, Kainz, Tarroni 2024, "DISYRE: Diffusion-inspired
        synthetic restoration for unsupervised anomaly detection", ISBI; Naval Marimont, Siomos,
        Baugh, Tzelepis, Kainz, Tarroni 2024, "Ensembled cold-diffusion restorations for
        unsupervised anomaly detection", MICCAI.
    """

    title = "DISYRE, restoration of synthetic anomalies"
    paper = "Naval Marimont et al. 2024, ISBI and MICCAI"
    space = "pixel"
    stages: ClassVar[Mapping[str, float]] = {"restore": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 1e-3}
    Options = DisyreOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.DISYRE
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, "augment": {}},
        "small": {"net": SMALL, "augment": {}},
        "small-dark": {"net": SMALL, "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY},
        "paper": {"net": {**PUBLISHED, "dropout": 0.1}, "by_brain": True},
        "v1": {"net": {**PUBLISHED, "dropout": 0.1}, "by_brain": True, "bias": False},
    }

    def __init__(self, options: DisyreOptions | None = None):
        super().__init__(options)
        self.net = UNet(self.options.net)
        self.schedule: Schedule = LinearBeta(steps=self.options.steps, first=1e-3, last=0.2)
        self.foreign: Images | None = None

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """One stage: restore healthy slices; some of them lend their texture to the others."""
        count = min(len(batches), FOREIGN)
        chosen = [len(batches) * i // count for i in range(count)]
        self.foreign = batches.get(chosen).x
        minimise("restore", self.net, self.loss, batches)
        self.foreign = None
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Squared error of the restored slice in [-1, 1], mean over all pixels."""
        x, brain = augment(batch.x, batch.brain, self.options.augment, rng=rng.fork("augment"))
        sick, strength = self.corrupted(x, brain, rng=rng)
        restored = self.net(2 * sick - 1, self.label(strength))
        return (restored - (2 * x - 1)).square().flatten(1).mean(1)

    def corrupted(self, x: Images, brain: Brain, *, rng: Rng) -> tuple[Images, PerItem]:
        """Slices with an anomaly each, and how strong it is in effect, from 0 to 1."""
        shape = blobs(self.options.shapes, brain, rng=rng.fork("shape"))
        sick, strength = textured(x, shape, self.others(x, rng), rng=rng.fork("texture"))
        if self.options.bias:
            tissues = TISSUES[self.options.tissues]
            sick, shift = biased(sick, shape, tissues, rng=rng.fork("bias"))
            strength = torch.maximum(strength, shift)
        return sick, strength

    def others(self, x: Images, rng: Rng) -> Images:
        """Another training slice for each image, at random."""
        if self.foreign is None:
            raise UnavailableError("disyre: no slices to take textures from; train it through fit")
        which = (rng.fork("foreign").uniform() * len(self.foreign)).long()
        return self.foreign[which.to(self.foreign.device)].to(x)

    def label(self, strength: PerItem) -> Int[Tensor, " batch"]:
        """The step whose share of signal sqrt(abar) is nearest to the strength: strong is low."""
        levels = self.schedule.abar.sqrt().to(strength)
        return (levels - strength[:, None]).abs().argmin(1)

    # Detection

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each label."""
        return len(self.options.labels)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Mean residual to the restorations of the slice; nothing is drawn."""
        self.check_fitted()
        o = self.options
        ends = [self.walked(x, brain)] if o.cold else [self.restored(x, n) for n in o.labels]
        restored = [end * brain for end in ends]
        sizes = [residual(x, r, kind=o.residual, sign=o.sign) for r in restored]
        anomaly = torch.stack(sizes).mean(0) * brain
        if o.by_brain:
            anomaly = anomaly * brain.float().flatten(1).mean(1).reshape(-1, 1, 1, 1)
        return Detection(anomaly=anomaly, healthy=torch.stack(restored).mean(0))

    def walked(self, x: Images, brain: Brain) -> Images:
        """The restoration at the end of a walk over the labels, strongest corruption first.

        A corrupted slice lies on the line from the clean one to the anomaly, as far along it as
        the corruption is strong. So each step keeps the direction to the estimate of the clean
        slice and shortens the distance to what is left at the next label; states stay in [0, 1] and
        0 outside the brain, as everything that the net was trained on.
        """
        labels = sorted(set(self.options.labels))
        strengths = self.schedule.abar.sqrt()[labels].tolist()
        restored = self.restored(x, labels[0])
        for label, (now, then) in zip(labels[1:], pairwise(strengths), strict=True):
            x = (restored + then / now * (x - restored)).clamp(0, 1) * brain
            restored = self.restored(x, label)
        return restored

    def restored(self, x: Images, label: int) -> Images:
        """What the net makes of slices when told that they are this strongly corrupted."""
        t = torch.full((len(x),), label, device=x.device)
        return (self.net(2 * x - 1, t) + 1) / 2


def largest(change: Images) -> PerItem:
    """Largest size of a change in each image."""
    return change.abs().flatten(1).amax(1)


def textured(x: Images, shape: Images, other: Images, *, rng: Rng) -> tuple[Images, PerItem]:
    """Slices with another slice blended in, and by how much: 0 where that changed nothing."""
    alpha = rng.uniform().to(x)
    weight = alpha.reshape(-1, 1, 1, 1) * shape
    mixed = ((1 - weight) * x + weight * other).clamp(0, 1)
    return mixed, torch.where(largest(mixed - x) > 0, alpha, 0.0)


def biased(
    x: Images, shape: Images, tissues: tuple[float, ...], *, rng: Rng
) -> tuple[Images, PerItem]:
    """Slices with some tissues inside the shape brighter or darker, and the largest change.

    A tissue takes part with a probability equal to its share of the shape.
    """
    book = torch.tensor(tissues).to(x)
    tissue = (x[:, :1, ..., None] - book).abs().argmin(-1)
    each = torch.stack([(tissue == k) * shape for k in range(len(book))], dim=1)
    share = each.flatten(2).sum(2) / shape.flatten(1).sum(1, keepdim=True).clamp(min=1e-6)
    chosen = rng.fork("tissue").uniforms(len(book)).to(x) < share
    where = (each * chosen.reshape(*chosen.shape, 1, 1, 1)).sum(1)
    amount = (2 * rng.fork("amount").uniform() - 1).to(x).reshape(-1, 1, 1, 1)
    mask = gaussian_blur(where, 1.0) * (shape > 0)
    changed = (x + amount * mask).clamp(0, 1)
    return changed, largest(changed - x)
