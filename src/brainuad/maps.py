"""The map of a prepared scan: split, ask the method piece by piece, join."""

import torch

from brainuad.method import Method
from brainuad.scan import Scan
from brainuad.slices import join, split
from brainuad.train import resolve_device
from brainuad.types import UsageError, Volume


def canonical_maps(
    method: Method, scan: Scan, *, view: str, seed: int, batch_size: int, device: str
) -> tuple[Volume, Volume | None]:
    """A method's map and healthy counterpart of a prepared scan, on the scan's grid.

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
    maps, healthies = [], []
    for start in range(0, len(pieces), batch_size):
        batch = pieces.batch(start, start + batch_size).to(place)
        with torch.inference_mode():
            found = method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))
        maps.append(found.anomaly.float().cpu())
        healthies += [] if found.healthy is None else [found.healthy.float().cpu()]
    anomaly = join(torch.cat(maps), pieces)
    return anomaly, join(torch.cat(healthies), pieces) if healthies else None
