"""Lesions put into healthy scans, drawn or with a given shape, with their exact mask.

Tissue is mixed towards fluid (an infarct in T1w, T2w or CT) or towards a bright level (FLAIR).
The edges are partial volumes, the mixing varies from place to place, and the noise that mixing
takes away is put back, so that a lesion differs by its signal and not by its grain.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from brainuad.rng import seed_of
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, UsageError, Volume

Values = Float[np.ndarray, " n"]
Number = float | int

KINDS = ("infarct", "bright", "sham")
MODALITIES = ("T1w", "T2w", "FLAIR", "PD", "CT")
BRIGHT_FLUID = ("T2w", "PD")


class Planted(NamedTuple):
    """A scan with a lesion in it, the lesion's mask, and what was done."""

    scan: Scan
    lesion: Mask
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a lesion looks apart from its contrast."""

    edge_mm: float = 2.0
    """Width of the edge over which the lesion fades out, mm."""
    roughness: float = 0.25
    """How far a drawn shape departs from a ball, relative to its radius."""
    margin_mm: float = 6.0
    """Least distance of a drawn lesion's centre from the surface of the brain, mm."""
    texture: float = 0.1
    """Standard deviation of the contrast inside the lesion."""
    texture_mm: float = 3.0
    """Correlation length of that variation, mm."""


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """Signal levels of a scan."""

    fluid: float
    """Cerebrospinal fluid."""
    bright: float
    """A lesion brighter than any tissue."""
    noise: float
    """Standard deviation of the noise."""
    solid: Mask
    """True where there is tissue rather than fluid."""


def plant(
    scan: Scan,
    shape: Mask | Volume | None = None,
    *,
    seed: int,
    volume_ml: Number | None = None,
    contrast: Number = 0.6,
    kind: str = "infarct",
    look: Look | None = None,
) -> Planted:
    """Put one lesion into a healthy scan.

    Args:
        scan: a scan of a brain; its brain mask, or its voxels above 0, say where the brain is.
        shape: the lesion on the grid of the scan: a mask, or the share of each voxel that it
            fills in [0, 1]; None draws a random blob in the tissue.
        seed: with the subject, fixes place, shape, texture and grain.
        volume_ml: volume of a drawn lesion in ml; the mask has exactly this many whole voxels.
        contrast: 0 leaves the tissue as it is, 1 replaces it by fluid or by the bright level.
        kind: ``infarct`` is dark in T1w and CT, bright in T2w, PD and FLAIR; ``bright`` is bright
            in all; ``sham`` is the same place with new grain only and an unchanged mean.
        look: edge, roughness, texture.

    Returns:
        The scan with the lesion, the mask (lesion share >= 0.5, and tissue), and a dictionary:
        kind, modality, seed, contrast, volume_ml, voxels, centre_mm, change (mean signal added).

    Raises:
        UsageError: an option out of range.
        DataError: the shape is on another grid or hits no tissue, or the lesion does not fit.
    """
    look = look or Look()
    _check(scan, shape, volume_ml, contrast, kind)
    rng = np.random.Generator(np.random.PCG64(seed_of(seed, scan.subject, "lesion")))
    tissue = measure(scan)
    if shape is None:
        assert volume_ml is not None  # checked above
        share = blob(rng, scan, tissue.solid, volume_ml=volume_ml, look=look)
    else:
        share = _share(shape, scan, look)
    share = np.where(tissue.solid, share, 0).astype(np.float32)
    lesion = share >= 0.5
    if not lesion.any():
        raise DataError(f"{scan.subject}: lesion shape hits no tissue; move it into the brain")
    voxels = _mixed(rng, scan, tissue, share, (contrast, kind, look))
    info = _describe(scan, voxels, lesion) | {"kind": kind, "seed": seed, "contrast": contrast}
    return Planted(replace(scan, voxels=voxels), lesion, info)


def sham(
    scan: Scan,
    shape: Mask | Volume | None = None,
    *,
    seed: int,
    volume_ml: Number | None = None,
    contrast: Number = 0.6,
    look: Look | None = None,
) -> Planted:
    """The control of :func:`plant` with the same arguments: new grain there, no lesion."""
    options = {"seed": seed, "volume_ml": volume_ml, "contrast": contrast, "look": look}
    return plant(scan, shape, kind="sham", **options)


def measure(scan: Scan) -> Tissue:
    """Levels of fluid and tissue, and the noise, from three classes of the brain's histogram."""
    brain = _brain(scan)
    inner = _eroded(brain)
    if inner.sum() < 100:
        raise DataError(
            f"{scan.subject}: brain of {int(brain.sum())} voxels; too small for lesions"
        )
    flip = -1.0 if scan.modality in BRIGHT_FLUID else 1.0
    values = flip * scan.voxels[inner].astype(np.float64)
    fluid, border = _fluid(values, scan.subject)
    top = float(np.percentile(scan.voxels[inner], 95))
    dark = min(flip * fluid, float(np.percentile(scan.voxels[inner], 2)))
    return Tissue(
        fluid=flip * fluid,
        bright=max(dark + 1.3 * (top - dark), flip * fluid if flip < 0 else -np.inf),
        noise=_noise(scan.voxels, inner),
        solid=brain & (flip * scan.voxels > border),
    )


def _eroded(brain: Mask) -> Mask:
    return np.asarray(ndimage.binary_erosion(brain, iterations=2), bool)


def _fluid(values: Values, subject: str) -> tuple[float, float]:
    """Level of the fluid, and the border to tissue, where fluid is the darkest class."""
    if np.ptp(values) == 0:
        raise DataError(f"{subject}: brain is constant; lesions need a scan with contrast")
    low, _ = threshold_multiotsu(values, classes=3, nbins=128)
    fluid = min(values[values <= low].mean(), np.percentile(values, 2))
    second = np.median(values[values > low])
    return float(fluid), float(fluid + 0.4 * (second - fluid))


def _noise(voxels: Volume, inner: Mask) -> float:
    """Robust noise level: deviation from the median of the neighbours, where tissue is even."""
    slope = ndimage.gaussian_gradient_magnitude(voxels, 1.5)
    even = inner & (slope <= np.percentile(slope[inner], 25))
    rough = np.abs(voxels - ndimage.median_filter(voxels, 3))[even]
    return float(1.4826 * np.median(rough))


def blob(
    rng: np.random.Generator, scan: Scan, solid: Mask, *, volume_ml: Number, look: Look
) -> Volume:
    """Share of each voxel filled by a random blob around a random place in the tissue.

    Distances from the centre are stretched by a smooth random field; the blob is the wanted
    number of tissue voxels with the smallest stretched distance.
    """
    spacing = np.array(scan.spacing)
    count = round(volume_ml * 1000 / float(spacing.prod()))
    allowed = int(solid.sum())
    if not 1 <= count <= allowed // 2:
        most = allowed * spacing.prod() / 2000
        raise DataError(
            f"{scan.subject}: a lesion of {volume_ml} ml is {count} voxels and does not fit; "
            f"ask for {spacing.prod() / 1000:.3g} to {most:.3g} ml"
        )
    centre = _centre(rng, scan, solid, look.margin_mm)
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    offset = (np.indices(solid.shape).T - centre).T * spacing[:, None, None, None]
    field = _field(rng, solid.shape, np.maximum(0.6 * radius / spacing, 1))
    gap = np.sqrt((offset**2).sum(0)) * np.clip(1 + look.roughness * field, 0.3, 3)
    level = np.partition(gap[solid], count - 1)[count - 1]
    return np.clip(0.5 + (level - gap) / look.edge_mm, 0, 1)


def _centre(
    rng: np.random.Generator, scan: Scan, solid: Mask, margin_mm: float
) -> Float[np.ndarray, "3"]:
    """A random tissue voxel at least this far inside the brain."""
    depth = np.asarray(ndimage.distance_transform_edt(_brain(scan), sampling=scan.spacing))
    places = np.argwhere(solid & (depth >= margin_mm))
    if not len(places):
        raise DataError(
            f"{scan.subject}: no tissue lies {margin_mm} mm inside the brain; lower the margin"
        )
    return places[rng.integers(len(places))].astype(np.float64)


def _share(shape: Mask | Volume, scan: Scan, look: Look) -> Volume:
    """Share of each voxel that a given shape fills; a mask gets an edge, and keeps its voxels."""
    if shape.dtype != bool:
        return np.clip(shape, 0, 1)
    spacing = np.array(scan.spacing)
    inside = np.asarray(ndimage.distance_transform_edt(shape, sampling=spacing))
    outside = np.asarray(ndimage.distance_transform_edt(~shape, sampling=spacing))
    half = spacing.min() / 2
    gap = np.where(shape, inside - half, half - outside)
    return np.clip(0.5 + gap / look.edge_mm, 0, 1)


def _mixed(
    rng: np.random.Generator,
    scan: Scan,
    tissue: Tissue,
    share: Volume,
    how: tuple[Number, str, Look],
) -> Volume:
    """The voxels with the lesion; untouched bit by bit where its share is 0."""
    contrast, kind, look = how
    spacing = np.array(scan.spacing)
    field = _field(rng, share.shape, look.texture_mm / spacing)
    keep = np.clip(1 - contrast - look.texture * field, 0.05, 1)
    grain = _field(rng, share.shape, np.full(3, 0.6)) * tissue.noise
    grain = grain * np.sqrt(1 - keep**2)
    if kind == "sham":
        lesion = scan.voxels + grain - np.average(grain, weights=share * (share >= 0.5))
    else:
        goal = _goal(tissue, scan.modality, kind)
        lesion = goal + keep * (scan.voxels - goal) + grain
    mixed = scan.voxels + share * (lesion - scan.voxels)
    return np.where(share > 0, mixed, scan.voxels).astype(scan.voxels.dtype)


def _goal(tissue: Tissue, modality: str, kind: str) -> float:
    """Signal that tissue is mixed with."""
    if kind == "bright" or modality == "FLAIR":
        return tissue.bright
    return tissue.fluid


def _field(
    rng: np.random.Generator, shape: tuple[int, ...], smooth: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "i j k"]:
    """Smooth Gaussian field with mean 0 and standard deviation 1; ``smooth`` in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    return (field - field.mean()) / field.std()


def _brain(scan: Scan) -> Bool[np.ndarray, "i j k"]:
    return scan.voxels > 0 if scan.brain is None else scan.brain


def _describe(scan: Scan, voxels: Volume, lesion: Mask) -> dict[str, Any]:
    centre = scan.affine[:3, :3] @ np.argwhere(lesion).mean(0) + scan.affine[:3, 3]
    change = voxels[lesion].astype(np.float64) - scan.voxels[lesion]
    return {
        "modality": scan.modality,
        "volume_ml": float(lesion.sum() * np.prod(scan.spacing) / 1000),
        "voxels": int(lesion.sum()),
        "centre_mm": [float(c) for c in centre],
        "change": float(change.mean()),
    }


def _check(
    scan: Scan, shape: Mask | Volume | None, volume_ml: Number | None, contrast: Number, kind: str
) -> None:
    who = scan.subject
    if kind not in KINDS:
        raise UsageError(f"{who}: unknown lesion {kind!r}; choose from {', '.join(KINDS)}")
    if scan.modality not in MODALITIES:
        choices = ", ".join(MODALITIES)
        raise UsageError(f"{who}: no lesion for modality {scan.modality!r}; choose from {choices}")
    if not 0 <= contrast <= 1:
        raise UsageError(f"{who}: contrast {contrast} is outside [0, 1]; give a share")
    if (shape is None) == (volume_ml is None):
        raise UsageError(f"{who}: give either a lesion shape or a volume, not both")
    if shape is not None and shape.shape != scan.voxels.shape:
        raise DataError(
            f"{who}: lesion shape has {shape.shape} voxels, the scan {scan.voxels.shape}; "
            "resample it onto the scan first"
        )
