"""Affine registration of a brain to the MNI152 template."""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class
from scipy import ndimage

from brainuad.prepare.measure import brain_ml
from brainuad.prepare.resample import box, resample
from brainuad.prepare.template import template
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import Affine, DataError, Mask, Volume

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""SimpleITK grows to the left and to the back where RAS+ grows to the right and to the front."""
_SCALES = (0.55, 1.8)
"""Stretch of a brain onto the template outside this range is a failed fit, not anatomy."""


@dataclass(frozen=True, kw_only=True)
class Register:
    """Find where the scan lies in MNI152 space; no voxel is touched yet.

    Mutual information of the brains (Mattes et al. 2003) on two levels, from the best of a few
    head poses; one thread and every voxel of the level, so equal input gives an equal matrix.
    """

    kind: Literal["affine", "rigid", "none"] = "affine"
    """12 parameters, 6 parameters, or leave the scan where it is."""
    levels_mm: tuple[float, ...] = (8.0, 4.0)
    """Spacing of the template on each level, coarse to fine."""
    iterations: int = 200
    """Most steps of the optimiser on each level."""

    def __call__(self, work: Work) -> Work:
        """The work with the affine of its scan leading to MNI152 millimetres."""
        if self.kind == "none":
            return work
        matrix = self.matrix(work.scan)
        placed = matrix @ work.placed
        work = replace(work, placed=placed).with_scan(affine=matrix @ work.scan.affine)
        return work.note(matrix=matrix)

    def matrix(self, scan: Scan) -> Affine:
        """Millimetres of the scan to MNI152 millimetres."""
        found = self._start(scan)
        for level in self.levels_mm:
            method, moving = self._method(level), _moving(scan, level)
            method.SetInitialTransform(found, inPlace=True)
            method.Execute(_fixed(level)[0], moving)
        return _checked(np.linalg.inv(_matrix(found)), scan.subject)

    def _start(self, scan: Scan) -> itk.Transform:
        """The best of some head poses about the centre of the brain: nod first, then the rest."""
        best = self._best(scan, [(nod, 0, 0) for nod in (-40, -20, 0, 20, 40)])
        turns = product([best[0]], (-20, 0, 20), (-20, 0, 20))
        return self._posed(scan, self._best(scan, list(turns)))

    def _best(self, scan: Scan, poses: list[tuple[float, float, float]]) -> tuple[float, ...]:
        level = self.levels_mm[0]
        method, fixed, moving = self._method(level), _fixed(level)[0], _moving(scan, level)

        def cost(pose: tuple[float, float, float]) -> float:
            method.SetInitialTransform(self._posed(scan, pose))
            return method.MetricEvaluate(fixed, moving)

        return min(poses, key=cost)

    def _posed(self, scan: Scan, degrees: tuple[float, ...]) -> itk.Transform:
        """Template to scan: centre of brain to centre of brain, turned; brain sizes matched."""
        whole = template()
        centre = _centre(whole.brain, whole.affine)
        found = itk.Euler3DTransform()
        found.SetCenter(_flip(centre))
        found.SetTranslation(_flip(_centre(scan.brain, scan.affine) - centre))
        found.SetRotation(*np.deg2rad(degrees).tolist())
        if self.kind == "rigid":
            return found
        size = np.cbrt(brain_ml(scan) / brain_ml(whole))
        affine = itk.AffineTransform(3)
        affine.SetCenter(found.GetCenter())
        affine.SetTranslation(found.GetTranslation())
        affine.SetMatrix((size * np.array(found.GetMatrix())).tolist())
        return affine

    def _method(self, level_mm: float) -> itk.ImageRegistrationMethod:
        method = itk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(_fixed(level_mm)[1])
        method.SetInterpolator(itk.sitkLinear)
        # Longer first steps leave the valley: the fit then ends far away, at a lower overlap.
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=level_mm / 10,
            minStep=level_mm / 4000,
            numberOfIterations=self.iterations,
            gradientMagnitudeTolerance=1e-6,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        return method


@lru_cache(maxsize=4)
def _fixed(level_mm: float) -> tuple[itk.Image, itk.Image]:
    """The template at a spacing, and where it is compared: its brain and 2 voxels around it."""
    whole = template()
    values, affine = _coarse(whole.voxels, whole.affine, level_mm)
    near = ndimage.binary_dilation(values > 0.02 * values.max(), iterations=2)
    return _image(values, affine), _image(near.astype(np.uint8), affine)


def _moving(scan: Scan, level_mm: float) -> itk.Image:
    low, high = box(scan.brain)
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    inside = scan.brain[cut]
    values = scan.voxels[cut]
    bottom, top = np.percentile(values[inside], (0.5, 99.5))
    bottom = min(bottom, 0.0) if bottom < 0 else 0.0
    values = np.clip((values - bottom) / max(top - bottom, 1e-12), 0, 1)
    return _image(*_coarse(np.where(inside, values, 0), affine, level_mm / 2))


def _coarse(volume: Volume, affine: Affine, spacing_mm: float) -> tuple[Volume, Affine]:
    """A volume at a spacing along its own axes, with a border of two empty voxels."""
    zoom = spacing_mm / np.linalg.norm(affine[:3, :3], axis=0)
    zoom = np.maximum(zoom, 1)
    shape = tuple(int(n) for n in np.ceil(np.array(volume.shape) / zoom) + 4)
    step = np.diag([*zoom, 1.0])
    step[:3, 3] = -2 * zoom
    to = affine @ step
    return resample(volume.astype(np.float32), affine, shape, to), to


def _image(values: Volume, affine: Affine) -> itk.Image:
    image = itk.GetImageFromArray(np.ascontiguousarray(values.T))
    axes = (_LPS @ affine)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin((_LPS @ affine)[:3, 3].tolist())
    return image


def _matrix(transform: itk.Transform) -> Affine:
    """Homogeneous RAS+ matrix of a transform with a centre."""
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return _LPS @ out @ _LPS


def _centre(brain: Mask, affine: Affine) -> np.ndarray:
    return affine[:3, :3] @ np.array(ndimage.center_of_mass(brain)) + affine[:3, 3]


def _flip(point: np.ndarray) -> list[float]:
    return (_LPS[:3, :3] @ point).tolist()


def _checked(matrix: Affine, subject: str) -> Affine:
    stretch = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    low, high = _SCALES
    if np.linalg.det(matrix[:3, :3]) <= 0 or stretch.min() < low or stretch.max() > high:
        raise DataError(
            f"{subject}: registration to MNI152 failed (stretch {np.round(stretch, 2).tolist()}, "
            f"plausible {low} to {high}); check orientation and brain mask of the scan"
        )
    return matrix
