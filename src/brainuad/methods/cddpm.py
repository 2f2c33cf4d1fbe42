"""cDDPM: noise on the whole slice, and a vector of the clean slice that says whose brain it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from brainuad import training_published
from brainuad.diffusion import PUBLISHED, SMALL, TINY, Level, Start, Steps
from brainuad.encoder import Encoder, EncoderOptions, Pretraining, PretrainOptions
from brainuad.layers import Embedding
from brainuad.method import Batch, Batches, Minimise
from brainuad.restoration import Drawn, DrawnOptions
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem, UsageError
from brainuad.unet import UNetOptions, ddpm_options

__all__ = ["Cddpm"]


def conditioned_net() -> UNetOptions:
    """The published net with the condition of the released code."""
    return ddpm_options(condition=512)


@dataclass(frozen=True, kw_only=True, slots=True)
class CddpmOptions(DrawnOptions):
    """Options of :class:`Cddpm`."""

    net: UNetOptions = field(default_factory=conditioned_net)
    """The denoising U-Net; ``condition`` is the number of features that the encoder gives it."""
    levels: tuple[Level, ...] = (250, 500, 750)
    """Levels that images are restored from, counted from 1; several: mean of the restorations."""
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """The net that makes the condition of the clean image."""
    pretrain: bool = True
    """Whether the encoder first learns to paint hidden parts of healthy images (SparK)."""
    pretraining: PretrainOptions = field(default_factory=PretrainOptions)
    """How it does so."""
    drop_condition: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training images whose condition is left out (all 0); 0: none, as published."""

    def __post_init__(self) -> None:
        """Refuse a net without a condition."""
        super(CddpmOptions, self).__post_init__()
        if self.net.condition < 1:
            raise UsageError(
                f"cddpm: net.condition is {self.net.condition}; use the number of features of the "
                "condition, such as 128, or the method ddpm, which has none"
            )


SHARED = {"shared": True}
OURS: dict[str, Any] = {"net": {**PUBLISHED, "condition": 512}, "augment": {}}
SMALLER: dict[str, Any] = {
    "net": {**SMALL, "condition": 64},
    "encoder": {"kind": "small"},
    "augment": {},
}
RELEASED_CHANGES = {
    **dict.fromkeys(["rotation_deg", "translation_px", "brightness", "contrast", "noise"], 0.0),
    "mirror": False,
    "gamma": 0.3,
    "bias": 0.5,
    "blur_px": 2.0,
    "ghosting": 1.0,
    "ghosting_least": 0.5,
    "bias_probability": 0.25,
    "blur_probability": 0.25,
}
"""The released code's changes, each with probability 0.5 where none is said, slice by slice (there:
whole volumes)."""
CODE: dict[str, Any] = {
    **OURS,
    "encoder": {"drop": 0.05},
    "noise": SHARED,
    "augment": RELEASED_CHANGES,
}


class Cddpm(Drawn):
    """A DDPM that is told by an encoder what the clean slice looks like on the whole.

    The vector is too small to hold a lesion's place and shape, and large enough for contrast and
    anatomy, which noise takes away.

    References:
        Behrendt, Bhattacharya, Mieling, Maack, Krüger, Opfer, Schlaefer 2025, "Guided
        reconstruction with conditioned diffusion models for unsupervised anomaly detection in
        brain MRIs", Comput. Biol. Med. 186:109660, arXiv 2312.04215; Behrendt et al. 2024,
        "Leveraging the Mahalanobis distance to enhance unsupervised brain MRI anomaly detection",
        MICCAI, arXiv 2407.12474 (preset ``mhd``).
    """

    title = "cDDPM, conditioned diffusion"
    paper = "Behrendt et al. 2025, Comput. Biol. Med. 186:109660, arXiv 2312.04215"
    stages: ClassVar[Mapping[str, float]] = {"pretrain": 0.15, "denoiser": 0.85}
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.CDDPM
    Options = CddpmOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "small": SMALLER,
        "small-dark": {**SMALLER, "sign": "dark"},
        "tiny": {
            "net": {**TINY, "condition": 8},
            "encoder": {"kind": "small", "widths": [4, 8]},
            "pretraining": {"cell_px": 8},
        },
        "paper": {
            "net": {**PUBLISHED, "condition": 128, "condition_layers": False},
            "noise": SHARED,
        },
        "code": CODE,
        "mhd": {**CODE, "levels": [500], "residual": "ssim", "mahalanobis": 10},
    }

    def __init__(self, options: CddpmOptions | None = None):
        super().__init__(options)
        o = self.options
        self.encoder = Encoder(o.encoder, features=o.net.condition, channels=o.net.channels_in)
        if o.pretrain:
            o.pretraining.check(self.encoder.stride)

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The encoder alone, where it is pre-trained; then encoder and denoiser together."""
        if self.options.pretrain:
            pretraining = self.make_pretraining()

            def paint(batch: Batch, rng: Rng) -> PerItem:
                return pretraining.loss(batch.x, rng=rng)

            minimise("pretrain", pretraining, paint, batches)
        minimise("denoiser", nn.ModuleList([self.encoder, self.net]), self.loss, batches)
        self.mark_fitted()

    def make_pretraining(self) -> Pretraining:
        """The encoder with a decoder whose first weights are the same in every run."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return Pretraining(
                self.encoder, self.options.pretraining, channels=self.options.net.channels_in
            )

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Error of the net's prediction at a random step of each image, mean over all pixels."""
        x, brain = self.augmented(batch, rng)
        shown = 2 * self.shown(x, brain, rng.fork("sick")) - 1
        told = rng.fork("told").uniform() >= self.options.drop_condition
        condition = self.encoder((shown + 1) / 2) * told.to(x)[:, None]
        return self.conditioned_loss(2 * x - 1, condition, *self.drawn(x, rng), shown)

    def loss_at(
        self, x0: Images, brain: Brain, t: Steps, eps: Images, shown: Images | None = None
    ) -> PerItem:
        """The loss for given images in [-1, 1], steps and noise.

        ``shown`` is what net and encoder see where that is not the target ``x0`` itself.
        """
        seen = x0 if shown is None else shown
        return self.conditioned_loss(x0, self.encoder((seen + 1) / 2), t, eps, seen)

    def conditioned_loss(
        self,
        x0: Images,
        condition: Embedding,
        t: Steps,
        eps: Images,
        shown: Images | None = None,
    ) -> PerItem:
        """The loss with a condition that is known already."""
        seen = self.schedule.add_noise(x0 if shown is None else shown, eps, t)
        return self.distance(self.net(seen, t, condition) - self.target(x0, eps, t))

    def restorations(self, x: Images, brain: Brain, starts: Sequence[Start]) -> list[Images]:
        """The restoration from each of the levels; the condition is made once, of the image."""
        return self.told(x, self.encoder(x), starts)

    def told(self, x: Images, condition: Embedding, starts: Sequence[Start]) -> list[Images]:
        """The restorations with a condition that is known already."""
        found = []
        for start in starts:
            t = torch.full((len(x),), start.level - 1, device=x.device)
            x_t = self.schedule.add_noise(2 * x - 1, start.eps, t)
            found.append((self.clean(x_t, t, condition) + 1) / 2)
        return found
