"""The map of a prepared scan: split, ask the method piece by piece, join; then all healthy ones."""

from dataclasses import dataclass, field

import torch

from brainuad.method import Method
from brainuad.normative import Normative, NormativeOptions, normer
from brainuad.pool import Pool
from brainuad.scan import Scan
from brainuad.slices import join, split
from brainuad.store import Store
from brainuad.train import resolve_device
from brainuad.types import UsageError, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """What a method says of a prepared scan, on the scan's grid.

    Attributes:
        anomaly: the map.
        healthy: the scan as a healthy one; None where the method has no such thing.
        slice_scores: position of each slice with brain -> how unlike a healthy one it is as a
            whole; empty where the method says nothing of that.
    """

    anomaly: Volume
    healthy: Volume | None
    slice_scores: dict[int, float] = field(default_factory=dict)

    @property
    def notes(self) -> dict[str, dict[int, float]]:
        """What the record of a finding holds of this, beside the map."""
        return {"slice_scores": self.slice_scores} if self.slice_scores else {}


def canonical_maps(
    method: Method, scan: Scan, *, view: str, seed: int, batch_size: int, device: str
) -> Maps:
    """What a method says of a prepared scan, on the scan's grid.

    Args:
        method: fitted.
        scan: as prepared for it.
        view: ``axial``, ``axial3`` or ``volume``.
        seed: of the run; every image has its own stream.
        batch_size: images at once.
        device: where to compute.
    """
    if batch_size < 1:
        raise UsageError(f"detect: batch size is {batch_size}; give 1 or more")
    pieces, place = split(scan, view), resolve_device(device)
    method = method.to(place).eval()
    method.pixel_mm = tuple(map(float, scan.spacing[: pieces.x.ndim - 2]))
    maps, healthies, scores = [], [], []
    for start in range(0, len(pieces), batch_size):
        batch = pieces.batch(start, start + batch_size).to(place)
        with torch.inference_mode():
            found = method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))
        maps.append(found.anomaly.float().cpu())
        healthies += [] if found.healthy is None else [found.healthy.float().cpu()]
        scores += [] if found.score is None else found.score.tolist()
    return Maps(
        anomaly=join(torch.cat(maps), pieces),
        healthy=join(torch.cat(healthies), pieces) if healthies else None,
        slice_scores=dict(zip(pieces.indices, scores, strict=False)),
    )


def normative_of(
    method: Method,
    store: Store,
    options: NormativeOptions | None,
    *,
    view: str,
    device: str,
    progress: bool,
) -> Normative | None:
    """What healthy scans of a store show, or None where it is not wanted.

    Args:
        method: fitted.
        store: prepared healthy scans.
        options: how maps are compared with healthy people.
        view: ``axial`` or ``volume``.
        device: where to compute.
        progress: show a bar.
    """
    if options is None:
        return None

    def compared(subject: str) -> None:
        scan = store.scan(subject)
        maps = canonical_maps(method, scan, view=view, seed=0, batch_size=16, device=device)
        model.add(options.compared(scan, maps.anomaly, maps.healthy), scan)

    model = normer(options, store.shape)
    pool = Pool(1, progress=progress)
    for _ in pool.map(compared, options.chosen(store.subjects), "compare with healthy people"):
        pass
    return model.finish()
