"""Counts of scores in bins that need no range: one pass, constant memory, any order of parts.

The bins are the floating-point numbers themselves, cut after a few bits of the mantissa. So they
are fine near 0 and coarse far away (constant *relative* width), the same for every map, and two
halves of the data merge exactly. A bin holds the scores in (lower edge, upper edge], and bin 0
holds 0 alone: how many scores lie strictly above an edge is known exactly, not to the bin width.
"""

import numpy as np

from brainuad.types import DataError

MANTISSA = 10
"""Mantissa kept for metrics, in bits; 261,121 bins, relative width at most 2^-10 = 0.1 %."""
FINE_MANTISSA = 12
"""Mantissa kept for thresholds; about a million bins, relative width at most 2^-12 = 0.025 %."""
RESAMPLED_MANTISSA = 7
"""Mantissa kept of each scan for intervals, in bits; 32,641 bins, of which a map fills some 2,000;
relative width at most 2^-7 = 0.8 %."""
COARSE_MANTISSA = 4
"""Mantissa kept where memory is short; 4,081 bins, relative width at most 2^-4 = 6 %."""


def bin_count(mantissa: int = MANTISSA) -> int:
    """Number of bins for finite scores >= 0."""
    return (255 << mantissa) + 1


def bin_of(scores: np.ndarray, mantissa: int = MANTISSA) -> np.ndarray:
    """Number of the bin of each score; bins ascend with the score.

    Args:
        scores: finite, >= 0; taken as float32, the precision of anomaly maps.
        mantissa: bits of the mantissa that tell bins apart.
    """
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    shift = 23 - mantissa
    return ((bits + np.uint32((1 << shift) - 1)) >> np.uint32(shift)).astype(np.int64)


def upper_edge(bins: np.ndarray | int, mantissa: int = MANTISSA) -> np.ndarray:
    """Largest score of each bin, as float32."""
    bits = np.asarray(bins, np.uint32) << np.uint32(23 - mantissa)
    return np.asarray(bits.view(np.float32))


class Histogram:
    """Counts of scores >= 0, filled bit by bit.

    Args:
        mantissa: bits of the mantissa that tell bins apart; 12 means 8 MB.
    """

    def __init__(self, mantissa: int = FINE_MANTISSA):
        self.mantissa = mantissa
        self.counts = np.zeros(bin_count(mantissa), np.int64)
        self.highest = 0.0

    @property
    def total(self) -> int:
        """Number of scores so far."""
        return int(self.counts.sum())

    def add(self, scores: np.ndarray) -> None:
        """Count these scores too."""
        bins = bin_of(scores, self.mantissa).ravel()
        self.counts += np.bincount(bins, minlength=len(self.counts))
        self.highest = max(self.highest, float(np.max(np.asarray(scores, np.float32), initial=0)))

    def merge(self, other: "Histogram") -> None:
        """Count everything that another histogram of the same bins has counted."""
        if other.mantissa != self.mantissa:
            raise DataError(
                f"histogram: cannot merge bins of {other.mantissa} mantissa bits into bins of "
                f"{self.mantissa}; count both with the same bins"
            )
        self.counts += other.counts
        self.highest = max(self.highest, other.highest)

    def threshold_at(self, rate: float) -> tuple[float, float]:
        """Lowest edge that at most this share of the scores lies strictly above.

        Returns:
            The threshold, and the share of scores strictly above it. That share is exact; it
            falls short of ``rate`` by less than the share of scores in the bin below the edge.
        """
        total = self.total
        if not total:
            raise DataError("histogram: holds no scores, so it has no threshold; add scores first")
        above = total - np.cumsum(self.counts)
        chosen = int(np.argmax(above <= rate * total * (1 + 1e-12)))
        edge = float(upper_edge(chosen, self.mantissa))
        return min(edge, self.highest), float(above[chosen] / total)
