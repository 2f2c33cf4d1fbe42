"""What is compared: methods with presets and how long each is trained; their fitted detectors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from brainuad.benchmark.prepared import Shelf
from brainuad.benchmark.task import BenchmarkData
from brainuad.config import seconds, to_dict
from brainuad.detector import Detector
from brainuad.detector_config import DetectorConfig, training_settings
from brainuad.fit_settings import FitSettings, resolve
from brainuad.method import Batch, Batches, Loss, method_class, preset_options
from brainuad.shipped import find_detector
from brainuad.train import TrainSettings
from brainuad.types import UsageError

UNTRAINED = "intensity:bright"
"""What is compared where there is no scan to train on: bright lesions by their brightness."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the leaderboard."""

    method: str
    preset: str = "default"
    steps: int | None = None
    """Optimiser steps of each stage; None leaves the settings alone."""
    time_budget: float | None = None
    """Seconds of training; None leaves the settings alone."""
    detector: Path | None = None
    """A fitted detector, instead of one that is fitted for the task."""
    file: Path | None = None
    """A file of settings, as ``brainuad fit --config`` takes it."""
    fit: FitSettings | None = None
    """What is in the file; the task has its own preparation and modality."""

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """An entry written ``method[:preset][@steps or @duration]``, a file, or a detector.

        Examples: ``intensity:dark``, ``dae@2000``, ``mad_ad:small@25m``; ``my-dae.yaml`` (settings
        of a fit), ``t1`` (a shipped detector), ``runs/my-detector`` (a folder).
        """
        folder = find_detector(text.strip())
        if folder is not None:
            config = Detector.load(folder, thresholds=False).config
            return cls(method=config.method, preset=config.preset, detector=folder)
        if text.strip().endswith((".yaml", ".yml")):
            file = Path(text.strip())
            fit = resolve(file, [], named={})
            return cls(method=fit.data["method"], preset=fit.data["preset"], file=file, fit=fit)
        found = re.fullmatch(r"([^:@]+)(?::([^:@]+))?(?:@([^:@]+))?", text.strip())
        if found is None:
            raise UsageError(
                f"method {text!r}: not understood; write method, method:preset, "
                "method:preset@9m (or @2000 for steps), or the name of a .yaml file"
            )
        method, preset, end = found.groups()
        method_class(method)
        preset_options(method, preset or "default")
        steps = int(end) if end and end.isdigit() else None
        return cls(
            method=method,
            preset=preset or "default",
            steps=steps,
            time_budget=seconds(end) if end and steps is None else None,
        )

    @property
    def trains(self) -> bool:
        """Whether it needs the scans to fit on."""
        return self.detector is None

    @property
    def label(self) -> str:
        """Name for folders and tables."""
        if self.file is not None:
            return self.file.stem
        own = f"{self.method}-{self.preset}"
        return own if self.detector is None else self.detector.resolve().name

    def settings(self, common: TrainSettings) -> TrainSettings:
        """How this entry is trained: as suits the method, then as ``common`` says otherwise."""
        if self.detector is not None:
            return common
        general = to_dict(TrainSettings())
        changes = {k: v for k, v in to_dict(common).items() if v != general[k]}
        if self.fit is not None:
            return replace(self.fit.training, **changes)
        common = training_settings(self.method, changes, preset=self.preset)
        if self.steps is not None:
            return replace(common, steps=self.steps, epochs=None, time_budget=None)
        if self.time_budget is not None:
            return replace(common, steps=None, epochs=None, time_budget=self.time_budget)
        return common


def entries_of(task: BenchmarkData, methods: Sequence[str]) -> list[Entry]:
    """The entries of a task; one simple method where there is no scan to train on."""
    entries = [Entry.parse(text) for text in (methods if task.train else [UNTRAINED])]
    labels = [entry.label for entry in entries]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(f"methods: {', '.join(twice)} asked for twice; name each once")
    return entries


def fitted(
    entry: Entry,
    task: BenchmarkData,
    shelf: Shelf,
    *,
    folder: Path,
    work: Path,
    settings: TrainSettings,
    device: str = "cpu",
    progress: bool = True,
    earlier: Path | None = None,
) -> Detector:
    """The detector of an entry: loaded from ``folder``, else fitted (again from ``work``).

    Args:
        entry: what to fit.
        task: what for.
        shelf: its prepared scans.
        folder: where the detector is kept.
        work: where a stopped training goes on.
        settings: how to train.
        device: where to train.
        progress: show bars.
        earlier: a detector of another run on the same healthy scans, used where it exists.
    """
    if entry.detector is not None:
        detector = _checked_earlier(Detector.load(entry.detector), task, entry.detector)
    elif (folder / "detector.yaml").is_file():
        return _checked(Detector.load(folder), entry, task, settings, folder)
    elif earlier is not None and (earlier / "detector.yaml").is_file():
        detector = _checked_earlier(Detector.load(earlier), task, earlier)
    else:
        detector = unfitted(entry, task)
        if shelf.store is None:
            detector = _without_scans(detector)
        else:
            detector.fit(shelf.store, settings, work=work, device=device, progress=progress)
    detector.name = entry.label
    detector.save(folder)
    return detector


def unfitted(entry: Entry, task: BenchmarkData) -> Detector:
    """The detector that an entry describes, for the scans of a task."""
    own = {"recipe": task.recipe, "modality": task.modality, "postprocess": task.postprocess}
    if entry.fit is None:
        return Detector.create(entry.method, preset=entry.preset, **own)
    if "postprocess" in entry.fit.said:
        del own["postprocess"]
    return entry.fit.detector(**own)


def _checked(
    detector: Detector, entry: Entry, task: BenchmarkData, settings: TrainSettings, folder: Path
) -> Detector:
    """Refuse a detector that was made or trained in another way than is asked for now."""
    done: Mapping[str, Any] = detector.config.provenance.get("config", {}).get("training", {})
    trained = bool(method_class(entry.method).stages) and bool(done)
    asked = to_dict(settings)
    ends = ("steps", "epochs", "time_budget", "seed", "batch_size", "lr")
    other = [name for name in ends if done.get(name) != asked.get(name)]
    if trained and other:
        raise UsageError(
            f"{folder}: was trained with {other[0]} {done.get(other[0])}, not "
            f"{asked.get(other[0])}; delete it or choose another output folder"
        )
    if entry.fit is not None and made_of(detector.config) != made_of(unfitted(entry, task).config):
        raise UsageError(
            f"{folder}: was made before {entry.file} changed; delete it or choose another output "
            "folder"
        )
    return detector


def made_of(config: DetectorConfig) -> tuple[Any, ...]:
    """What a file of settings decides about a detector, besides its training."""
    return dict(config.options), config.postprocess, config.normative, config.half


def _checked_earlier(detector: Detector, task: BenchmarkData, folder: Path) -> Detector:
    """Refuse a detector that was prepared otherwise or saw scans of this task."""
    held_out = {s.subject for s in task.calibration} | {c.subject for c in task.cases}
    seen = sorted(held_out & set(detector.config.provenance.get("inputs", {})))
    if detector.config.recipe.hash != task.recipe.hash or seen:
        what = f"was fitted on {seen[0]}" if seen else "has another recipe"
        raise UsageError(f"{folder}: {what}; fit a detector for {task.name} anew")
    detector.calibration = None
    return detector


class _NoImages(Batches):
    """For methods that have nothing to learn."""

    def __len__(self) -> int:
        return 0

    def get(self, indices: Sequence[int]) -> Batch:
        """There is none."""
        raise UsageError("benchmark: no healthy scan of this modality to learn from")


def _without_scans(detector: Detector) -> Detector:
    """A detector of a method that learns nothing, ready for use."""

    def refuse(stage: str, module: nn.Module, loss: Loss, batches: Batches) -> None:
        raise UsageError(
            f"{detector.config.method}: learns from scans (stage {stage}), and there are none of "
            f"{detector.config.modality}; choose {UNTRAINED}"
        )

    detector.method.fit(_NoImages(), minimise=refuse)
    return Detector(detector.config, detector.method.eval())
