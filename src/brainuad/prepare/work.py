"""What is handed from one preparation step to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from brainuad.scan import Scan
from brainuad.types import Affine


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A scan on its way to the detector's grid.

    Attributes:
        scan: as the steps have left it so far; its affine leads to millimetres of ``placed``.
        original: on the grid of the file, RAS+ order; gets the brain mask.
        placed: voxel indices of ``original`` to millimetres of the space reached so far: those of
            the file, or of the template once registered.
        template: what the scan has been registered to.
        notes: what the steps found out, for the report.
    """

    scan: Scan
    original: Scan
    placed: Affine
    template: str = "mni152"
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, scan: Scan) -> "Work":
        """A scan that no step has touched."""
        return cls(scan=scan, original=scan, placed=scan.affine)

    def with_scan(self, **changes: Any) -> "Work":
        """The same work with some fields of the current scan replaced."""
        return replace(self, scan=replace(self.scan, **changes))

    def note(self, **facts: Any) -> "Work":
        """The same work with more facts for the report."""
        return replace(self, notes={**self.notes, **facts})


Step: TypeAlias = Callable[[Work], Work]
"""A preparation step: a frozen dataclass that is called with the work so far."""
