"""Scans with known anatomy, geometry and answers, made from the template or from formulas."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from brainuad.prepare.resample import resample
from brainuad.prepare.template import template
from brainuad.scan import Scan
from brainuad.types import Affine

TURNS = {"RAS": (1, 1, 1), "LAS": (-1, 1, 1), "LPI": (-1, -1, -1)}


def grid(shape: tuple[int, ...], spacing: tuple[float, ...], degrees: tuple[float, ...]) -> Affine:
    """Affine of a turned grid around the origin."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def places(shape: tuple[int, ...], affine: Affine) -> np.ndarray:
    """Millimetres of every voxel, (i, j, k, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def ball(shape: tuple[int, ...], affine: Affine, centre: tuple[float, ...], mm: float):
    """Voxels at least half covered by a ball."""
    edges = affine[:3, :3]
    offsets = np.stack(np.meshgrid(*[(-1 / 3, 0, 1 / 3)] * 3), -1).reshape(-1, 3) @ edges.T
    away = places(shape, affine) - np.array(centre)
    return np.mean([((away + o) ** 2).sum(-1) <= mm**2 for o in offsets], axis=0) >= 0.5


@lru_cache(maxsize=4)
def person(pose: tuple[float, ...] = (0, 0, 0), size: float = 0.9, modality: str = "T1w"):
    """The template as a person of another size and pose, at 3 mm, and the matrix that undoes it.

    Returns:
        The stripped scan without a mask, and its millimetres to those of MNI152.
    """
    whole = template()
    to_mni = np.eye(4)
    to_mni[:3, :3] = Rotation.from_euler("xyz", pose, degrees=True).as_matrix() / size
    to_mni[:3, 3] = (4, -6, 9)
    shape = (64, 76, 66)
    affine = grid(shape, (3, 3, 3), (0, 0, 0))
    affine[:3, 3] += np.linalg.inv(to_mni)[:3] @ (0, -18, 4, 1)
    values = resample(whole.voxels, whole.affine, shape, to_mni @ affine)
    inside = resample(whole.brain.astype(np.float32), whole.affine, shape, to_mni @ affine) > 0.5
    values = np.where(inside, 40 + values * 3, 0).astype(np.float32)
    if modality != "T1w":
        values = np.where(inside, 1000 - values, 0).astype(np.float32)
    scan = Scan(voxels=values, affine=affine, modality=modality, subject="sub-01")
    return scan, to_mni


def simple(brain: bool = True) -> Scan:
    """A bright egg with a gradient on a small grid; 2 mm, brain of about 130 ml."""
    shape = (40, 48, 40)
    affine = grid(shape, (2, 2, 2), (0, 0, 0))
    x, y, z = np.moveaxis(places(shape, affine), -1, 0)
    inside = (x / 28) ** 2 + (y / 38) ** 2 + (z / 28) ** 2 <= 1
    voxels = np.where(inside, 100 + x + y / 2 - z, 0).astype(np.float32)
    scan = Scan(voxels=voxels, affine=affine, modality="T1w", subject="egg")
    return replace(scan, brain=inside) if brain else scan
