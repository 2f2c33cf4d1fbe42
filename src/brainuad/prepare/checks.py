"""Is a prepared scan believable? Each check gives pass, warn or reject, with the reason."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from brainuad.gate import UNKNOWN
from brainuad.prepare.limits import Limits, Status, at_least, at_most
from brainuad.prepare.measure import brain_ml, dice, known_brain
from brainuad.prepare.quality import equal_neighbours, noise_share, uneven_lines
from brainuad.prepare.template import MNI152, template_brain, template_values
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, UsageError

LEAST_VOXELS = 500
_WORST: tuple[Status, ...] = ("pass", "warn", "reject")
_SHARES = ("overlap", "seen", "coverage")
_ALIGNED = ("overlap", "seen", "white_over_grey", "white_at_most")
"""Checks that compare with a template."""
CONTRAST = {"white_over_grey": ("T1w",), "white_at_most": ("FLAIR", "T2w")}
"""Checks of a contrast, by the modalities that they are for."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What a prepared scan has to satisfy; None leaves a check out.

    Those that compare with the template leave themselves out, with the reason in the report, where
    no step has registered the scan.
    """

    volume_ml: tuple[float, float] | None = (700.0, 2200.0)
    """Plausible volume of an adult brain in ml; beyond it the scan is rejected, near it a
    warning."""
    overlap: float | None = 0.8
    """Least Dice overlap of the brain with that of the template after registration, as far as the
    field of view reaches; a warning below halfway from here to 1. None leaves out the other
    comparisons with the template too."""
    seen: float | None = 0.4
    """Least share of the template's brain that lies in the field of view; warns as ``overlap``."""
    white_over_grey: float | None = 0.04
    """How much brighter white than grey matter must be in a T1w scan that is aligned, as a share of
    the range; warns below twice this. Of 120 healthy T1w scans all have at least 0.05, all but
    one 0.08; FLAIR scans -0.03 to 0.06, T2w scans -0.07 and less."""
    white_at_most: float | None = 0.08
    """Most that white may be brighter than grey matter in a FLAIR or T2w scan that is aligned, so
    that a T1w scan is not taken for one; warns above three quarters of this."""
    noise: float | None = 0.15
    """Most noise, as a share of the range of intensities; warns above half of it. Of 100 healthy
    T1w scans all have less than 0.07."""
    movement: float | None = 4.0
    """Most that one line of the spectrum may exceed its neighbours, as a factor; warns above 5/16
    of it. Healthy T1w scans have at most 1.15; half of the lines from a head turned by 4 degrees,
    1.5 to 3."""
    flat: float | None = 0.5
    """Largest share of neighbouring voxels in the brain that are exactly equal; warns above half
    of it. Maps of labels have 0.75 and more, scans in 8 bits less than 0.14."""
    edge_mm: float | None = 10.0
    """Longest edge of a voxel in mm; warns above half of it."""
    coverage: float = 0.95
    """Least share of the brain that lies on the canonical grid; warns as ``overlap``."""
    modality: bool = True
    """Whether a scan of unknown modality is a warning."""
    contrast: bool = True
    """A scan that looks like another modality than it is said to be is rejected; otherwise that is
    a warning."""
    strict: bool = True
    """A rejected scan is an error; otherwise it is only reported."""

    def __post_init__(self) -> None:
        for name, limits in self.limits().items():
            low, high = limits.reject
            lowest = -1 if name == "white_at_most" else 0
            if not lowest <= low < high or (name in _SHARES and low > 1):
                raise UsageError(
                    f"checks: {name} {getattr(self, name)} is no limit; give ascending numbers "
                    "from 0, and shares up to 1"
                )

    def limits(self) -> dict[str, Limits]:
        """The limits of every check with a number that is asked for."""
        found: dict[str, Limits] = {}
        if self.volume_ml is not None:
            low, high = self.volume_ml
            found["volume_ml"] = Limits(reject=(low, high), warn=(1.2 * low, high / 1.1))
        if self.overlap is not None:
            found["overlap"] = at_least(self.overlap, (1 + self.overlap) / 2)
            if self.seen is not None:
                found["seen"] = at_least(self.seen, (1 + self.seen) / 2)
            if self.white_over_grey is not None:
                found["white_over_grey"] = at_least(self.white_over_grey, 2 * self.white_over_grey)
            if self.white_at_most is not None:
                most = self.white_at_most
                found["white_at_most"] = Limits(reject=(-1.0, most), warn=(-1.0, 0.75 * most))
        for name, share in (("noise", 0.5), ("movement", 0.3125), ("flat", 0.5), ("edge_mm", 0.5)):
            limit: float | None = getattr(self, name)
            if limit is not None:
                found[name] = at_most(limit, share * limit)
        return found | {"coverage": at_least(self.coverage, (1 + self.coverage) / 2)}

    def __call__(self, work: Work) -> Work:
        """The work with the outcome of every check among its notes."""
        left_out, found, measures = {}, {}, _Measures(work)
        for name, limits in self.limits().items():
            if why := _meaningless(name, work):
                left_out[name] = why
            else:
                found[name] = self._fact(name, limits.fact(getattr(measures, name)()))
        if self.modality and work.scan.modality == UNKNOWN:
            found["modality"] = {"value": None, "limits": [], "status": "warn"}
        worst = max((fact["status"] for fact in found.values()), key=_WORST.index, default="pass")
        if self.strict and worst == "reject":
            mend = "check the scan, its mask and modality"
            if _rejects(found) & CONTRAST.keys():
                mend += "; detect --force goes on"
            raise DataError(f"{work.scan.subject}: {sentence(found)}; {mend}")
        work = work.note(checks_left_out=left_out) if left_out else work
        return work.note(checks=found, status=worst)

    def _fact(self, name: str, fact: dict[str, Any]) -> dict[str, Any]:
        if name in CONTRAST and not self.contrast and fact["status"] == "reject":
            return {**fact, "status": "warn"}
        return fact


def _meaningless(name: str, work: Work) -> str:
    """Why a number says nothing about a scan; empty where it does."""
    if name in _ALIGNED and "template" not in work.notes:
        return "no register step, so the scan need not lie where the template does"
    meant_for = CONTRAST.get(name, (work.scan.modality,))
    return "" if work.scan.modality in meant_for else f"for {' and '.join(meant_for)} alone"


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


class _Measures:
    """The number behind each check, under the check's name."""

    def __init__(self, work: Work):
        self.work = work

    @cached_property
    def _view(self) -> Mask:
        return in_view(self.work)

    @cached_property
    def _there(self) -> Mask:
        scan = self.work.scan
        return template_brain(scan.voxels.shape, scan.affine, name=self.work.template)

    def volume_ml(self) -> float:
        return brain_ml(self.work.original)

    def overlap(self) -> float:
        return dice(known_brain(self.work.scan) & self._view, self._there & self._view)

    def seen(self) -> float:
        return float((self._there & self._view).sum() / max(1, self._there.sum()))

    def white_over_grey(self) -> float:
        return white_over_grey(self.work.scan, self.work.template)

    white_at_most = white_over_grey

    def noise(self) -> float:
        return noise_share(self.work.original)

    def movement(self) -> float:
        return uneven_lines(self.work.original)

    def flat(self) -> float:
        return equal_neighbours(self.work.original)

    def edge_mm(self) -> float:
        return max(self.work.original.spacing)

    def coverage(self) -> float:
        scan, original, placed = self.work.scan, self.work.original, self.work.placed
        there = known_brain(scan).sum() * abs(np.linalg.det(scan.affine[:3, :3]))
        whole = known_brain(original).sum() * abs(np.linalg.det(placed[:3, :3]))
        return min(1.0, float(there / whole))


def sentence(found: dict[str, dict[str, Any]]) -> str:
    """What checks reject, with values and limits."""
    return "; ".join(words(name, found[name]) for name in found if name in _rejects(found))


def _rejects(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, fact in found.items() if fact["status"] == "reject"}


def doubts(found: dict[str, dict[str, Any]]) -> str:
    """What checks do not pass, in a few words."""
    return ", ".join(_short(n, f["value"]) for n, f in found.items() if f["status"] != "pass")


def _short(name: str, value: float | None) -> str:
    return "modality unknown" if value is None else f"{name} {value:.3g}"


def words(name: str, fact: dict[str, Any]) -> str:
    """What a check has against a scan, with value and limits."""
    if name == "white_over_grey":
        return f"does not look like T1w (white is {fact['value']:.2g} above grey matter)"
    if name == "white_at_most":
        return f"looks like T1w (white is {fact['value']:.2g} above grey matter)"
    if name == "flat":
        share = f"{100 * fact['value']:.0f} % of neighbouring voxels are equal"
        return f"looks like a map of labels, not like a scan ({share})"
    return f"{name.replace('_', ' ')} is {fact['value']:.4g}, expected {_span(fact)}"


def _span(fact: dict[str, Any]) -> str:
    low, high = fact["limits"]
    return f"{low:g} to {high:g}"
