"""What a detector can see: lesions of known size and contrast planted into healthy scans.

For a group without lesion masks: its own healthy scans, the detector and the threshold of its
calibration say how large and how strong a lesion must be to be found. The same places without a
lesion say how often they would have been marked anyway.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from brainuad.detect import Finding
from brainuad.detector import Detector
from brainuad.evaluate.voxel import average_precision, overlap
from brainuad.pool import Pool
from brainuad.postprocess import label_components
from brainuad.prepare import Prepared, prepare_alike, prepare_scan
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import box
from brainuad.read.source import Source
from brainuad.rng import seed_of
from brainuad.scan import Scan
from brainuad.simulate import Look, plant
from brainuad.types import BrainuadError, Mask, UsageError

VOLUMES_ML = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
CONTRASTS = (0.2, 0.4, 0.6, 0.8)
NOTHING = 0.0
"""The contrast of no lesion: what is found at its place is chance."""
OVER_ML = 2.0
"""A component larger than this and than ten times the lesion has found nothing in particular."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which lesions are planted."""

    volumes_ml: tuple[float, ...] = VOLUMES_ML
    contrasts: tuple[float, ...] = CONTRASTS
    """Shares of the tissue's signal that the lesion replaces, above 0, at most 1."""
    kind: str = "infarct"
    """``infarct`` (dark in T1w and CT, bright in T2w and FLAIR), or ``bright``."""
    look: Look = field(default_factory=Look)
    """Edge, roughness and texture."""
    places: int = 1
    """Places for each volume in every scan."""
    rate: float = 0.01
    """Healthy false-positive rate of the threshold."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.volumes_ml or min(self.volumes_ml) <= 0:
            raise UsageError(f"volumes {self.volumes_ml}: must be above 0 ml; correct them")
        if not self.contrasts or not all(0 < c <= 1 for c in self.contrasts):
            raise UsageError(f"contrasts {self.contrasts}: must lie in (0, 1]; correct them")
        if self.kind not in ("infarct", "bright"):
            raise UsageError(f"kind {self.kind!r}: unknown; choose infarct or bright")
        if self.places < 1:
            raise UsageError(f"places {self.places}: at least 1; correct it")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One planted lesion and what the detector made of it.

    Attributes:
        subject: whose scan.
        volume_ml: that was asked for.
        contrast: 0 where nothing was planted.
        place: number of the place.
        centre_mm: middle of the lesion, in millimetres of the prepared scan (MNI152 if aligned).
        depth_mm: of that middle below the surface of the brain.
        found: whether a component of the mask overlaps the lesion and is of its kind of size.
        dice: of mask and lesion.
        recall: share of the lesion in the mask.
        auprc: average precision of the map within the brain.
        percentile: of the scan score among the calibration scans.
    """

    subject: str
    volume_ml: float
    contrast: float
    place: int
    centre_mm: tuple[float, float, float]
    depth_mm: float
    found: bool
    dice: float
    recall: float
    auprc: float
    percentile: float


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The trials in one scan, or why there are none."""

    path: Path
    trials: tuple[Trial, ...] = ()
    error: str = ""


def try_scans(
    sources: Sequence[Source], model: Path, plan: Plan, *, workers: int = 1, progress: bool = True
) -> Iterator[Tried]:
    """Plant lesions into healthy scans and detect in each.

    Args:
        sources: scans of healthy people, none of which the detector was fitted on.
        model: folder of a calibrated detector.
        plan: which lesions.
        workers: processes with one thread each.
        progress: show a bar.

    Raises:
        UsageError: the detector was fitted or calibrated on one of the scans, or has no threshold.
    """
    detector = Detector.load(model)
    if detector.calibration is None:
        raise UsageError(f"{model}: has no threshold; run `brainuad calibrate` first")
    with Pool(workers, progress=progress) as pool:
        work = _Work(model=model, plan=plan)
        for _, tried in pool.map(work, list(sources), "simulate"):
            yield tried


@lru_cache(1)
def _loaded(model: Path) -> Detector:
    return Detector.load(model)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work on one scan; a class, so that it can be sent to another process."""

    model: Path
    plan: Plan

    def __call__(self, source: Source) -> Tried:
        detector = _loaded(self.model)
        try:
            scan = source.read(detector.config.modality)
            if scan.subject in detector.config.provenance.get("inputs", {}):
                raise UsageError(
                    f"{source.path}: {detector.name} was fitted on it; give scans that it has not "
                    "seen"
                )
            scan = detector.config.accepted(scan, detector.name)
            prepared = prepare_scan(scan, detector.config.recipe)
            trials = tuple(_trials(detector, prepared, self.plan))
        except BrainuadError as error:
            return Tried(path=source.path, error=str(error))
        return Tried(path=source.path, trials=trials)


def _trials(detector: Detector, prepared: Prepared, plan: Plan) -> Iterator[Trial]:
    healthy = detector.detect_prepared(prepared, seed=plan.seed, rate=plan.rate)
    for volume, place in product(plan.volumes_ml, range(plan.places)):
        seed = seed_of(plan.seed, "place", str(place), f"{volume:g}") % 2**31
        for contrast in plan.contrasts:
            sick, lesion = _planted(
                prepared.original, seed=seed, volume_ml=volume, contrast=contrast, plan=plan
            )
            again = prepare_alike(sick, prepared, detector.config.recipe)
            finding = detector.detect_prepared(again, seed=plan.seed, rate=plan.rate)
            facts = {"volume_ml": volume, "place": place, **_place(lesion, prepared)}
            yield _judged(finding, lesion, contrast=contrast, **facts)
            if contrast == plan.contrasts[0]:
                yield _judged(healthy, lesion, contrast=NOTHING, **facts)


def _planted(
    scan: Scan, *, seed: int, volume_ml: float, contrast: float, plan: Plan
) -> tuple[Scan, Mask]:
    """A scan with a lesion, and the lesion; only the part around the brain is worked on."""
    brain = known_brain(scan)
    cut = tuple(slice(a, b) for a, b in zip(*box(brain), strict=True))
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in cut]
    part = replace(scan, voxels=scan.voxels[cut], affine=affine, brain=brain[cut])
    done = plant(
        part, seed=seed, volume_ml=volume_ml, contrast=contrast, kind=plan.kind, look=plan.look
    )
    voxels, lesion = scan.voxels.copy(), np.zeros(brain.shape, bool)
    voxels[cut], lesion[cut] = done.scan.voxels, done.lesion
    return replace(scan, voxels=voxels), lesion


def _place(lesion: Mask, prepared: Prepared) -> dict[str, Any]:
    scan = prepared.original
    inside = np.pad(known_brain(scan), 1)
    depth = np.asarray(ndimage.distance_transform_edt(inside, sampling=scan.spacing))
    middle = np.argwhere(lesion).mean(0)
    i, j, k = (prepared.placed[:3, :3] @ middle + prepared.placed[:3, 3]).tolist()
    return {"centre_mm": (i, j, k), "depth_mm": float(depth[1:-1, 1:-1, 1:-1][lesion].max())}


def _judged(finding: Finding, lesion: Mask, **facts: Any) -> Trial:
    """A trial on the scan's own grid."""
    scan = finding.scan
    brain = known_brain(scan)
    assert finding.mask is not None
    shared = overlap(finding.mask, lesion)
    return Trial(
        subject=scan.subject,
        found=is_found(finding.mask, lesion, scan.spacing),
        dice=float(shared.dice),
        recall=float(shared.recall),
        auprc=average_precision(finding.anomaly[brain], lesion[brain]),
        percentile=float(finding.percentile or 0.0),
        **facts,
    )


def is_found(mask: Mask, lesion: Mask, spacing: tuple[float, float, float]) -> bool:
    """Whether a component of a mask overlaps the lesion and is not far larger than it.

    Any overlap counts (Metrics Reloaded, small lesions), but a component of more than 2 ml and ten
    times the lesion does not: it would have been there without the lesion.
    """
    parts, _ = label_components(mask)
    hit = np.setdiff1d(np.unique(parts[lesion]), [0])
    if not hit.size:
        return False
    voxel_ml = float(np.prod(spacing)) / 1000
    sizes = np.bincount(parts.ravel())[hit] * voxel_ml
    most = max(OVER_ML, 10 * float(lesion.sum()) * voxel_ml)
    return bool(sizes.min() <= most)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Share of lesions found, of one volume and contrast."""

    volume_ml: float
    contrast: float
    found: int
    n: int
    low: float
    """Lower end of the 95 % interval (Wilson)."""
    high: float
    dice: float
    """Mean Dice."""
    recall: float
    """Mean share of the lesion, or of its place, in the mask."""

    @property
    def share(self) -> float:
        """Found of all."""
        return self.found / self.n


def sensitivities(trials: Sequence[Trial]) -> list[Sensitivity]:
    """Shares by volume and contrast, ascending; contrast 0 is chance."""
    rows = []
    for volume, contrast in sorted({(t.volume_ml, t.contrast) for t in trials}):
        own = [t for t in trials if (t.volume_ml, t.contrast) == (volume, contrast)]
        found = sum(t.found for t in own)
        interval = stats.binomtest(found, len(own)).proportion_ci(method="wilson")
        rows.append(
            Sensitivity(
                volume_ml=volume,
                contrast=contrast,
                found=found,
                n=len(own),
                low=float(interval.low),
                high=float(interval.high),
                dice=float(np.mean([t.dice for t in own])),
                recall=float(np.mean([t.recall for t in own])),
            )
        )
    return rows
