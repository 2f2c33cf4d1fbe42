"""Affine registration of a brain to a template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class
from scipy import ndimage

from brainuad.prepare.grid import NewVolume
from brainuad.prepare.measure import brain_ml, cut_axes, known_brain
from brainuad.prepare.neck import neck
from brainuad.prepare.resample import box, resample
from brainuad.prepare.template import MNI152, content, template
from brainuad.prepare.toolkit import LPS, image, one_thread
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import Affine, DataError, Mask, UsageError, Volume

Pose: TypeAlias = itk.Euler3DTransform | itk.Similarity3DTransform | itk.AffineTransform
"""Template to scan, in the axes of SimpleITK."""
LEAST_SLICES = 4
"""Along every axis; a thinner scan has no shape in the third dimension."""
LEAST_NECK = 0.01
"""A smaller share of the brain is left in: it does not move the fit."""
SHIFTS_MM = (0.0, -60.0, -45.0, -30.0, -15.0, 15.0, 30.0, 45.0, 60.0)
"""Where the middle of a cut brain may be, from the middle of what is seen of it."""
_SCALES = (0.55, 1.8)
"""Stretch of a brain onto the template outside this range is a failed fit, not anatomy."""


@dataclass(frozen=True, kw_only=True)
class Register:
    """Find where the scan lies in the space of a template; no voxel is touched yet.

    Mutual information of the brains (Mattes et al. 2003) on two levels, from the best of a few
    head poses; one thread and every voxel of the level, so equal input gives an equal matrix.
    """

    kind: Literal["affine", "rigid", "none"] = "affine"
    """12 parameters, 6 parameters, or leave the scan where it is."""
    template: str = MNI152
    """``mni152``, or the path of a stripped T1 (SRI24, a template of one's own cohort). The file
    itself counts in the recipe's hash, not where it lies."""
    neck_mm: float | None = 5.0
    """Of a brain that was found rather than given, what lies farther than this below the brain of
    the template is neck: it is taken out of the mask, and the scan registered again; None keeps
    it."""
    levels_mm: tuple[float, ...] = (8.0, 4.0)
    """Spacing of the template on each level, coarse to fine."""
    rim: float = 0.15
    """Added to the intensities of both brains, as a share of their range, so that the outline
    counts too: the rim of a brain is dark, and little differs from the emptiness around it."""
    iterations: int = 200
    """Most steps of the optimiser on each level."""

    def __post_init__(self) -> None:
        lengths = (*self.levels_mm, *([] if self.neck_mm is None else [self.neck_mm]))
        if not self.levels_mm or not min(lengths) > 0 or self.iterations < 1 or self.rim < 0:
            raise UsageError(
                f"register: levels_mm {self.levels_mm}, neck_mm {self.neck_mm}, iterations "
                f"{self.iterations}, rim {self.rim}; use numbers above 0 (the rim may be 0)"
            )

    def __call__(self, work: Work) -> Work:
        """The work with the affine of its scan leading to the template's millimetres."""
        if self.kind == "none":
            # Said, because the checks compare with the template where a step answers for the place.
            return work.note(template=None)
        matrix = self.matrix(work.scan)
        cut = self._without_neck(work, matrix)
        if cut is not None:
            work, matrix = cut, self.matrix(cut.scan)
        return self.placed(work, matrix)

    def placed(self, work: Work, matrix: Affine) -> Work:
        """The work with its scan brought to the template by a matrix that is known."""
        work = replace(work, placed=matrix @ work.placed, template=self.template)
        work = work.with_scan(affine=matrix @ work.scan.affine, source=None)
        return work.note(matrix=matrix, template=self.template)

    def _without_neck(self, work: Work, matrix: Affine) -> Work | None:
        """The work without the neck in its mask; None where there is none worth the time."""
        scan, given = work.scan, work.notes.get("brain") in (None, "given")
        if self.neck_mm is None or given or scan.voxels.shape != work.original.voxels.shape:
            return None
        moved = replace(scan, affine=matrix @ scan.affine)
        found = neck(moved, name=self.template, farther_mm=self.neck_mm)
        brain = known_brain(scan)
        if np.count_nonzero(found) < LEAST_NECK * np.count_nonzero(brain):
            return None
        kept = brain & ~found
        millilitres = brain_ml(replace(scan, brain=brain & found))
        work = replace(work, original=replace(work.original, brain=kept))
        return work.with_scan(brain=kept).note(neck_ml=millilitres)

    def identity(self) -> dict[str, str]:
        """What the settings stand for: the template by its content."""
        return {} if self.template == MNI152 else {"template": content(self.template)}

    def matrix(self, scan: Scan) -> Affine:
        """Millimetres of the scan to those of the template."""
        thin = min(scan.voxels.shape)
        if thin < LEAST_SLICES:
            raise DataError(
                f"{scan.subject}: {thin} slice{'s' * (thin > 1)} cannot be aligned with a "
                "template; single slices are for a detector that was fitted with a recipe "
                "without registration, such as slices or native"
            )
        try:
            return self._fit(scan)
        # The toolkit says so when no voxel of the two brains meets, in whatever pose.
        except RuntimeError as error:
            raise DataError(
                f"{scan.subject}: registration failed, the two brains do not meet; check "
                "orientation and brain mask of the scan"
            ) from error

    def _fit(self, scan: Scan) -> Affine:
        with one_thread():
            found = self._start(scan)
            for level in self.levels_mm:
                method = self._method(level, scan)
                method.SetInitialTransform(found, inPlace=True)
                method.Execute(
                    _fixed(self.template, level, self.rim)[0], _moving(scan, level, self.rim)
                )
        return _checked(np.linalg.inv(_matrix(found)), scan.subject)

    def _start(self, scan: Scan) -> Pose:
        """The best of some head poses about the centre of the brain: nod first, then the rest.

        Of a brain that the field of view cuts the centre is not known: several are tried.
        """
        level = self.levels_mm[0]
        fixed, moving = _fixed(self.template, level, self.rim)[0], _moving(scan, level, self.rim)
        method, whole = self._method(level, scan), not cut_axes(scan)

        def cost(start: tuple[itk.Similarity3DTransform, tuple[float, float, float]]) -> float:
            method.SetInitialTransform(self._turned(*start, whole=whole))
            return method.MetricEvaluate(fixed, moving)

        nods = [(nod, 0.0, 0.0) for nod in (-40.0, -20.0, 0.0, 20.0, 40.0)]
        upright, (nod, _, _) = min(product(_uprights(scan, self.template), nods), key=cost)
        turns = product([nod], (-20.0, 0.0, 20.0), (-20.0, 0.0, 20.0))
        return self._turned(*min(product([upright], turns), key=cost), whole=whole)

    def _turned(
        self, upright: itk.Similarity3DTransform, degrees: Sequence[float], *, whole: bool
    ) -> Pose:
        """A pose turned about its centre; a rigid one forgets the difference in size.

        A slab of a brain would be stretched to the whole by 12 parameters: it gets 7.
        """
        found = itk.Euler3DTransform() if self.kind == "rigid" else itk.Similarity3DTransform()
        found.SetCenter(upright.GetCenter())
        found.SetTranslation(upright.GetTranslation())
        turn = itk.Euler3DTransform()
        turn.SetRotation(*np.deg2rad(degrees).tolist())
        if self.kind == "rigid":
            found.SetMatrix(turn.GetMatrix())
            return found
        found.SetMatrix((upright.GetScale() * np.array(turn.GetMatrix())).tolist())
        if not whole:
            return found
        affine = itk.AffineTransform(3)
        affine.SetCenter(found.GetCenter())
        affine.SetTranslation(found.GetTranslation())
        affine.SetMatrix(found.GetMatrix())
        return affine

    def _method(self, level_mm: float, scan: Scan) -> itk.ImageRegistrationMethod:
        method = itk.ImageRegistrationMethod()
        if cut_axes(scan):
            method.SetMetricMovingMask(_seen(scan, level_mm))
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(_fixed(self.template, level_mm, self.rim)[1])
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
def _fixed(name: str, level_mm: float, rim: float) -> tuple[itk.Image, itk.Image]:
    """The template at a spacing, and where it is compared: its brain and 2 voxels around it."""
    values, affine = _level(template(name), level_mm, rim)
    near = ndimage.binary_dilation(values > 0.02 * values.max(), iterations=2)
    return image(values, affine), image(near.astype(np.uint8), affine)


def _moving(scan: Scan, level_mm: float, rim: float) -> itk.Image:
    """The brain of a scan, twice as fine as the template on this level."""
    return image(*_level(scan, level_mm / 2, rim))


def _level(scan: Scan, spacing_mm: float, rim: float) -> tuple[Volume, Affine]:
    """The brain of a scan at a spacing, between ``rim`` and 1 + ``rim``, in emptiness."""
    brain = known_brain(scan)
    low, high = box(brain)
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    inside, values = brain[cut], scan.voxels[cut]
    bottom, top = np.percentile(values[inside], (0.5, 99.5))
    values = np.clip((values - bottom) / max(top - bottom, 1e-12), 0, 1) + rim
    return _coarse(np.where(inside, values, 0), affine, spacing_mm)


def _coarse(volume: Volume, affine: Affine, spacing_mm: float) -> tuple[NewVolume, Affine]:
    """A volume at a spacing along its own axes, with a border of two empty voxels."""
    zoom = spacing_mm / np.linalg.norm(affine[:3, :3], axis=0)
    zoom = np.maximum(zoom, 1)
    shape = tuple(int(n) for n in np.ceil(np.array(volume.shape) / zoom) + 4)
    step = np.diag([*zoom, 1.0])
    step[:3, 3] = -2 * zoom
    to = affine @ step
    return resample(volume.astype(np.float32), affine, shape, to), to


@lru_cache(maxsize=2)
def _template_brain(name: str) -> tuple[np.ndarray, float]:
    whole = template(name)
    return _centre(known_brain(whole), whole.affine), brain_ml(whole)


def _uprights(scan: Scan, name: str) -> list[itk.Similarity3DTransform]:
    """Template to scan, not turned: centre of brain to centre of brain, brain sizes matched.

    Of a brain that the field of view cuts, neither is known: template size, at several heights.
    """
    centre, size_ml = _template_brain(name)
    there = _centre(known_brain(scan), scan.affine)
    scale, places = float(np.cbrt(brain_ml(scan) / size_ml)), [there]
    if axes := cut_axes(scan):
        scale, direction = 1.0, scan.affine[:3, axes[0]] / scan.spacing[axes[0]]
        places = [there + mm * direction for mm in SHIFTS_MM]
    return [_moved(centre, place, scale) for place in places]


def _moved(centre: np.ndarray, place: np.ndarray, scale: float) -> itk.Similarity3DTransform:
    found = itk.Similarity3DTransform()
    found.SetCenter(_flip(centre))
    found.SetTranslation(_flip(place - centre))
    found.SetScale(scale)
    return found


def _seen(scan: Scan, level_mm: float) -> itk.Image:
    """The field of view, at the spacing of the moving image: beyond it nothing is compared."""
    inside = np.ones(scan.voxels.shape, np.float32)
    values, affine = _coarse(inside, scan.affine, level_mm / 2)
    return image((values > 0.5).astype(np.uint8), affine)


def _matrix(transform: Pose) -> Affine:
    """Homogeneous RAS+ matrix of a transform with a centre."""
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return LPS @ out @ LPS


def _centre(brain: Mask, affine: Affine) -> np.ndarray:
    return affine[:3, :3] @ np.array(ndimage.center_of_mass(brain)) + affine[:3, 3]


def _flip(point: np.ndarray) -> list[float]:
    return (LPS[:3, :3] @ point).tolist()


def _checked(matrix: Affine, subject: str) -> Affine:
    stretch = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    low, high = _SCALES
    if np.linalg.det(matrix[:3, :3]) <= 0 or stretch.min() < low or stretch.max() > high:
        raise DataError(
            f"{subject}: registration failed (stretch {np.round(stretch, 2).tolist()}, "
            f"plausible {low} to {high}); check orientation and brain mask of the scan"
        )
    return matrix
