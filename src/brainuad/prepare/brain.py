"""Which voxels are brain: a given mask, the background of a stripped scan, or an extractor."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import ndimage
from skimage.measure import label

from brainuad.prepare import stripper
from brainuad.prepare.skull import from_ct
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, UnavailableError, UsageError, Volume

How: TypeAlias = Literal[
    "auto", "given", "background", "deepbet", "synthstrip", "hd-bet", "ct", "everything"
]
LEAST_BACKGROUND = 0.15
"""A stripped scan has at least this share of voxels with exactly one value."""
MOST_BRAIN_ML = 2200.0
"""More tissue than this in front of a constant background is a head, not a brain."""
LARGEST_MARGIN_MM = 10.0
"""A mask that is grown further holds skull and skin."""
NEVER = 1e6
"""Margins between the voxels of an axis that is not grown along."""


@dataclass(frozen=True, kw_only=True)
class Brain:
    """Find the brain on the grid of the file; a mask that came with the scan is always used."""

    how: How = "auto"
    """Where the mask comes from when none was given: ``background`` takes what differs from the
    constant surroundings of a stripped scan, ``deepbet`` a network for whole-head T1w,
    ``synthstrip`` and ``hd-bet`` programs for any MR contrast where they are installed, ``ct``
    the soft tissue inside the skull; ``auto`` chooses between these; ``given`` asks for a mask;
    ``everything`` takes every voxel, for slices that are judged whole."""
    margin_mm: float = 0.0
    """How far (mm, in whole voxels) a brain found by ``deepbet``, which ends at the tissue, is
    grown; other masks stay as they are. Scans that come stripped mostly keep a rim of fluid, and
    grey values are scaled by what the mask holds: a detector fitted on such scans needs the same
    rim on a whole head."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin_mm <= LARGEST_MARGIN_MM:
            raise UsageError(
                f"brain.margin_mm: must be within 0 and {LARGEST_MARGIN_MM:g}, got "
                f"{self.margin_mm}; correct it"
            )
        if self.margin_mm and self.how not in ("auto", "deepbet"):
            raise UsageError(
                f"brain.margin_mm: is {self.margin_mm:g}, but only what deepbet finds is grown, "
                f"not a brain by {self.how}; leave it out"
            )

    def __call__(self, work: Work) -> Work:
        """The work with a brain mask on the scan and on the original."""
        how = "given" if work.scan.brain is not None else self._chosen(work.scan)
        brain = _FINDERS[how](work.scan)
        if not brain.any():
            raise DataError(f"{work.scan.subject}: no brain found by {how}; give a brain mask")
        if how == "deepbet" and self.margin_mm:
            brain = grown(brain, self.margin_mm, work.scan.spacing)
            work = work.note(brain_margin_mm=self.margin_mm)
        work = replace(work, original=replace(work.original, brain=brain))
        return work.with_scan(brain=brain).note(brain=how)

    def _chosen(self, scan: Scan) -> str:
        if self.how != "auto":
            return self.how
        if is_stripped(scan):
            return "background"
        if scan.modality == "CT":
            return "ct"
        program = stripper.installed()
        if scan.modality == "T1w" and (program is None or find_spec("deepbet")):
            return "deepbet"
        if program is not None:
            return program
        raise DataError(
            f"{scan.subject}: whole-head scan of modality {scan.modality}, brain extraction here "
            "knows only T1w and CT; give a brain mask, a stripped scan or the right modality, or "
            "install SynthStrip or HD-BET"
        )


def is_stripped(scan: Scan) -> bool:
    """Whether a scan shows a brain alone: constant surroundings, at most a brain inside."""
    outside = scan.voxels == background(scan.voxels)
    if outside.mean() < LEAST_BACKGROUND:
        return False
    # Filled, because a defaced head holds as much background inside as around it.
    voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    return bool(from_background(scan).sum() * voxel_ml <= MOST_BRAIN_ML)


def grown(brain: Mask, margin_mm: float, spacing: Sequence[float]) -> Mask:
    """The brain and what lies around it within the margin, rounded to whole voxels on each axis.

    On an axis whose voxels are more than twice as long as the margin nothing is added.
    """
    steps = [round(margin_mm / edge) for edge in spacing]
    # In steps, not in mm: affines are single precision, and 2.0000001 mm must not be out of reach.
    sampling = [1 / step if step else NEVER for step in steps]
    distance = np.asarray(ndimage.distance_transform_edt(~brain, sampling=sampling))
    return distance <= 1 + 1e-6


def background(voxels: Volume) -> float:
    """The value that most voxels on the six faces of a volume have."""
    faces = [voxels[0], voxels[-1], voxels[:, 0], voxels[:, -1], voxels[:, :, 0], voxels[:, :, -1]]
    values, counts = np.unique(np.concatenate([f.ravel() for f in faces]), return_counts=True)
    return float(values[counts.argmax()])


def from_background(scan: Scan) -> Mask:
    """The largest piece of a stripped scan that differs from its surroundings, holes filled."""
    inside = scan.voxels != background(scan.voxels)
    if not inside.any():
        return inside
    pieces = np.asarray(label(inside, connectivity=1))
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return np.asarray(ndimage.binary_fill_holes(largest))


def from_deepbet(scan: Scan) -> Mask:
    """Brain of a whole-head T1w scan; Fisch et al. 2024, arXiv 2308.07003."""
    net = _deepbet()
    try:
        brain = net.postprocess(net.run_model(scan.voxels.copy()) > 0.5)
    # Its two ways of saying that there is nothing: an assertion, and the maximum of no numbers.
    except (AssertionError, ValueError) as error:
        raise DataError(
            f"{scan.subject}: deepbet found no brain ({error}); check that this is a whole-head "
            "T1w scan, or give a brain mask"
        ) from error
    return np.asarray(brain, dtype=bool)


@lru_cache(maxsize=1)
def _deepbet() -> Any:
    try:
        from deepbet import BrainExtraction
    except ImportError as error:
        raise UnavailableError(
            "deepbet: not installed, it finds the brain in a whole-head scan; "
            "install it with `pip install 'brainuad[brain]'`, or give a brain mask"
        ) from error
    with warnings.catch_warnings():
        # Its weights come as TorchScript, which torch announces to drop one day.
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.*", DeprecationWarning)
        return BrainExtraction(no_gpu=True)


def _given(scan: Scan) -> Mask:
    if scan.brain is None:
        raise DataError(f"{scan.subject}: the recipe asks for a brain mask; give one")
    return scan.brain


def _everything(scan: Scan) -> Mask:
    return np.ones(scan.voxels.shape, bool)


_FINDERS: dict[str, Callable[[Scan], Mask]] = {
    "given": _given,
    "background": from_background,
    "deepbet": from_deepbet,
    "ct": from_ct,
    "everything": _everything,
    **{name: partial(stripper.from_program, name) for name in stripper.PROGRAMS},
}
