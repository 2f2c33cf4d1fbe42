"""A scan that is to be read, as a person or a table names it."""

from dataclasses import dataclass
from pathlib import Path

from brainuad.manifest import hash_of, sha256_of
from brainuad.read.any import read_any
from brainuad.read.sidecar import sidecar_of
from brainuad.scan import Scan


@dataclass(frozen=True, kw_only=True)
class Source:
    """One scan to be read."""

    path: Path
    brain: Path | None = None
    """File with the brain mask on the grid of the scan."""
    subject: str | None = None
    """None takes it from the name."""
    series: str | None = None
    """Number or UID of the DICOM series, where there are several."""
    modality: str | None = None
    """None takes it from name or header."""

    def read(self, modality: str | None = None) -> Scan:
        """The scan, checked."""
        return read_any(
            self.path,
            modality=self.modality or modality,
            subject=self.subject,
            brain=self.brain,
            series=self.series,
        )

    def fingerprint(self) -> str:
        """Hash of everything that the scan is read from, and how."""
        beside = sidecar_of(self.path)
        given = [self.path, self.brain, beside if beside.is_file() else None]
        files = [sha256_of(path) for path in given if path is not None]
        return hash_of([*files, self.subject, self.series, self.modality])
