"""Named recipes: the steps that every scan of a detector goes through, in order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad.config import build, load_yaml, to_dict
from brainuad.manifest import hash_of
from brainuad.prepare.bias import Bias
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.denoise import Denoise
from brainuad.prepare.frame import Frame, Halve
from brainuad.prepare.grid import MNI_1MM, MNI_256
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.register import Register
from brainuad.prepare.resample import Crop, Resample
from brainuad.prepare.scale import InnerMedian, Landmarks, TissueMode, ZScore
from brainuad.prepare.template import template
from brainuad.prepare.window import Window
from brainuad.prepare.work import Step
from brainuad.types import UsageError

STEPS: dict[str, type] = {
    "brain": Brain,
    "denoise": Denoise,
    "bias": Bias,
    "register": Register,
    "resample": Resample,
    "crop": Crop,
    "frame": Frame,
    "halve": Halve,
    "intensity": Intensity,
    "window": Window,
    "zscore": ZScore,
    "tissue_mode": TissueMode,
    "inner_median": InnerMedian,
    "landmarks": Landmarks,
    "checks": Checks,
}
"""Steps by the names that they have in files."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Preparation of a scan, from the file to the detector's grid."""

    name: str
    """What people call it; not part of the hash."""
    steps: tuple[Step, ...]
    """Frozen dataclasses out of :data:`STEPS`, in the order of their use."""

    @property
    def hash(self) -> str:
        """16 hex digits that depend on the steps and their settings alone.

        Checks do not count: they change no voxel, and a new one must not part detectors from the
        scans that were prepared before it.
        """
        return hash_of([_identity(s) for s in self.steps if not isinstance(s, Checks)])

    def forced(self) -> "Recipe":
        """The same recipe, in which another contrast than the modality's is only a warning."""
        steps = (replace(s, contrast=False) if isinstance(s, Checks) else s for s in self.steps)
        return replace(self, steps=tuple(steps))

    def check(self, *, where: str) -> None:
        """Find faults that would meet every scan: an order that cannot be, a bad template.

        Raises:
            UsageError: a step before the brain step that needs the brain or moves it.
            MissingError: there is no such template.
            DataError: the template is no stripped brain.
        """
        names = [step_name(step) for step in self.steps]
        before = names[: names.index("brain")] if "brain" in names else []
        early = [name for name in before if name != "denoise"]
        if early:
            raise UsageError(f"{where}: {early[0]} comes before brain; put the brain step first")
        for step in self.steps:
            if isinstance(step, Register) and step.kind != "none":
                template(step.template)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML and JSON; :meth:`from_dict` is its inverse."""
        return {"name": self.name, "steps": [step_dict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "recipe") -> "Recipe":
        """A recipe from plain data, checked strictly."""
        unknown = sorted(set(data) - {"name", "steps"})
        if unknown or not isinstance(data.get("steps"), (list, tuple)):
            what = f"unknown setting {unknown[0]}" if unknown else "steps must be a list"
            raise UsageError(f"{where}: {what}; a recipe has a name and a list of steps")
        steps = tuple(_step(s, f"{where}.steps[{n}]") for n, s in enumerate(data["steps"]))
        return cls(name=str(data.get("name", "unnamed")), steps=steps)


def step_name(step: Step) -> str:
    """Name of a step in files."""
    return next(name for name, cls in STEPS.items() if isinstance(step, cls))


def step_dict(step: Step) -> dict[str, Any]:
    """Name and settings of a step as plain data."""
    return {"step": step_name(step), **to_dict(step)}


def _identity(step: Step) -> dict[str, Any]:
    """Name and settings of a step, files that it uses by their content."""
    files = step.identity() if isinstance(step, Register) else {}
    named = step_dict(step) | files
    if isinstance(step, Brain) and not step.margin_mm:
        del named["margin_mm"]  # came later; off, it leaves older hashes alone
    return named


def _step(data: Any, where: str) -> Step:
    if not isinstance(data, Mapping) or data.get("step") not in STEPS:
        raise UsageError(f"{where}: {data!r} names no step; choose from {', '.join(STEPS)}")
    settings = {key: value for key, value in data.items() if key != "step"}
    return build(STEPS[data["step"]], settings, where=where)


def recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by its name, or from a YAML file (recognised by its ending), which is checked.

    Raises:
        UsageError: no such recipe, or a file with a step, a setting or an order that cannot be.
        MissingError: no such file, or no such template.
        DataError: a template that is no stripped brain.
    """
    if str(name_or_path) in RECIPES:
        return RECIPES[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"recipe {str(name_or_path)!r}: unknown; choose from {', '.join(RECIPES)}, "
            "or give a .yaml file"
        )
    made = Recipe.from_dict(load_yaml(path), where=str(path))
    made.check(where=str(path))
    return made


_TO_MNI = (Brain(margin_mm=2.0), Register(), Resample(), Intensity(), Checks())
_OWN_GRID = Checks(overlap=None)
_UNCHECKED = Checks(
    volume_ml=None,
    overlap=None,
    noise=None,
    movement=None,
    flat=None,
    edge_mm=None,
    modality=False,
)
_AS_IS = (Brain(how="background"), Intensity(low=0.0, high=99.5), _UNCHECKED)
_CT = Checks(noise=None, movement=None)
"""A CT knows neither lines of a spectrum nor a range of intensities that is tissue alone."""


HALF_SEEN = Checks(overlap=0.6, coverage=0.6)
"""The published frame leaves the top and the bottom of the brain out on purpose."""


def _behrendt(*, n4_first: bool) -> tuple[Step, ...]:
    """Preparation of pDDPM, mDDPM and cDDPM: as their papers have the order, or their scripts."""
    n4 = Bias(iterations=(200, 200, 200, 200), tolerance=5e-4)
    aligned = (Register(), Resample(grid=MNI_1MM))
    order = (n4, *aligned) if n4_first else (*aligned, n4)
    return (Brain(), *order, Denoise(), Frame(around="brain"), Intensity(), Halve(), HALF_SEEN)


RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe(name="default-t1", steps=_TO_MNI),
        Recipe(name="default-t2", steps=_TO_MNI),
        Recipe(name="default-flair", steps=_TO_MNI),
        Recipe(name="behrendt-2mm", steps=_behrendt(n4_first=True)),
        Recipe(name="behrendt-2mm-scripts", steps=_behrendt(n4_first=False)),
        Recipe(
            name="mad-ad",
            steps=(
                Brain(),
                Register(),
                Resample(grid=MNI_256),
                Intensity(low=0.0, high=99.5),
                Checks(),
            ),
        ),
        Recipe(
            name="ct",
            steps=(Brain(how="ct"), Register(), Resample(), Window(low=0.0, high=80.0), _CT),
        ),
        Recipe(name="native", steps=(Brain(), Crop(), Intensity(), _OWN_GRID)),
        Recipe(name="phantom", steps=_AS_IS),
        Recipe(
            name="slices",
            steps=(Brain(how="everything"), Window(), _UNCHECKED),
        ),
    )
}
"""Recipes by name: ``default-*`` and ``ct`` go to MNI152 at 2 mm, ``behrendt-2mm`` and ``mad-ad``
follow publications, ``native`` keeps the pose of the scan,
``phantom`` takes scans that lie on the detector's grid already, ``slices`` 8-bit images whole."""
