"""Between which values a number about a scan passes, warns and rejects."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "reject"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Two ranges, one within the other."""

    reject: tuple[float, float]
    """A scan with a number outside of it is rejected."""
    warn: tuple[float, float]
    """A number outside of it, but not rejected, is a warning."""

    def status(self, value: float) -> Status:
        """What becomes of a scan with this number."""
        if not self.reject[0] <= value <= self.reject[1]:
            return "reject"
        return "pass" if self.warn[0] <= value <= self.warn[1] else "warn"

    def fact(self, value: float) -> dict[str, Any]:
        """The number with its range and what becomes of the scan, as plain data."""
        return {
            "value": value,
            "limits": _plain(self.reject),
            "usual": _plain(self.warn),
            "status": self.status(value),
        }


def _plain(span: tuple[float, float]) -> list[float]:
    """A range as plain data; what has no end is a share, and ends at 1."""
    low, high = span
    return [low, high if math.isfinite(high) else 1.0]


def at_least(limit: float, warn: float) -> Limits:
    """For a share: 1 is the best, and more, as rounding makes it, no fault."""
    return Limits(reject=(limit, math.inf), warn=(warn, math.inf))


def at_most(limit: float, warn: float) -> Limits:
    """For what is 0 at best."""
    return Limits(reject=(0.0, limit), warn=(0.0, warn))
