"""REFLECT: a straight flow in latent space from corrupted to healthy, followed in one step."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad import training_published
from brainuad.autoencoder import Latents
from brainuad.config import Share
from brainuad.corrupt import WalkLaw, draw_walks
from brainuad.difference import Sign, one_sided
from brainuad.latent_method import LatentMethod, LatentOptions
from brainuad.method import Batch, Batches, Detection, Minimise
from brainuad.rng import Rng
from brainuad.smooth import gaussian_blur
from brainuad.types import AnomalyMap, Brain, Images, PerItem
from brainuad.unet import UNet, mad_ad_options

__all__ = ["Reflect"]

SECOND = "second"
"""Name of the second stage of the flow."""
TIMES = 1000
"""The time sinusoid of the net is made for steps 0 to 1000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptionLaw:
    """How latents are corrupted in training."""

    probability: Share = 0.9
    """Probability that an image is corrupted at all."""
    walks: WalkLaw = field(default_factory=WalkLaw)
    """Law of the shapes."""
    textured: Share = 0.5
    """Probability that an object holds structure, the image's own latent from another place,
    instead of noise."""
    weakest: Share = 0.2
    """Least strength mu of an object; uniform from here to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReflectMap:
    """How the corrected latent becomes an anomaly map; intensities run from -1 to 1."""

    clip: Annotated[float, Field(gt=0)] = 0.4
    """Differences are cut here and divided by it, in the image and in the scaled latent."""
    smooth_px: Annotated[float, Field(ge=0)] = 3.0
    """Standard deviation of the Gaussian on the image's difference, in pixels."""
    latent_smooth: Annotated[float, Field(ge=0)] = 1.0
    """Standard deviation of the Gaussian on the latent's difference, in cells."""
    latent_share: Share = 0.5
    """Weight of the latent's difference; the image's has the rest."""
    sign: Sign = "absolute"
    """Which differences count: both, only darker, or only brighter than healthy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReflectOptions(LatentOptions):
    """Options of :class:`Reflect`."""

    size: str = "S"
    """Size of the net by name, as in ``mad_ad``."""
    dropout: Share = 0.1
    """Dropout in every residual block of the net."""
    corruption: CorruptionLaw = field(default_factory=CorruptionLaw)
    """How latents are corrupted in training."""
    second: bool = False
    """A second stage of training (REFLECT-2). From there on, the net learns the straight line to
    where the net of the first stage leads a corrupted latent, instead of to the healthy one."""
    second_steps: Annotated[int, Field(ge=1)] = 5
    """Euler steps of the net of the first stage in the second one."""
    steps: Annotated[int, Field(ge=1)] = 1
    """Euler steps of detection."""
    map: ReflectMap = field(default_factory=ReflectMap)
    """How the anomaly map is made."""


OURS = {"autoencoder": {"preset": "kl-f4-small"}, "augment": {}, "copies": 2}
SMALL = {**OURS, "size": "micro", "dropout": 0.05}
PAPER = {
    "autoencoder": {"preset": "kl-f8"},
    "latent_scale": 0.18215,
    "size": "L",
    "dropout": 0.4,
    "augment": {
        **{"rotation_deg": 0.0, "mirror": False, "gamma": 0.0, "bias": 0.0, "noise": 0.0},
        "brightness": 0.1,
    },
    "copies": 2,
    "critic": {"start": 50_001},
}


class Reflect(LatentMethod):
    """Rectified flow from corrupted to healthy latents of a frozen autoencoder.

    Shapes in healthy latents are replaced by noise or structure. A net learns the velocity of the
    straight line from the corrupted latent (time 0) to the healthy one (time 1). In detection the
    latent of the image is taken for a corrupted one and follows the velocity.

    References:
        Beizaee, Hajimiri, Ben Ayed, Lodygensky, Desrosiers, Dolz 2025, "REFLECT: Rectified Flows
        for Efficient Brain Anomaly Correction Transport", MICCAI, arXiv 2508.02889.
    """

    title = "REFLECT, straight flow to healthy latents"
    paper = "Beizaee et al. 2025, MICCAI, arXiv 2508.02889"
    stages: ClassVar[Mapping[str, float]] = {"autoencoder": 0.35, "flow": 0.65}
    train_with: ClassVar[Mapping[str, Any]] = {
        "lr": {"autoencoder": 1e-3, "flow": 2e-3, SECOND: 2e-3}
    }
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.REFLECT
    Options = ReflectOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "small": SMALL,
        "small-dark": {**SMALL, "map": {"sign": "dark"}},
        "tiny": {"autoencoder": {"preset": "tiny"}, "size": "tiny"},
        "paper": PAPER,
        "paper-2": {**PAPER, "second": True},
        "paper-f4": {**PAPER, "autoencoder": {"preset": "kl-f4"}},
    }

    def __init__(self, options: ReflectOptions | None = None):
        super().__init__(options)
        channels = self.autoencoder.latent_channels
        net = mad_ad_options(self.options.size, channels=channels, dropout=self.options.dropout)
        self.net = UNet(replace(net, mask_head=False))

    # Fitting

    @classmethod
    def stages_with(cls, options: ReflectOptions) -> Mapping[str, float]:
        """The second stage gets as much time as the first one of the flow."""
        second = {SECOND: cls.stages["flow"]} if options.second else {}
        return {**cls.stages, **second}

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The autoencoder on images, then the flow on cached latents, once or twice."""
        latents = self.fit_autoencoder(batches, minimise=minimise)
        minimise("flow", self.net, self.loss, latents)
        if self.options.second:
            first = copy.deepcopy(self.net).eval().requires_grad_(False)
            minimise(SECOND, self.net, partial(self.second_loss, first), latents)
        self.mark_fitted()

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Squared error of the velocity at a random time of each image, mean over the cells."""
        healthy, sick = self.pair(batch, rng)
        return self.straight(sick, healthy, rng)

    def second_loss(self, first: nn.Module, batch: Batch, rng: Rng) -> PerItem:
        """The same, with the end of the first net's flow in the place of the healthy latent.

        References:
            Liu, Gong, Liu 2023, "Flow Straight and Fast", ICLR, arXiv 2209.03003 (reflow).
        """
        _, sick = self.pair(batch, rng)
        with torch.no_grad():
            end = followed(first, sick, self.options.second_steps)
        return self.straight(sick, end, rng)

    def pair(self, batch: Batch, rng: Rng) -> tuple[Latents, Latents]:
        """Latents of a cached batch, healthy and corrupted."""
        healthy = self.sampled(batch.x, rng.fork("z"))
        law = self.options.corruption
        return healthy, corrupted(law, healthy, batch.brain, rng=rng.fork("corrupt"))

    def straight(self, start: Latents, end: Latents, rng: Rng) -> PerItem:
        """Squared error of the net on the straight line between latents, at a random time."""
        time = rng.fork("time").uniform().to(start)
        z = start + time.reshape(-1, 1, 1, 1) * (end - start)
        error = self.net(z, TIMES * time) - (end - start)
        return error.square().flatten(1).mean(1)

    # Detection

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Correct the latent of the image, decode both, compare images and latents."""
        self.check_fitted()
        z = self.scale * self.autoencoder.encode(2 * x - 1)[0]
        corrected = self.corrected(z)
        before, after = (self.autoencoder.decode(c / self.scale) for c in (z, corrected))
        anomaly = self.anomaly_map(before - after, z - corrected) * brain
        return Detection(anomaly=anomaly, healthy=((after + 1) / 2).clamp(0, 1) * brain)

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each Euler step."""
        return self.options.steps

    def corrected(self, z: Latents) -> Latents:
        """Where the flow leads from ``z``."""
        return followed(self.net, z, self.options.steps)

    def anomaly_map(self, dx: Images, dz: Latents) -> AnomalyMap:
        """Weighted sum of the cut, smoothed differences of images and latents, in [0, 1].

        Differences of latents have no sign. Where one sign is wanted, they count by the share that
        this sign has in the difference of the images nearby.
        """
        how = self.options.map
        signed, size = (
            gaussian_blur(cut(one_sided(dx, s).mean(1, keepdim=True), how.clip), how.smooth_px)
            for s in (how.sign, "absolute")
        )
        cells = gaussian_blur(cut(dz.abs().mean(1, keepdim=True), how.clip), how.latent_smooth)
        latent = F.interpolate(cells, size=dx.shape[2:], mode="bilinear") * share(signed, size)
        return (1 - how.latent_share) * signed + how.latent_share * latent


def followed(net: nn.Module, z: Latents, steps: int) -> Latents:
    """Where the velocity of a net leads from ``z``: Euler steps from time 0 to 1."""
    for step in range(steps):
        time = torch.full((len(z),), TIMES * step / steps, device=z.device)
        z = z + net(z, time) / steps
    return z


def cut(difference: AnomalyMap, clip: float) -> AnomalyMap:
    """min(d, clip) / clip."""
    return difference.clamp(max=clip) / clip


def share(part: AnomalyMap, whole: AnomalyMap) -> AnomalyMap:
    """``part / whole``, at most 1, and 1 where they are equal."""
    return torch.where(part == whole, 1.0, (part / whole.clamp(min=1e-12)).clamp(0, 1))


def corrupted(law: CorruptionLaw, z: Latents, cells: Brain, *, rng: Rng) -> Latents:
    """Latents with objects mixed in: sqrt(1 - mu) z + sqrt(mu) r inside each object."""
    shapes = draw_walks(law.walks, cells, rng=rng.fork("shapes"))
    happens = (rng.fork("happens").uniform() < law.probability).to(z.device)
    result = z
    for n in range(shapes.shape[1]):
        own = rng.fork("object", n)
        mu = column(own.fork("strength").uniform(law.weakest, 1.0), z)
        foreign = replacement(law, z, rng=own)
        mixed = (1 - mu).sqrt() * z + mu.sqrt() * foreign
        chosen = shapes[:, n : n + 1] & happens.reshape(-1, 1, 1, 1)
        result = torch.where(chosen, mixed, result)
    return result


def replacement(law: CorruptionLaw, z: Latents, *, rng: Rng) -> Latents:
    """What an object holds: noise with one colour and grain, or a shifted copy of the latent."""
    grain = column(rng.fork("grain").uniform(), z)
    colour = rng.fork("colour").normal(z.shape[1], 1, 1).to(z)
    noise = grain.sqrt() * colour + (1 - grain).sqrt() * rng.fork("noise").normal_like(z)
    shift = (rng.fork("shift").uniforms(2) * torch.tensor(z.shape[2:])).long().tolist()
    moved = torch.stack([torch.roll(a, tuple(s), (1, 2)) for a, s in zip(z, shift, strict=True)])
    textured = (rng.fork("textured").uniform() < law.textured).to(z.device)
    return torch.where(textured.reshape(-1, 1, 1, 1), moved, noise)


def column(numbers: PerItem, z: Latents) -> Float[Tensor, "batch 1 1 1"]:
    """One number per image, shaped to multiply latents."""
    return numbers.to(z).reshape(-1, 1, 1, 1)
