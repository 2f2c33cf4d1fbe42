"""What a detector found in one scan, on the scan's own grid, and how it is written down."""

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from brainuad.calibrate import Calibration
from brainuad.encoding import brain_of
from brainuad.manifest import atomic_path, file_errors, write_json
from brainuad.nifti import Kind, write_volume
from brainuad.postprocess import Postprocess, components
from brainuad.prepare import Prepared
from brainuad.scan import Scan
from brainuad.scan_file import scan_stem
from brainuad.types import Mask, UsageError, Volume

Level = Literal["minimal", "standard", "full"]
OVERFLOW = 0.05
"""Share of a brain from which on a mask is doubted, ..."""
OVERFLOW_RATES = 5
"""... or so many times the rate of healthy voxels, where that is more: 25 % at a rate of 5 %."""
COMPONENT_COLUMNS: tuple[str, ...] = (
    "index",
    "volume_mm3",
    "max",
    "mean",
    "centroid_x",
    "centroid_y",
    "centroid_z",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """Anomaly map, mask, healthy counterpart and score of one scan; arrays in RAS+ on its grid.

    Attributes:
        scan: the scan as it was read, with its brain.
        prepared: the scan as the detector saw it.
        anomaly: >= 0, larger is less healthy, 0 outside the brain.
        healthy: the scan as a healthy person's, in the scan's own intensity; None where the method
            has no such thing.
        mask: where the map exceeds the calibrated threshold; None without calibration.
        components: one row per connected part of the mask.
        score: one number for the scan; larger is less healthy.
        percentile: share of healthy calibration scans with a lower score, in percent.
        record: threshold and its source, versions, hashes, seed, timings.
    """

    scan: Scan
    prepared: Prepared
    anomaly: Volume
    healthy: Volume | None
    mask: Mask | None
    components: list[dict[str, Any]]
    score: float
    percentile: float | None
    record: Mapping[str, Any] = field(default_factory=dict)

    def marked(self, calibration: Calibration, postprocess: Postprocess, rate: float) -> "Finding":
        """This finding with the mask, components and percentile that a calibration gives.

        Args:
            calibration: of the detector that made the map.
            postprocess: of the same detector.
            rate: healthy voxel false-positive rate of the threshold.
        """
        threshold = calibration.threshold(rate)
        mask = postprocess.mask(self.anomaly, threshold, self.scan.spacing)
        source = {
            "value": threshold,
            "source": "healthy-fpr",
            "rate": rate,
            "scans": calibration.n,
            "cohort": calibration.cohort,
        }
        p_value = calibration.p_value(self.score)
        brain = brain_of(self.scan)
        share = float(np.count_nonzero(mask & brain) / max(1, np.count_nonzero(brain)))
        record = {"threshold": source, "p_value": p_value, "remarks": overflow(share, rate)}
        return replace(
            self,
            mask=mask,
            components=components(mask, self.anomaly, self.scan.affine, self.scan.spacing),
            percentile=calibration.percentile(self.score),
            record={**self.record, **record},
        )

    def save(
        self,
        out: Path | str,
        *,
        level: Level = "standard",
        page: Callable[[Path, "Finding"], None] | None = None,
    ) -> dict[str, Path]:
        """Write the outputs of this scan into the folder ``out``.

        ``minimal``: mask, components and record; ``standard``: also map, healthy counterpart and
        page; ``full``: also the prepared scan and its brain. Every file appears whole or not at
        all, and ``X_uad.json`` last: where it lies, the scan is done.

        Args:
            out: folder, made where it is missing.
            level: how much to write.
            page: writes the HTML page of the scan to a path.

        Returns:
            The files by kind.

        Raises:
            UsageError: when the detector was not calibrated, so there is no mask.
        """
        if self.mask is None:
            raise UsageError(
                f"{self.scan.subject}: the detector has no threshold, so there is no mask; "
                "run `brainuad calibrate` with healthy scans first"
            )
        with staging(Path(out)) as stage:
            files = self._write(stage, level, page)
        return {kind: Path(out) / name for kind, name in files.items()}

    def _write(
        self, folder: Path, level: Level, page: Callable[[Path, "Finding"], None] | None
    ) -> dict[str, str]:
        stem = output_stem(self.scan)
        files: dict[str, str] = {}
        for kind, volume, what in self._volumes(level):
            files[kind] = f"{stem}_{kind}.nii.gz"
            write_volume(folder / files[kind], volume, like=self.scan, kind=what)
        files["components"] = f"{stem}_components.tsv"
        write_components(folder / files["components"], self.components)
        if page is not None and level != "minimal":
            files["page"] = f"{stem}.html"
            page(folder / files["page"], self)
        write_json(folder / f"{stem}_uad.json", self.summary(files))
        return {**files, "record": f"{stem}_uad.json"}

    def _volumes(self, level: Level) -> list[tuple[str, Any, Kind]]:
        assert self.mask is not None
        volumes: list[tuple[str, Any, Kind]] = [("mask", self.mask, "mask")]
        if level != "minimal":
            volumes.append(("anomalymap", self.anomaly, "map"))
            healthy = self.scan.voxels if self.healthy is None else self.healthy
            volumes.append(("healthy", healthy, "image"))
        if level == "full" and self.scan.brain is not None:
            volumes.append(("brain", self.scan.brain, "mask"))
        return volumes

    def summary(self, files: Mapping[str, str]) -> dict[str, Any]:
        """What ``X_uad.json`` holds."""
        return {
            "subject": self.scan.subject,
            "modality": self.scan.modality,
            "score": self.score,
            "healthy_percentile": self.percentile,
            "components": len(self.components),
            "anomaly_ml": sum(row["volume_mm3"] for row in self.components) / 1000,
            "healthy_counterpart": self.healthy is not None,
            **self.record,
            "preparation": self.prepared.report,
            "files": dict(files),
        }


def overflow(share: float, rate: float) -> list[str]:
    """What to think of a mask that takes a large share of the brain; nothing where it does not."""
    if share <= max(OVERFLOW, OVERFLOW_RATES * rate):
        return []
    return [
        f"{100 * share:.0f} % of the brain is marked, where {100 * rate:g} % of a healthy one is; "
        "another scanner, coil or field of view does this as well as disease: look at the "
        "picture, and calibrate on healthy scans of the same kind (brainuad calibrate)"
    ]


def in_own_intensity(prepared: Prepared, healthy: Float[np.ndarray, "a b c"]) -> Volume:
    """The healthy counterpart on the scan's grid and in its intensity; the scan outside the brain.

    Undoes the linear stretch of the recipe. After an equalising recipe, whose values are ranks, the
    scan's own grey value of that rank is taken; a curve of landmarks is followed backwards.
    """
    scan = prepared.original
    brain = brain_of(scan)
    values, inside = prepared.to_original(healthy)[brain], scan.voxels[brain]
    if any(s.get("equalise") for s in prepared.report["recipe"]["steps"]):
        values = np.quantile(inside, np.clip(values, 0, 1))
    elif curve := prepared.report.get("intensity_curve"):
        values = np.interp(values, curve[1], curve[0])
    else:
        low, high = prepared.report["intensity"]
        values = low + values * (high - low)
    out = scan.voxels.copy()
    out[brain] = values
    return out


def output_stem(scan: Scan) -> str:
    """First part of the names of a scan's outputs: its file's name without the extension."""
    return scan_stem(scan.source.path) if scan.source is not None else scan.subject


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A hidden folder in ``out`` whose files move there together when the block succeeds.

    What lay in ``out`` before stays untouched until then. ``*_uad.json`` moves last.
    """
    with file_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as name:
            yield Path(name)
            files = sorted(Path(name).iterdir(), key=lambda f: f.name.endswith("_uad.json"))
            for file in files[-1:]:
                (out / file.name).unlink(missing_ok=True)
            for file in files:
                file.replace(out / file.name)


def write_components(path: Path, rows: list[dict[str, Any]]) -> None:
    """Tab-separated table of components; volumes in mm3, centroids in RAS+ mm of the scan."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COMPONENT_COLUMNS, delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
