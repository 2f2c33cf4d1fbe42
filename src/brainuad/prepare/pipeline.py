"""A scan through a recipe, and the way back of everything computed on the prepared grid."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.manifest import plain
from brainuad.prepare.grid import NewMask, NewVolume
from brainuad.prepare.measure import brain_ml, known_brain
from brainuad.prepare.recipe import Recipe, step_name
from brainuad.prepare.resample import resample, resample_mask
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import Affine, DataError, Mask, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A scan on the detector's grid, and how to get back.

    Attributes:
        scan: what detectors take: intensities in [0, 1] inside ``scan.brain``, 0 outside.
        original: voxels as they were read, RAS+ order, with the brain mask on that grid.
        placed: voxel indices of ``original`` to the millimetres of ``scan.affine``.
        report: recipe, steps with seconds, checks, registration matrix; plain data.
    """

    scan: Scan
    original: Scan
    placed: Affine
    report: dict[str, Any]

    def to_original(self, volume: Volume, order: int = 1) -> NewVolume:
        """A volume on the prepared grid brought to the original one; 0 outside the brain.

        Args:
            volume: one value per voxel of ``scan``.
            order: 1 linear, 3 cubic B-spline.
        """
        self._check(volume)
        values = resample(
            volume, self.scan.affine, self.original.voxels.shape, self.placed, order=order
        )
        return np.where(known_brain(self.original), values, 0).astype(np.float32)

    def mask_to_original(self, mask: Mask) -> NewMask:
        """A mask brought to the original grid with its volume kept; only inside the brain."""
        self._check(mask)
        shape = self.original.voxels.shape
        found = resample_mask(mask, self.scan.affine, shape, self.placed)
        return found & known_brain(self.original)

    def _check(self, volume: np.ndarray) -> None:
        if volume.shape != self.scan.voxels.shape:
            raise DataError(
                f"{self.scan.subject}: the volume has shape {volume.shape}, the prepared scan "
                f"{self.scan.voxels.shape}; give one value per voxel of the prepared scan"
            )


def prepare_scan(scan: Scan, recipe: Recipe) -> Prepared:
    """A scan brought to the detector's grid by the steps of a recipe.

    Raises:
        DataError: no brain, failed registration, or rejected by a strict check.
        UnavailableError: the brain has to be extracted and deepbet is not installed.
    """
    work = Work.start(scan)
    seconds = {}
    for step in recipe.steps:
        began = time.perf_counter()
        work = step(work)
        seconds[step_name(step)] = round(time.perf_counter() - began, 4)
    if work.scan.brain is None:
        raise DataError(
            f"{scan.subject}: the recipe {recipe.name} finds no brain; add a brain step"
        )
    return Prepared(
        scan=work.scan,
        original=work.original,
        placed=work.placed,
        report=_report(work, recipe, seconds),
    )


def _report(work: Work, recipe: Recipe, seconds: dict[str, float]) -> dict[str, Any]:
    original = work.original
    facts = {
        "subject": original.subject,
        "modality": original.modality,
        "input": {
            "path": original.source and original.source.path,
            "shape": original.voxels.shape,
            "orientation": original.source.codes if original.source else "RAS",
            "spacing_mm": original.spacing,
            "brain_ml": brain_ml(original),
        },
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "seconds": seconds,
        **work.notes,
    }
    return plain(facts, finite=True)
