"""A detector: method, preparation, post-processing and calibration, saved as one folder."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.calibrate import Calibration, Calibrator, check_same, check_unfitted
from brainuad.card import card
from brainuad.config import to_dict
from brainuad.detect import Finding, in_own_intensity
from brainuad.detector_config import DetectorConfig, configured, new_method, training_settings
from brainuad.detector_files import hash_of_weights, read_detector, write_detector
from brainuad.detector_fit import fitted
from brainuad.encoding import brain_of
from brainuad.joint import Joint, learned, maps_of, taken_over
from brainuad.manifest import run_manifest
from brainuad.method import Method
from brainuad.nifti import read_scan
from brainuad.normative import Normative, NormativeOptions
from brainuad.postprocess import Postprocess, scan_score
from brainuad.prepare import Prepared, Recipe, prepare_scan
from brainuad.prepare import recipe as named_recipe
from brainuad.scan import Scan
from brainuad.shipped import detector_folder
from brainuad.store import Store
from brainuad.train import TrainSettings
from brainuad.types import DataError, UsageError

RATE = 0.01
"""Healthy voxel false-positive rate of the mask."""


class Detector:
    """Says, voxel by voxel, how unlike a healthy brain a scan is.

    Attributes:
        config: how it was made.
        method: the fitted method.
        calibration: thresholds from healthy scans, or None before :meth:`calibrate`.
        normative: what healthy people show at each place, where the settings ask for it.
        name: for pages and file names.
    """

    def __init__(
        self,
        config: DetectorConfig,
        method: Method,
        *,
        calibration: Calibration | None = None,
        normative: Normative | None = None,
        name: str = "",
        weights_hash: str = "",
    ):
        self.config = config
        self.method = method
        self.calibration = calibration
        self.normative = normative
        self.name = name or f"{config.method}-{config.preset}"
        self.weights_hash = weights_hash or hash_of_weights(self.state())

    @classmethod
    def create(
        cls,
        method: str,
        *,
        preset: str = "default",
        options: Mapping[str, Any] | None = None,
        recipe: str | Recipe = "default-t1",
        postprocess: Postprocess | None = None,
        normative: NormativeOptions | None = None,
        modality: str = "T1w",
    ) -> "Detector":
        """An unfitted detector.

        Args:
            method: name of a method, see ``brainuad methods``.
            preset: named set of its options.
            options: options on top of the preset's, nested as the options are.
            recipe: preparation, by name or as an object.
            postprocess: what is done to the map; the default suits 2 mm T1w.
            normative: how the map is compared with healthy people; None: it is not.
            modality: what it will be fitted on.

        Raises:
            UsageError: unknown method, preset, option or recipe; the message lists the known ones.
        """
        config = configured(
            method,
            preset,
            options or {},
            modality=modality,
            recipe=named_recipe(recipe) if isinstance(recipe, str) else recipe,
            postprocess=postprocess or Postprocess(),
            normative=normative,
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
        settings = settings or training_settings(self.config.method, preset=self.config.preset)
        made = fitted(
            self.config, store, settings, work=work, device=device, progress=progress, **trainer
        )
        self.method, self.normative, self.config = made
        self.weights_hash = hash_of_weights(self.state())
        self.calibration = None
        return self

    def calibrate(
        self,
        scans: Iterable[Prepared],
        *,
        cohort: str = "",
        namesakes: bool = False,
        seed: int = 0,
        batch_size: int = 16,
        device: str = "cpu",
    ) -> Calibration:
        """Thresholds and score distribution from healthy scans that were not fitted on.

        Every map goes the whole way that a detection goes, back to the scan's own grid.
        With ``namesakes`` who has the name of somebody in the fit is another person.

        Raises:
            DataError: when a scan was part of the fit, or there is none.
        """
        fitted = () if namesakes else self.config.provenance.get("inputs", {})
        calibrator = Calibrator()
        for prepared in scans:
            subject = prepared.original.subject
            check_unfitted(subject, fitted)
            found = self.detect_prepared(prepared, seed=seed, batch_size=batch_size, device=device)
            brain = brain_of(prepared.original)
            calibrator.add(found.anomaly, brain, score=found.score, subject=subject)
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
        force: bool = False,
        **options: Any,
    ) -> Finding:
        """Anomalies of one scan, on the scan's own grid.

        Args:
            scan: a NIfTI file, or a scan that was read already.
            brain: brain mask on the scan's grid; found by the recipe when not given.
            force: go on where the scan is, or looks like, another contrast than the detector knows.
            options: seed, batch size, device and rate, see :meth:`detect_prepared`.

        Raises:
            DataError: the scan cannot be used, or is of another modality or contrast.
        """
        if not isinstance(scan, Scan):
            scan = read_scan(scan, brain=brain)
        elif brain is not None:
            raise UsageError(f"{scan.subject}: give the brain mask to read_scan, not to detect")
        recipe = self.config.recipe.forced() if force else self.config.recipe
        prepared = prepare_scan(self.config.accepted(scan, self.name, force=force), recipe)
        if self.config.contradicts(scan):
            prepared.report["named"] = scan.modality
        known = self.method.normative if isinstance(self.method, Joint) else self.normative
        if known is not None and not force:
            known.check_contrast(prepared.scan, self.name)
        return self.detect_prepared(prepared, **options)

    def detect_prepared(
        self,
        prepared: Prepared,
        *,
        seed: int = 0,
        batch_size: int = 16,
        device: str = "cpu",
        rate: float = RATE,
    ) -> Finding:
        """As :meth:`detect`, for a scan that this detector's recipe prepared already.

        Args:
            prepared: the scan.
            seed: of the run; the scan's name is mixed in, so cohorts need one seed only.
            batch_size: slices at once; does not change the result.
            device: ``cpu``, ``cuda:0``, ``mps``; never another than asked for.
            rate: healthy false-positive rate whose threshold makes the mask.
        """
        started = time.perf_counter()
        how: Any = {"view": self.config.view, "batch_size": batch_size, "device": device}
        found = maps_of(self.method, self.normative, prepared.scan, seed=seed, **how)
        brain = brain_of(prepared.scan)
        anomaly = self.config.postprocess.apply(found.anomaly, brain, prepared.scan.spacing)
        score = scan_score(anomaly, brain)
        native = np.maximum(prepared.to_original(anomaly), 0)
        finding = Finding(
            scan=prepared.original,
            prepared=prepared,
            anomaly=native.astype(np.float32),
            healthy=None if found.healthy is None else in_own_intensity(prepared, found.healthy),
            mask=None,
            components=[],
            score=score,
            percentile=None,
            record={**self.record(seed, time.perf_counter() - started), **found.notes},
        )
        if self.calibration is None:
            return finding
        check_same(self.calibration, **self.hashes())
        return finding.marked(self.calibration, self.config.postprocess, rate)

    def identity(self) -> dict[str, Any]:
        """What makes it this detector, whatever its thresholds: settings and hash of weights."""
        return {"detector": self.config.to_dict(), "weights_sha256": self.weights_hash}

    def state(self) -> dict[str, Any]:
        """All that it learned, by name: the method's weights and the normative model."""
        return learned(self.method, self.normative, half=self.config.half)

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
            config=self.config.to_dict(),
            state=self.state(),
            calibration=None if self.calibration is None else to_dict(self.calibration),
            card=card(self.name, self.config.to_dict(), self.calibration, self.method.notes()),
        )

    @classmethod
    def load(cls, folder: Path | str, *, thresholds: bool = True) -> "Detector":
        """Read a folder, or a shipped detector; without thresholds it can be calibrated again.

        Raises:
            MissingError: the folder or one of its parts is not there.
            DataError: a part is damaged, or parts do not belong together.
        """
        folder = detector_folder(folder)
        parts = read_detector(folder)
        config = DetectorConfig.from_dict(parts.config, where=f"{folder}/detector.yaml")
        method = new_method(config)
        try:
            normative = taken_over(method, parts.state, config.normative)
        except (RuntimeError, KeyError) as error:
            raise DataError(
                f"{folder}: weights do not fit method {config.method}; fit the detector again"
            ) from error
        known = parts.calibration if thresholds else None
        calibration = None if known is None else Calibration.from_dict(known)
        detector = cls(
            config,
            method.eval(),
            calibration=calibration,
            normative=normative,
            name=Path(folder).resolve().name,
            weights_hash=parts.weights_hash,
        )
        if calibration is not None:
            check_same(calibration, **detector.hashes())
        return detector
