"""pDDPM: noise in one quadrant of the slice at a time, the rest of the brain as context."""

from collections.abc import Mapping
from typing import Any, ClassVar

from brainuad import training_published
from brainuad.diffusion import PUBLISHED, SMALL, TINY
from brainuad.patched import PatchedDiffusion

__all__ = ["Pddpm"]


class Pddpm(PatchedDiffusion):
    """Patched diffusion: each quadrant is restored from its surroundings, the four are stitched.

    The net is not told where the noise is. A lesion outside the quadrant stays visible, and the
    quadrants' borders can show.

    References:
        Behrendt, Bhattacharya, Krüger, Opfer, Schlaefer 2023, "Patched diffusion models for
        unsupervised anomaly detection in brain MRI", MIDL, arXiv 2303.03758.
    """

    title = "pDDPM, patched diffusion"
    paper = "Behrendt et al. 2023, MIDL, arXiv 2303.03758"
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = training_published.BEHRENDT
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"net": PUBLISHED, "augment": {}},
        "small": {"net": SMALL, "augment": {}},
        "small-dark": {"net": SMALL, "augment": {}, "sign": "dark"},
        "tiny": {"net": TINY},
        "paper": {"net": PUBLISHED, "noise": {"shared": True}},
        "code": {"net": PUBLISHED, "noise": {"shared": True}},
    }
