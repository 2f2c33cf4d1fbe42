"""A detector: method, preparation, post-processing and calibration, saved together as one folder."""

import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainuad.calibrate import Calibration, Calibrator, check_same, scan_score
from brainuad.config import build, to_dict
from brainuad.detect import Finding
from brainuad.detector_files import hash_of_weights, read_detector, write_detector
from brainuad.card import card
from brainuad.manifest import run_manifest
from brainuad.method import Method, method_class, preset_options
from brainuad.postprocess import Postprocess, components
from brainuad.prepare import Prepared, Recipe, prepare_scan, recipe as named_recipe
from brainuad.scan import Scan, read_scan
from brainuad.slices import join, split
from brainuad.store import Store
from brainuad.train import Trainer, TrainSettings, resolve_device
from brainuad.types import DataError, UsageError, Volume

RATE = 0.01
"""Healthy voxel false-positive rate of the mask."""


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Everything but the weights."""

    method: str
    """Name of the method."""
    preset: str = "default"
    """Preset that the options started from."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the method that differ from its own defaults."""
    modality: str = "T1w"
    """The modality that it was fitted on and takes."""
    recipe: Recipe
    """From the file to the tensor."""
    view: str = "axial"
    """What the method sees: ``axial`` slices or the whole ``volume``."""
    postprocess: Postprocess = field(default_factory=Postprocess)
    """What is done to the map before thresholds."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted on, how and by what."""


def new_method(config: DetectorConfig, *, seed: int = 0) -> Method:
    """The method with its starting parameters, drawn from ``seed`` alone."""
    kind = method_class(config.method)
    options = build(kind.Options, dict(config.options), where=config.method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(options)


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the settings of ``top``, nested settings merged."""
    out = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out


class Detector:
    """Says, voxel by voxel, how unlike a healthy brain a scan is.

    Attributes:
        config: how it was made.
        method: the fitted method.
        calibration: thresholds from healthy scans, or None before :meth:`calibrate`.
        name: for pages and file names.
    """

    def __init__(
        self,
        config: DetectorConfig,
        method: Method,
        *,
        calibration: Calibration | None = None,
        name: str = "",
        weights_hash: str = "",
    ):
        self.config = config
        self.method = method
        self.calibration = calibration
        self.name = name or f"{config.method}-{config.preset}"
        self.weights_hash = weights_hash or hash_of_weights(method.state_dict())

    @classmethod
    def create(
        cls,
        method: str,
        *,
        preset: str = "default",
        options: Mapping[str, Any] | None = None,
        recipe: str | Recipe = "default-t1",
        postprocess: Postprocess | None = None,
        modality: str = "T1w",
    ) -> "Detector":
        """An unfitted detector.

        Args:
            method: name of a method, see ``brainuad methods``.
            preset: named set of its options.
            options: options on top of the preset's, nested as the options are.
            recipe: preparation, by name or as an object.
            postprocess: what is done to the map; the default suits 2 mm T1w.
            modality: what it will be fitted on.

        Raises:
            UsageError: unknown method, preset, option or recipe; the message lists the known ones.
        """
        kind = method_class(method)
        chosen = merged(preset_options(method, preset), options or {})
        config = DetectorConfig(
            method=method,
            preset=preset,
            options=chosen,
            modality=modality,
            recipe=named_recipe(recipe) if isinstance(recipe, str) else recipe,
            view=kind.views[0],
            postprocess=postprocess or Postprocess(),
        )
        return cls(config, new_method(config))

    def fit(
        self,
        store: Store,
        settings: TrainSettings | None = None,
        *,
        work: Path,
        device: str = "cpu",
        progress: bool = True,
        **trainer: Any,
    ) -> "Detector":
        """Fit the method on every scan of a store of prepared healthy scans; resumes in ``work``.

        Raises:
            DataError: when the store was prepared with another recipe.
        """
        if store.recipe_hash != self.config.recipe.hash:
            raise DataError(
                f"{store.path}: prepared with recipe {store.recipe_hash}, this detector has "
                f"{self.config.recipe.hash}; prepare the scans again"
            )
        settings = settings or TrainSettings()
        self.method = new_method(self.config, seed=settings.seed)
        minimise = Trainer(
            settings,
            folder=work,
            device=device,
            progress=progress,
            shares=self.method.stages,
            **trainer,
        )
        self.method.to(resolve_device(device))
        self.method.fit(store.batches(self.config.view), minimise=minimise)
        self.method.to("cpu").eval()
        self.weights_hash = hash_of_weights(self.method.state_dict())
        self.calibration = None
        self.config = replace(
            self.config,
            provenance=run_manifest(
                command="fit",
                config={"training": to_dict(settings)},
                seed=settings.seed,
                inputs={s: store.input_hash(s) for s in store.subjects},
            ),
        )
        return self

    def calibrate(
        self,
        scans: Iterable[Prepared],
        *,
        cohort: str = "",
        seed: int = 0,
        batch_size: int = 16,
        device: str = "cpu",
    ) -> Calibration:
        """Thresholds and score distribution from healthy scans that were not fitted on.

        Every map goes the whole way that a detection goes, back to the scan's own grid.

        Raises:
            DataError: when a scan was part of the fit, or there is none.
        """
        fitted = set(self.config.provenance.get("inputs", {}))
        calibrator = Calibrator()
        for prepared in scans:
            subject = prepared.original.subject
            if subject in fitted:
                raise DataError(
                    f"{subject}: was fitted on, so it cannot calibrate; give other healthy scans"
                )
            found = self.detect_prepared(prepared, seed=seed, batch_size=batch_size, device=device)
            calibrator.add(found.anomaly, prepared.original.brain, score=found.score, subject=subject)
        self.calibration = calibrator.finish(cohort=cohort, **self.hashes())
        return self.calibration

    def hashes(self) -> dict[str, str]:
        """What a threshold depends on: post-processing, recipe and weights."""
        return {
            "postprocess_hash": self.config.postprocess.hash,
            "recipe_hash": self.config.recipe.hash,
            "weights_hash": self.weights_hash,
        }

    def detect(
        self,
        scan: Scan | Path | str,
        *,
        brain: Path | str | None = None,
        seed: int = 0,
        batch_size: int = 16,
        device: str = "cpu",
        rate: float = RATE,
    ) -> Finding:
        """Anomalies of one scan, on the scan's own grid.

        Args:
            scan: a NIfTI file, or a scan that was read already.
            brain: brain mask on the scan's grid; found by the recipe when not given.
            seed: of the run; the scan's name is mixed in, so cohorts need one seed only.
            batch_size: slices at once; does not change the result.
            device: ``cpu``, ``cuda:0``, ``mps``; never another than asked for.
            rate: healthy voxel false-positive rate whose threshold makes the mask.

        Raises:
            DataError: the scan cannot be used, or the modality is another than fitted on.
        """
        if not isinstance(scan, Scan):
            scan = read_scan(scan, brain=brain)
        elif brain is not None:
            raise UsageError(f"{scan.subject}: give the brain mask to read_scan, not to detect")
        prepared = prepare_scan(self._with_modality(scan), self.config.recipe)
        return self.detect_prepared(
            prepared, seed=seed, batch_size=batch_size, device=device, rate=rate
        )

    def _with_modality(self, scan: Scan) -> Scan:
        wanted = self.config.modality
        if scan.modality not in ("unknown", wanted):
            raise DataError(
                f"{scan.subject}: is {scan.modality}, detector {self.name} takes {wanted}; "
                f"choose a detector for {scan.modality}"
            )
        return replace(scan, modality=wanted)

    def detect_prepared(
        self,
        prepared: Prepared,
        *,
        seed: int = 0,
        batch_size: int = 16,
        device: str = "cpu",
        rate: float = RATE,
    ) -> Finding:
        """As :meth:`detect`, for a scan that went through this detector's recipe already."""
        started = time.perf_counter()
        anomaly, healthy = self.canonical_maps(prepared.scan, seed, batch_size, device)
        brain = prepared.scan.brain
        assert brain is not None
        anomaly = self.config.postprocess.apply(anomaly, brain, prepared.scan.spacing)
        score = scan_score(anomaly, brain)
        native = np.maximum(prepared.to_original(anomaly), 0) * prepared.original.brain
        finding = Finding(
            scan=prepared.original,
            prepared=prepared,
            anomaly=native.astype(np.float32),
            healthy=None if healthy is None else prepared.healthy_to_original(healthy),
            mask=None,
            components=[],
            score=score,
            percentile=None,
            record=self.record(seed, time.perf_counter() - started),
        )
        return finding if self.calibration is None else self.thresholded(finding, rate)

    def canonical_maps(
        self, scan: Scan, seed: int, batch_size: int, device: str
    ) -> tuple[Volume, Volume | None]:
        """The method's map and healthy counterpart on the detector's grid."""
        if batch_size < 1:
            raise UsageError(f"detect: batch size is {batch_size}; give 1 or more")
        pieces = split(scan, self.config.view)
        method = self.method.to(resolve_device(device)).eval()
        maps, healthies = [], []
        for start in range(0, len(pieces.keys), batch_size):
            batch = pieces.batch(start, start + batch_size).to(resolve_device(device))
            with torch.inference_mode():
                found = method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect"))
            maps.append(found.anomaly.float().cpu())
            healthies += [] if found.healthy is None else [found.healthy.float().cpu()]
        anomaly = join(torch.cat(maps), pieces)
        return anomaly, join(torch.cat(healthies), pieces) if healthies else None

    def thresholded(self, finding: Finding, rate: float = RATE) -> Finding:
        """The finding with the mask, components and percentile that the calibration gives."""
        calibration = self.calibration
        assert calibration is not None
        check_same(calibration, **self.hashes())
        threshold = calibration.threshold(rate)
        post, scan = self.config.postprocess, finding.scan
        mask = post.mask(finding.anomaly, threshold, scan.spacing)
        source = {
            "value": threshold,
            "source": "healthy-fpr",
            "rate": rate,
            "scans": calibration.scans,
            "cohort": calibration.cohort,
        }
        return replace(
            finding,
            mask=mask,
            components=components(mask, finding.anomaly, scan.affine, scan.spacing),
            percentile=calibration.percentile(finding.score),
            record={
                **finding.record,
                "threshold": source,
                "p_value": calibration.p_value(finding.score),
            },
        )

    def record(self, seed: int, seconds: float) -> dict[str, Any]:
        """Where a finding comes from: detector, hashes, versions and time."""
        return {
            "detector": self.name,
            "method": self.config.method,
            "preset": self.config.preset,
            "hashes": self.hashes(),
            "seed": seed,
            "seconds": round(seconds, 3),
            "run": run_manifest(command="detect", config={}, seed=seed, inputs={}),
        }

    def save(self, folder: Path | str) -> Path:
        """Write the detector as a folder, whole or not at all; an older one there is replaced."""
        return write_detector(
            Path(folder),
            config=to_dict(self.config),
            state=self.method.state_dict(),
            calibration=None if self.calibration is None else self.calibration.to_dict(),
            card=card(self.name, to_dict(self.config), self.calibration),
        )

    @classmethod
    def load(cls, folder: Path | str) -> "Detector":
        """Read a detector folder.

        Raises:
            MissingError: the folder or one of its parts is not there.
            DataError: a part is damaged, or parts do not belong together.
        """
        parts = read_detector(Path(folder))
        config = build(DetectorConfig, parts.config, where=f"{folder}/detector.yaml")
        method = new_method(config)
        try:
            method.restore(parts.state)
        except (RuntimeError, KeyError) as error:
            raise DataError(
                f"{folder}: weights do not fit method {config.method}; fit the detector again"
            ) from error
        calibration = None
        if parts.calibration is not None:
            calibration = Calibration.from_dict(parts.calibration)
        detector = cls(
            config,
            method.eval(),
            calibration=calibration,
            name=Path(folder).resolve().name,
            weights_hash=parts.weights_hash,
        )
        if calibration is not None:
            check_same(calibration, **detector.hashes())
        return detector
