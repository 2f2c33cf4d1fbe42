"""The sanity gate of a scan: is what a file says of itself believable?

Every check works on plain numbers taken from a header and raises with the value and the remedy.
"""

from itertools import product

import numpy as np
from jaxtyping import Float

from brainuad.types import Affine, DataError, UsageError

MODALITIES = ("T1w", "T1ce", "T2w", "FLAIR", "PD", "CT")
UNKNOWN = "unknown"
SPACING_MM = (0.01, 50.0)
"""Edge lengths of a voxel outside this range are taken for a wrong unit."""
TOLERANCE_MM = 1.0
"""How far qform and sform may place a corner apart when both claim the same space."""
MOST_VOXELS = 2**29
"""Scans with more voxels than this (2 GB as float32) are refused."""

_STANDARD_SPACES = (3, 4)
_MM = {1: 1000.0, 3: 0.001}
_WORDS = {"t1": "T1w", "t1w": "T1w", "t2": "T2w", "t2w": "T2w", "flair": "FLAIR", "fla": "FLAIR"}
_WORDS |= {"pd": "PD", "pdw": "PD", "ct": "CT", "t1ce": "T1ce", "t1c": "T1ce", "t1gd": "T1ce"}


def checked_modality(who: str, words: list[str], asked: str | None) -> str:
    """The modality of a file, from the words of its name and from what a person says.

    Args:
        who: the file, for errors.
        words: parts of its name.
        asked: None or ``unknown`` takes it from the name; ``unknown`` if that says nothing.
    """
    named = [_WORDS[w.lower()] for w in words if w.lower() in _WORDS]
    if asked is None or asked == UNKNOWN:
        return named[-1] if named else UNKNOWN
    modality = known_modality(asked)
    if named and modality not in named:
        raise UsageError(
            f"{who}: the name says {named[-1]}, the modality given is {modality}; correct one"
        )
    return modality


def known_modality(asked: str) -> str:
    """A modality by its name in any case; other names list the known ones."""
    known = {m.lower(): m for m in (*MODALITIES, UNKNOWN)} | _WORDS
    if asked.lower() not in known:
        raise UsageError(f"modality {asked!r}: unknown; choose from {', '.join(MODALITIES)}")
    return known[asked.lower()]


def checked_shape(who: str, dim: np.ndarray) -> tuple[int, int, int]:
    """The three axes of a scan from the NIfTI field ``dim``; further axes only singletons."""
    count = int(dim[0])
    sizes = tuple(int(n) for n in dim[1 : count + 1])
    if not 1 <= count <= 7 or min(sizes) < 1:
        raise DataError(
            f"{who}: the header says {count} axes of sizes {sizes}; the file is damaged, "
            "export it again"
        )
    if count < 3:
        raise DataError(f"{who}: the image has {count} axes; give a 3-D scan")
    if max(sizes[3:], default=1) > 1:
        raise DataError(
            f"{who}: 4-D with several volumes, shape {sizes}; take one volume out of it first"
        )
    if np.prod(sizes, dtype=float) > MOST_VOXELS:
        raise DataError(
            f"{who}: the header claims shape {sizes}, more than {MOST_VOXELS} voxels; "
            "the file is damaged, or crop the scan"
        )
    return sizes[0], sizes[1], sizes[2]


def checked_bytes(who: str, needed: int, there: int) -> None:
    """Refuse a file that is shorter than its header promises."""
    if there < needed:
        raise DataError(
            f"{who}: the header promises {needed} bytes, the file holds {there}; "
            "it is cut off, copy or download it again"
        )


def checked_spacing(who: str, pixdim: np.ndarray, unit: int) -> None:
    """Refuse edge lengths of a voxel that are not numbers, not positive or not plausible."""
    if not np.isfinite(pixdim).all() or (pixdim <= 0).any():
        raise DataError(
            f"{who}: the spacing (pixdim) is {_numbers(pixdim)}, it must be above 0; "
            "correct the header or export the scan again"
        )
    low, high = SPACING_MM
    edges = pixdim * _MM.get(unit, 1.0)
    if (edges < low).any() or (edges > high).any():
        raise DataError(
            f"{who}: the spacing is {_numbers(edges)} mm, outside {low} to {high} mm; "
            "the unit in the header is probably wrong, correct it"
        )


def checked_affine(who: str, affine: Affine, unit: int, *, name: str) -> Affine:
    """An affine in millimetres, or an error when it is not finite, singular or not plausible."""
    if not np.isfinite(affine).all():
        raise DataError(f"{who}: the affine ({name}) is not finite; correct the header")
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-3 * edges.prod():
        raise DataError(
            f"{who}: the affine ({name}) is singular, its axes are {_numbers(edges)} long or lie "
            "in one plane; correct the header"
        )
    checked_spacing(who, edges, unit)
    to_mm = np.diag([_MM.get(unit, 1.0)] * 3 + [1.0])
    return to_mm @ affine


def check_agreement(
    who: str, shape: tuple[int, ...], sform: tuple[Affine, int], qform: tuple[Affine, int]
) -> None:
    """Refuse a header whose two affines disagree on where the voxels are.

    A sform in a standard space (Talairach, MNI152) beside a qform of the scanner is not a
    disagreement: they speak of different spaces, and the sform counts.
    """
    if sform[1] in _STANDARD_SPACES and qform[1] not in _STANDARD_SPACES:
        return
    apart = grid_distance(shape, sform[0], qform[0])
    if apart > TOLERANCE_MM:
        raise DataError(
            f"{who}: sform (code {sform[1]}) and qform (code {qform[1]}) place a corner "
            f"{apart:.4g} mm apart; find out which is right and set the code of the other to 0"
        )


def checked_voxels(who: str, values: np.ndarray) -> np.ndarray:
    """The values as float32; an error when some are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = values.astype(np.float32, copy=False)
    wrong = int(voxels.size - np.isfinite(voxels).sum())
    if wrong:
        raise DataError(
            f"{who}: {wrong} of {voxels.size} voxels are NaN or infinite; repair or mask them first"
        )
    return voxels


def check_mask(who: str, values: np.ndarray, *, empty: bool) -> None:
    """Refuse a mask with other values than 0 and 1, or one without any voxel unless ``empty``."""
    others = values[(values != 0) & (values != 1)]
    if others.size:
        raise DataError(
            f"{who}: a mask holds only 0 and 1, this one has {others.size} other voxels, "
            f"such as {others[0]:g}; threshold it first"
        )
    if not empty and not values.any():
        raise DataError(f"{who}: the mask is empty; give a mask with voxels inside")


def corners(shape: tuple[int, ...], affine: Affine) -> Float[np.ndarray, "8 3"]:
    """Places in mm of the eight corner voxels of a grid."""
    ends = np.array(list(product(*((0, n - 1) for n in shape[:3]))), dtype=float)
    return ends @ affine[:3, :3].T + affine[:3, 3]


def grid_distance(shape: tuple[int, ...], affine: Affine, other: Affine) -> float:
    """Largest distance in mm between equal corners of a grid under two affines."""
    apart = corners(shape, affine) - corners(shape, other)
    return float(np.linalg.norm(apart, axis=1).max())


def check_same_grid(
    who: str, mask: tuple[tuple[int, ...], Affine], scan: tuple[tuple[int, ...], Affine]
) -> None:
    """Refuse a mask on another grid than its scan's; each grid is a shape and an affine."""
    if mask[0] != scan[0]:
        raise DataError(
            f"{who}: the mask has shape {mask[0]}, the scan {scan[0]} (in RAS+ order); "
            "resample the mask onto the scan first"
        )
    apart = grid_distance(mask[0], mask[1], scan[1])
    if apart > 0.1:
        raise DataError(
            f"{who}: the mask lies {apart:.3g} mm away from its scan; "
            "resample it onto the grid of the scan first"
        )


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{float(v):g}" for v in values)
