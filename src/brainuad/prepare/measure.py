"""Numbers about brain masks."""

import numpy as np

from brainuad.scan import Scan
from brainuad.types import Mask


def brain_ml(scan: Scan) -> float:
    """Volume of the brain of a scan in ml."""
    assert scan.brain is not None
    return float(scan.brain.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000)


def dice(a: Mask, b: Mask) -> float:
    """Overlap of two masks, 2 |A and B| / (|A| + |B|), in [0, 1]; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
