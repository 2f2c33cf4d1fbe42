"""Where a fit keeps what it may go on with: prepared scans, checkpoints, the settings it has."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainuad.cli.basics import each
from brainuad.cli.inputs import Source
from brainuad.config import load_yaml, parse_yaml
from brainuad.detector import Detector
from brainuad.fit_settings import FitSettings
from brainuad.manifest import sha256_file, write_text
from brainuad.pack import read_pack
from brainuad.prepare import prepare_scan
from brainuad.scan import Scan
from brainuad.store import Store
from brainuad.types import UsageError

SETTINGS = "settings.yaml"


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """A folder that lives from the start of a fit to its end."""

    path: Path

    @classmethod
    def at(cls, path: Path, settings: FitSettings, *, resume: bool) -> "Workplace":
        """The folder, new or as an unfinished fit with the same settings left it.

        Raises:
            UsageError: it holds something else, or a fit with other settings.
        """
        place = cls(path=path)
        mark = path / SETTINGS
        if path.is_dir() and any(path.iterdir()) and not mark.exists():
            raise UsageError(f"{path}: holds other files; choose another folder with --work")
        if mark.exists() and not resume:
            place.remove()
        if mark.exists() and load_yaml(mark) != load_settings(settings):
            raise UsageError(
                f"{path}: holds an unfinished fit with other settings; repeat that command to go "
                "on with it, or add --fresh to drop it"
            )
        write_text(mark, settings.text())
        return place

    @property
    def training(self) -> Path:
        """Checkpoints and log."""
        return self.path / "training"

    def remove(self) -> None:
        """Delete everything; the detector has been saved, or is not wanted."""
        shutil.rmtree(self.path)

    def filled(
        self, detector: Detector, found: Sequence[Source], packed: Path | None, *, quiet: bool
    ) -> Store:
        """The store with all these scans prepared, or with those of a packed file.

        Scans that are there already are left alone.

        Raises:
            typer.Exit: with code 1 when some scans could not be prepared.
            UsageError: the store holds scans that are not among these.
        """
        if packed is not None:
            return read_pack(packed, self.path / "store", progress=not quiet)
        subjects: set[str] = set()

        def one(number: int) -> str:
            source = found[number]
            scan = source.read(detector.config.modality)
            if scan.subject in subjects:
                raise UsageError(
                    f"{source.path}: a second scan of {scan.subject}; name its subject in a table"
                )
            subjects.add(scan.subject)
            return self._add(detector, source, scan)

        each([s.path for s in found], one, doing="prepare", quiet=quiet)
        store = Store.open(self.path / "store")
        others = sorted(set(store.subjects) - subjects)
        if others:
            raise UsageError(
                f"{self.path}: holds {others[0]}, which is not given now; add --fresh to begin anew"
            )
        return store

    def _add(self, detector: Detector, source: Source, scan: Scan) -> str:
        digest = sha256_file(source.path)
        path = self.path / "store"
        if path.exists():
            store = Store.open(path, recipe_hash=detector.config.recipe.hash)
            if store.has(scan.subject):
                if store.input_hash(scan.subject) == digest:
                    return "prepared before"
                raise UsageError(f"{source.path}: has changed since; add --fresh to begin anew")
        prepared = prepare_scan(scan, detector.config.recipe)
        store = Store.create(
            path,
            recipe_hash=detector.config.recipe.hash,
            affine=prepared.scan.affine,
            shape=prepared.scan.voxels.shape,
            modality=prepared.scan.modality,
        )
        store.add(prepared.scan, input_hash=digest)
        return f"prepared ({prepared.report.get('status', 'pass')})"


def load_settings(settings: FitSettings) -> dict[str, object]:
    """The settings as they read after a round trip through YAML."""
    return parse_yaml(settings.text(), where="settings")
