"""A scan through a recipe, and the way back of everything computed on the prepared grid."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from brainuad.manifest import plain
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks, sentence
from brainuad.prepare.grid import NewMask, NewVolume
from brainuad.prepare.measure import brain_ml, known_brain
from brainuad.prepare.quality import equal_neighbours
from brainuad.prepare.recipe import Recipe, step_name
from brainuad.prepare.register import Register
from brainuad.prepare.resample import resample, resample_mask
from brainuad.prepare.work import Step, Work
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
    return _through(Work.start(scan), recipe, recipe.steps)


def prepare_alike(scan: Scan, like: Prepared, recipe: Recipe) -> Prepared:
    """A scan whose voxels were changed, prepared as before: brain and place are those of then.

    Args:
        scan: on the grid of ``like.original``.
        like: the scan before the change, prepared by the same recipe.
        recipe: the recipe.

    Raises:
        DataError: another grid, or rejected by a strict check.
    """
    if scan.voxels.shape != like.original.voxels.shape:
        raise DataError(
            f"{scan.subject}: the changed scan has shape {scan.voxels.shape}, before it had "
            f"{like.original.voxels.shape}; change voxels only"
        )
    work = Work.start(replace(scan, brain=like.original.brain)).note(brain=like.report["brain"])
    matrix = np.array(like.report.get("matrix", np.eye(4)))
    steps = [
        partial(step.placed, matrix=matrix)
        if isinstance(step, Register) and step.kind != "none"
        else step
        for step in recipe.steps
        if not isinstance(step, Brain)
    ]
    return _through(work, recipe, steps)


def _through(work: Work, recipe: Recipe, steps: Sequence[Step]) -> Prepared:
    """The work after some steps; ``recipe`` is what the report names."""
    scan, seconds = work.scan, {}
    for step in steps:
        began = time.perf_counter()
        try:
            work = step(work)
        except DataError as error:
            _check_labels(work, recipe, error)
            raise
        name = "placed" if isinstance(step, partial) else step_name(step)
        seconds[name] = round(time.perf_counter() - began, 4)
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


def _left_out(original: Scan) -> dict[str, Any]:
    """Files that lay with the scan and were not read, where there are any."""
    names = original.source.left_out if original.source else ()
    return {"left_out": names} if names else {}


def _check_labels(work: Work, recipe: Recipe, error: DataError) -> None:
    """Of a map of labels that a step stumbles over, say this: what the step says misleads."""
    if work.original.brain is None:
        return
    for step in recipe.steps:
        limits = step.limits().get("flat") if isinstance(step, Checks) else None
        fact = limits.fact(equal_neighbours(work.original)) if limits else {"status": "pass"}
        if fact["status"] == "reject":
            raise DataError(
                f"{work.scan.subject}: {sentence({'flat': fact})}; give a scan"
            ) from error


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
            **_left_out(original),
        },
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "seconds": seconds,
        **work.notes,
    }
    return plain(facts, finite=True)
