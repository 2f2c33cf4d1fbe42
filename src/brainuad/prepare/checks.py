"""Is a prepared scan believable? Each check gives pass, warn or reject, with the reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from brainuad.prepare.measure import brain_ml, dice, known_brain
from brainuad.prepare.quality import noise_share, uneven_lines
from brainuad.prepare.template import MNI152, template_brain, template_values
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError, Mask

Status = Literal["pass", "warn", "reject"]
LEAST_VOXELS = 500
_WORST: tuple[Status, ...] = ("pass", "warn", "reject")


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What a prepared scan has to satisfy; None leaves a check out."""

    volume_ml: tuple[float, float] | None = (700.0, 2200.0)
    """Plausible volume of an adult brain; beyond it the scan is rejected, near it a warning."""
    overlap: float | None = 0.8
    """Least Dice overlap of the brain with that of MNI152 after registration, as far as the field
    of view reaches; a warning below halfway from here to 1."""
    seen: float | None = 0.4
    """Least share of the brain of MNI152 that lies in the field of view; warns as ``overlap``."""
    white_over_grey: float | None = 0.04
    """How much brighter white than grey matter must be in a T1w scan that is aligned, as a share of
    the range; warns below twice this. Of 120 healthy T1w scans all have at least 0.05, all but
    one 0.08; FLAIR scans -0.03 to 0.06, T2w scans -0.07 and less."""
    noise: float | None = 0.15
    """Most noise, as a share of the range of intensities; warns above half of it. Of 100 healthy
    T1w scans all have less than 0.07."""
    movement: float | None = 4.0
    """Most that one line of the spectrum may exceed its neighbours; warns above 1.25. Healthy T1w
    scans have at most 1.15; half of the lines from a head turned by 4 degrees, 1.5 to 3."""
    edge_mm: float | None = 10.0
    """Longest edge of a voxel in mm; warns above half of it."""
    coverage: float = 0.95
    """Least share of the brain that lies on the canonical grid."""
    strict: bool = True
    """A rejected scan is an error; otherwise it is only reported."""

    def __call__(self, work: Work) -> Work:
        """The work with the outcome of every check among its notes."""
        found = {
            "volume_ml": _within(brain_ml(work.original), self.volume_ml),
            **self._template(work),
            "white_over_grey": self._contrast(work),
            "noise": self._quality(noise_share, work, self.noise, 0.5),
            "movement": self._quality(uneven_lines, work, self.movement, 0.3125),
            "edge_mm": _at_most(max(work.original.spacing), self.edge_mm, 0.5),
            "coverage": _at_least(_coverage(work), self.coverage),
        }
        found = {name: fact for name, fact in found.items() if fact is not None}
        worst = max((fact["status"] for fact in found.values()), key=_WORST.index, default="pass")
        if self.strict and worst == "reject":
            raise DataError(
                f"{work.scan.subject}: {sentence(found)}; check the scan, its mask and modality"
            )
        return work.note(checks=found, status=worst)

    @staticmethod
    def _quality(
        measure: Callable[[Scan], float], work: Work, limit: float | None, doubt: float
    ) -> dict[str, Any] | None:
        """A number of the scan as it was read; not taken where nobody asks."""
        return None if limit is None else _at_most(measure(work.original), limit, doubt)

    def _contrast(self, work: Work) -> dict[str, Any] | None:
        """Whether what is called T1w looks like it."""
        if None in (self.white_over_grey, self.overlap) or work.scan.modality != "T1w":
            return None
        limit = float(self.white_over_grey or 0)
        value = white_over_grey(work.scan, work.template)
        status = "pass" if value >= 2 * limit else "warn" if value >= limit else "reject"
        return {"value": value, "limits": [limit, 1.0], "status": status}

    def _template(self, work: Work) -> dict[str, Any]:
        """Comparisons with the brain of MNI152."""
        if self.overlap is None:
            return {}
        there = template_brain(work.scan.voxels.shape, work.scan.affine, name=work.template)
        view = in_view(work)
        seen = float((there & view).sum() / max(1, there.sum()))
        overlap = dice(known_brain(work.scan) & view, there & view)
        return {
            "overlap": _at_least(overlap, self.overlap),
            "seen": _at_least(seen, self.seen),
        }


def white_over_grey(scan: Scan, name: str = MNI152) -> float:
    """How much brighter the scan is where the template has white matter than where it has grey."""
    there = template_values(scan.voxels.shape, scan.affine, name=name)
    inside: Any = ndimage.binary_erosion(known_brain(scan) & (there > 0), iterations=2)
    if np.count_nonzero(inside) < LEAST_VOXELS:
        return 0.0
    values, there = (np.asarray(ndimage.gaussian_filter(v, 1.0)) for v in (scan.voxels, there))
    dark, grey, white = np.percentile(there[inside], (25, 40, 75))
    tissue = inside & (values > np.percentile(values[inside], 15))
    parts = (inside & (there > white), tissue & (there > dark) & (there < grey))
    if not all(part.any() for part in parts):
        return 0.0
    brighter, darker = (float(np.median(values[part])) for part in parts)
    return brighter - darker


def in_view(work: Work) -> Mask:
    """Voxels of the scan's present grid that lie within the grid that it was read on."""
    to_file = np.linalg.inv(work.placed) @ work.scan.affine
    index = np.indices(work.scan.voxels.shape, dtype=np.float32).reshape(3, -1)
    places = to_file[:3, :3] @ index + to_file[:3, 3:]
    size = np.array(work.original.voxels.shape)[:, None]
    inside = np.all((places >= -0.5) & (places <= size - 0.5), axis=0)
    return inside.reshape(work.scan.voxels.shape)


def _coverage(work: Work) -> float:
    there = known_brain(work.scan).sum() * abs(np.linalg.det(work.scan.affine[:3, :3]))
    whole = known_brain(work.original).sum() * abs(np.linalg.det(work.placed[:3, :3]))
    return min(1.0, float(there / whole))


def _within(value: float, limits: tuple[float, float] | None) -> dict[str, Any] | None:
    if limits is None:
        return None
    low, high = limits
    status = "pass" if 1.2 * low <= value <= high / 1.1 else "warn"
    status = status if low <= value <= high else "reject"
    return {"value": value, "limits": list(limits), "status": status}


def _at_least(value: float, limit: float | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    status = "pass" if value >= (1 + limit) / 2 else "warn" if value >= limit else "reject"
    return {"value": value, "limits": [limit, 1.0], "status": status}


def _at_most(value: float, limit: float | None, doubt: float) -> dict[str, Any] | None:
    """Warns above the share ``doubt`` of the limit."""
    if limit is None:
        return None
    status = "pass" if value <= doubt * limit else "warn" if value <= limit else "reject"
    return {"value": value, "limits": [0.0, limit], "status": status}


def sentence(found: dict[str, dict[str, Any]]) -> str:
    """What checks reject, with values and limits."""
    return "; ".join(_words(n, f) for n, f in found.items() if f["status"] == "reject")


def _words(name: str, fact: dict[str, Any]) -> str:
    if name == "white_over_grey":
        return f"does not look like T1w (white is {fact['value']:.2g} above grey matter)"
    return f"{name.replace('_', ' ')} is {fact['value']:.4g}, expected {_span(fact)}"


def _span(fact: dict[str, Any]) -> str:
    low, high = fact["limits"]
    return f"{low:g} to {high:g}"
