"""Numbers about brain masks."""

import numpy as np

from brainuad.scan import Scan
from brainuad.types import DataError, Mask

CUT_MM2 = 500.0
"""A face of the grid with more brain than this is where the field of view cuts the brain."""


def known_brain(scan: Scan) -> Mask:
    """The brain mask of a scan; an error when no step has found it yet."""
    if scan.brain is None:
        raise DataError(f"{scan.subject}: no brain mask yet; put the brain step first")
    return scan.brain


def brain_ml(scan: Scan) -> float:
    """Volume of the brain of a scan in ml."""
    return float(known_brain(scan).sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000)


def dice(a: Mask, b: Mask) -> float:
    """Overlap of two masks, 2 |A and B| / (|A| + |B|), in [0, 1]; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def cut_axes(scan: Scan) -> tuple[int, ...]:
    """Axes at whose ends the brain goes on beyond the field of view."""
    brain = known_brain(scan)
    found = []
    for axis in range(3):
        i, j = (scan.spacing[a] for a in range(3) if a != axis)
        ends = [int(np.take(brain, end, axis).sum()) * i * j for end in (0, -1)]
        if max(ends) > CUT_MM2:
            found.append(axis)
    return tuple(found)
