"""Is a prepared scan believable? Each check gives pass, warn or reject, with the reason."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from brainuad.prepare.measure import brain_ml, dice, known_brain
from brainuad.prepare.template import template_brain
from brainuad.prepare.work import Work
from brainuad.types import DataError, Mask

Status = Literal["pass", "warn", "reject"]
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
    coverage: float = 0.95
    """Least share of the brain that lies on the canonical grid."""
    strict: bool = True
    """A rejected scan is an error; otherwise it is only reported."""

    def __call__(self, work: Work) -> Work:
        """The work with the outcome of every check among its notes."""
        found = {
            "volume_ml": _within(brain_ml(work.original), self.volume_ml),
            **self._template(work),
            "coverage": _at_least(_coverage(work), self.coverage),
        }
        found = {name: fact for name, fact in found.items() if fact is not None}
        worst = max((fact["status"] for fact in found.values()), key=_WORST.index, default="pass")
        if self.strict and worst == "reject":
            raise DataError(f"{work.scan.subject}: {_sentence(found)}; check the scan and its mask")
        return work.note(checks=found, status=worst)

    def _template(self, work: Work) -> dict[str, Any]:
        """Comparisons with the brain of MNI152."""
        if self.overlap is None:
            return {}
        there = template_brain(work.scan.voxels.shape, work.scan.affine)
        view = in_view(work)
        seen = float((there & view).sum() / max(1, there.sum()))
        overlap = dice(known_brain(work.scan) & view, there & view)
        return {
            "overlap": _at_least(overlap, self.overlap),
            "seen": _at_least(seen, self.seen),
        }


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


def _sentence(found: dict[str, dict[str, Any]]) -> str:
    bad = [(n, f) for n, f in found.items() if f["status"] == "reject"]
    words = (f"{n.replace('_', ' ')} is {f['value']:.4g}, expected {_span(f)}" for n, f in bad)
    return "; ".join(words)


def _span(fact: dict[str, Any]) -> str:
    low, high = fact["limits"]
    return f"{low:g} to {high:g}"
