"""Generated healthy brains, for the demonstration and for tests: no image of a person is needed.

The mean anatomy is bent by a smooth random deformation and painted from the inside out with soft
edges, which gives partial volume; then come a bias field and Rician noise.
"""

from dataclasses import dataclass

import numpy as np

from brainuad import anatomy
from brainuad.anatomy import Field, Points, filled
from brainuad.prepare.grid import MNI_2MM
from brainuad.scan import Scan
from brainuad.types import Affine, Mask, UsageError, Volume


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Mean signal of each tissue, relative to the gain of the scanner."""

    csf: float
    cortex: float
    nucleus: float
    white: float
    stem: float

    def __pow__(self, exponent: float) -> "Levels":
        return Levels(**{name: value**exponent for name, value in vars(self).items()})


LEVELS = {
    "T1w": Levels(csf=0.17, cortex=0.55, nucleus=0.64, white=0.84, stem=0.86),
    "T2w": Levels(csf=0.95, cortex=0.50, nucleus=0.44, white=0.34, stem=0.36),
    "FLAIR": Levels(csf=0.14, cortex=0.80, nucleus=0.74, white=0.66, stem=0.68),
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """What tells one healthy person from another, apart from shape."""

    age: float
    """Years, 20 to 80."""
    ventricle: float
    """Added to the radius of the lateral ventricles, mm."""
    sulcus: float
    """Half the width of a sulcus, mm."""
    cortex: float
    """Thickness of the cortex, mm."""
    gain: float
    """Signal of a tissue of level 1, arbitrary units."""
    contrast: float
    """Exponent on the tissue levels; 1 is the mean person."""
    bias: float
    """Standard deviation of the logarithm of the bias field."""
    noise: float
    """Standard deviation of the noise, relative to the gain."""


def draw_person(rng: np.random.Generator, age: float | int | None = None) -> Person:
    """A random healthy person, of the given age (years) or of a random one."""
    drawn = rng.uniform(20, 80)
    years = float(drawn if age is None else age)
    late = (years - 20) / 60
    return Person(
        age=years,
        ventricle=float(-0.6 + 2.6 * late + rng.normal(0, 0.6)),
        sulcus=float(np.clip(0.35 + 0.7 * late + rng.normal(0, 0.08), 0.15, None)),
        cortex=float(3.2 - 0.4 * late + rng.normal(0, 0.12)),
        gain=float(np.exp(rng.normal(np.log(600), 0.35))),
        contrast=float(np.clip(rng.normal(1, 0.07), 0.85, 1.15)),
        bias=float(rng.uniform(0.02, 0.07)),
        noise=float(rng.uniform(0.015, 0.03)),
    )


def phantom(
    subject: str,
    *,
    seed: int = 0,
    modality: str = "T1w",
    shape: tuple[int, int, int] = MNI_2MM.shape,
    affine: Affine | None = None,
    age: float | int | None = None,
) -> Scan:
    """A healthy, skull-stripped brain that depends on ``seed`` and ``subject`` alone.

    Args:
        subject: name of the person; another name is another brain.
        seed: number of the cohort.
        modality: ``T1w``, ``T2w`` or ``FLAIR``; a person has the same anatomy in each.
        shape: voxels of the scan.
        affine: voxel indices to MNI152 millimetres, RAS+; default MNI_2MM.
        age: years, 20 to 80; older people have wider sulci and ventricles; None draws it.

    Returns:
        The scan in arbitrary units, 0 outside the brain, with its brain mask.

    Raises:
        UsageError: unknown modality, or an age outside 20 to 80.
    """
    if modality not in LEVELS:
        choices = ", ".join(LEVELS)
        raise UsageError(f"phantom: unknown modality {modality!r}; choose from {choices}")
    if age is not None and not 20 <= age <= 80:
        raise UsageError(f"phantom: age {age} is outside the model; give 20 to 80 years")
    affine = MNI_2MM.affine if affine is None else np.asarray(affine, np.float64)
    person = draw_person(anatomy.stream(seed, subject, "person"), age)
    rng = anatomy.stream(seed, subject, "shape")
    points = _bend(rng, anatomy.millimetres(shape, affine))
    ideal, brain = _Painter(points, affine, person, LEVELS[modality] ** person.contrast).paint(rng)
    voxels = _acquire(anatomy.stream(seed, subject, "scanner", modality), ideal, points, person)
    voxels = np.where(brain, np.maximum(voxels, 1e-3), 0).astype(np.float32)
    return Scan(voxels=voxels, affine=affine, modality=modality, subject=subject, brain=brain)


def _bend(rng: np.random.Generator, points: Points) -> Points:
    """Where in the mean anatomy each voxel of this person lies."""
    scale = 1 + np.clip(rng.normal(0, 0.025, 3), -0.06, 0.06).astype(np.float32)
    moved = anatomy.displaced(rng, points, by=2.2, step=11, smooth=24)
    return moved * scale[:, None, None, None]


def _acquire(rng: np.random.Generator, ideal: Field, points: Points, person: Person) -> Volume:
    """The scanner: texture of tissue, bias field, Rician noise, gain."""
    texture = 1 + 0.015 * anatomy.random_field(rng, points, step=6, smooth=8)
    bias = np.exp(person.bias * anatomy.random_field(rng, points, step=15, smooth=45))
    noise = person.noise * rng.standard_normal((2, *ideal.shape), np.float32)
    return person.gain * np.hypot(ideal * texture * bias + noise[0], noise[1])


def _mix(image: Field, level: float | Field, share: Field) -> Field:
    return image + share * (level - image)


class _Painter:
    """Signal of one person, without bias and noise."""

    def __init__(self, points: Points, affine: Affine, person: Person, levels: Levels):
        self.points, self.affine, self.person, self.levels = points, affine, person, levels
        self.right = anatomy.mirror(points)
        self.voxel = float(np.cbrt(abs(np.linalg.det(affine[:3, :3]))))

    def paint(self, rng: np.random.Generator) -> tuple[Field, Mask]:
        """The signal, and the brain mask: tissue and about 1 mm of the fluid around it."""
        hull = anatomy.cerebrum(self.points)
        small = anatomy.balls(self.right, anatomy.CEREBELLUM, 8)
        stem = anatomy.balls(self.right, anatomy.STEM, 8)
        crooked = anatomy.displaced(rng, self.points, by=1.6, step=5, smooth=7)
        image = np.full(hull.shape, self.levels.csf, np.float32)
        image = self._cover(image, self._cerebellum(small, crooked), small)
        image = self._cover(image, self._cerebrum(hull, crooked, rng), hull)
        image = self._cover(image, self.levels.stem, stem)
        for ventricle in (anatomy.THIRD_VENTRICLE, anatomy.FOURTH_VENTRICLE):
            image = self._cover(image, self.levels.csf, anatomy.ball(self.right, ventricle))
        return image, anatomy.union([hull, small, stem], 10) > -1

    def _cover(self, image: Field, level: float | Field, distance: Field) -> Field:
        return _mix(image, level, filled(distance, self.voxel))

    def _cerebellum(self, depth: Field, crooked: Points) -> Field:
        """Grey leaves on white branches, with fluid between the outer leaves."""
        leaf = anatomy.folia(crooked)
        image = np.full(depth.shape, self.levels.cortex, np.float32)
        image = _mix(image, self.levels.white, filled(depth - 12 + 7 * leaf, 4))
        between = 0.25 * np.clip(-leaf - 0.4, 0, 1) * filled(9 - depth, 3)
        return _mix(image, self.levels.csf, between + 0.35 * filled(1.5 - depth, 3))

    def _cerebrum(self, hull: Field, crooked: Points, rng: np.random.Generator) -> Field:
        """White matter, folded cortex, deep nuclei, ventricles and the fluid in the sulci."""
        depth = np.minimum(hull, anatomy.fissures(crooked))
        cortex = np.minimum(depth, anatomy.sulci(rng, crooked, depth, self.affine))
        image = np.full(hull.shape, self.levels.white, np.float32)
        border = self.person.sulcus + self.person.cortex - cortex
        image = self._nuclei(self._cover(image, self.levels.cortex, border))
        horns = (anatomy.LATERAL_VENTRICLE, anatomy.TEMPORAL_HORN)
        fluid = np.maximum(*[anatomy.tube(self.right, horn) for horn in horns])
        image = self._cover(image, self.levels.csf, fluid + self.person.ventricle)
        share = anatomy.sheet(cortex, self.person.sulcus, self.voxel)
        return _mix(image, self.levels.csf, share)

    def _nuclei(self, image: Field) -> Field:
        for nucleus in (anatomy.THALAMUS, anatomy.CAUDATE_HEAD, anatomy.PUTAMEN):
            image = self._cover(image, self.levels.nucleus, anatomy.ball(self.right, nucleus))
        tail = anatomy.tube(self.right, anatomy.CAUDATE_TAIL)
        image = self._cover(image, self.levels.nucleus, tail)
        hippocampus = anatomy.tube(self.right, anatomy.HIPPOCAMPUS)
        return self._cover(image, self.levels.cortex, hippocampus)
