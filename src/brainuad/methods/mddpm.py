"""mDDPM: patched diffusion whose context is masked while it trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from brainuad import training_published
from brainuad.diffusion import PUBLISHED, SMALL, TINY
from brainuad.masking import MASKINGS, MaskLaw, draw_masks
from brainuad.patched import PatchedDiffusion, PatchedOptions
from brainuad.rng import Rng
from brainuad.types import Brain, Images

__all__ = ["Mddpm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MddpmOptions(PatchedOptions):
    """Options of :class:`Mddpm`."""

    mask_mode: Literal["ipm", "fpm", "fpm_cm"] = "fpm_cm"
    """What masks the input: rectangles at 0, the whole slice filtered, or filtered rectangles."""
    masks: MaskLaw = field(default_factory=MaskLaw)
    """Law of the rectangles and of the filter."""
    patch_noise: bool = True
    """Noise in one box and a loss there, as released; otherwise noise and loss everywhere."""


class Mddpm(PatchedDiffusion):
    """Patched diffusion that learns to restore clean slices from masked ones.

    Masks are for training alone; detection is that of pDDPM. The released code sees its training
    data six times per epoch: 115,200 steps where the other methods of the family take 19,200.
    That is no preset here, but a setting of the training (``steps``); a fair comparison gives all
    methods the same number.

    References:
        Iqbal, Khalid, Chen, Hua 2023, "Unsupervised anomaly detection in medical images using
        masked diffusion model", MLMI, arXiv 2305.19867.
    """

    title = "mDDPM, masked patched diffusion"
    paper = "Iqbal et al. 2023, MLMI, arXiv 2305.19867"
    Options = MddpmOptions
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.MDDPM
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, "augment": {}},
        "small": {"net": SMALL, "augment": {}},
        "small-dark": {"net": SMALL, "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY},
        "paper": {"net": PUBLISHED, "noise": {"shared": True}},
        "code": {"net": PUBLISHED, "noise": {"shared": True}},
    }

    def patch_px(self, x: Images) -> int:
        """Side of a box; that of the whole image where noise is everywhere."""
        return super().patch_px(x) if self.options.patch_noise else max(x.shape[2:])

    def context(self, x: Images, brain: Brain, *, rng: Rng) -> Images:
        """The masked image: noised inside the box, shown as it is outside."""
        masks = draw_masks(self.options.masks, brain, rng=rng)
        return MASKINGS[self.options.mask_mode](x, brain, masks)
