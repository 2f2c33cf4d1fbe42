"""A benchmark from its list to its page: prepare, fit, calibrate, detect, evaluate, report.

Every step keeps its result in the output folder, and what is there is not done again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainuad.benchmark.data import BenchmarkData, load_benchmark
from brainuad.benchmark.entries import Entry, entries_of, fitted
from brainuad.benchmark.found import Running, calibrated, detect_all, judged_cases, seconds_of
from brainuad.benchmark.page import Outcome, write_cases, write_page
from brainuad.benchmark.prepared import Shelf, prepare_all
from brainuad.detector import Detector
from brainuad.evaluate.case import Row
from brainuad.evaluate.protocols import evaluate
from brainuad.evaluate.statistics import RESAMPLES
from brainuad.manifest import run_manifest
from brainuad.pool import Pool
from brainuad.report.tables import write_results
from brainuad.train import TrainSettings

METHODS = ("intensity:dark", "healthy_atlas:dark", "dae:dark@9m", "mad_ad:small-dark@20m")
"""Compared when nothing else is asked for: lesions in T1w are dark."""
PROTOCOL = "local"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a benchmark is run."""

    training: TrainSettings = field(default_factory=TrainSettings)
    """How methods are trained that do not say so themselves."""
    seed: int = 0
    """Seed of detection and of the bootstrap."""
    workers: int = 2
    """Processes that prepare and detect side by side, one thread each."""
    device: str = "cpu"
    """Where networks run; anything but the CPU uses one process."""
    batch_size: int = 16
    """Images at once in detection."""
    mini: bool = False
    """The small subset of the cases."""
    progress: bool = True
    """Show bars."""
    resamples: int = RESAMPLES
    """Bootstrap samples behind each interval."""
    common: Path | None = None
    """Folder of cases and prepared scans that several runs share; None keeps them in each."""
    detectors: Path | None = None
    """Detectors of an earlier run on the same healthy scans, used instead of fitting."""


def run_benchmark(
    name: str,
    *,
    data: Path | str,
    out: Path | str,
    methods: Sequence[str] = METHODS,
    settings: RunSettings | None = None,
) -> Path:
    """Run methods on a local benchmark and write ``results.csv`` and ``index.html``.

    Args:
        name: see :data:`LOADERS`.
        data: folder that holds ``data`` and ``benchmarks``.
        out: output folder; a stopped run goes on there.
        methods: ``method[:preset][@steps or @duration]`` each; see :class:`Entry`.
        settings: how to run.

    Returns:
        The page.
    """
    settings = settings or RunSettings()
    runner = _Runner(name, Path(data), Path(out), settings)
    with Pool(settings.workers, progress=settings.progress) as pool:
        tasks, shelves = prepare_benchmark(
            name, Path(data), settings, pool, out=Path(out), methods=methods
        )
        plan = [(task, entry) for task in tasks for entry in entries_of(task, methods)]
        outcomes = [runner.outcome(task, entry, shelves[task.name], pool) for task, entry in plan]
    return runner.write(outcomes, shelves)


def prepare_benchmark(
    name: str,
    data: Path,
    settings: RunSettings,
    pool: Pool,
    *,
    out: Path,
    methods: Sequence[str] | None = None,
) -> tuple[tuple[BenchmarkData, ...], dict[str, Shelf]]:
    """The tasks of a benchmark, their scans prepared in ``settings.common`` or else in ``out``.

    Scans to fit on are left out where each of the ``methods`` is a fitted detector.
    """
    home = settings.common or out
    tasks = load_benchmark(name, data, home / "cases", mini=settings.mini)
    shelves = {}
    for task in tasks:
        train = methods is None or any(entry.trains for entry in entries_of(task, methods))
        shelves[task.name] = prepare_all(task, home / "prepared", pool, train=train)
    return tasks, shelves


class _Runner:
    """One run: where things are, and how long they took."""

    def __init__(self, name: str, shared: Path, out: Path, settings: RunSettings):
        self.name, self.shared, self.out, self.settings = name, shared, out, settings
        self.seconds: dict[str, float] = {}

    def outcome(self, task: BenchmarkData, entry: Entry, shelf: Shelf, pool: Pool) -> Outcome:
        """Fit, calibrate, detect and evaluate one entry on one task."""
        label = entry.label if task.bench == task.name else f"{task.modality}-{entry.label}"
        detector = self._fitted(task, entry, shelf, label)
        running = Running(
            detector=self.out / "detectors" / label,
            seed=self.settings.seed,
            batch_size=self.settings.batch_size,
            device=self.settings.device,
        )
        maps = self.out / "maps" / label
        pool = pool if running.device == "cpu" else Pool(1, progress=self.settings.progress)
        if detector.calibration is None:
            calibrated(detector, task, shelf, running=running, pool=pool)
        detect_all(shelf, maps, running=running, pool=pool)
        return self._evaluated(task, entry, detector, maps)

    def _fitted(self, task: BenchmarkData, entry: Entry, shelf: Shelf, label: str) -> Detector:
        earlier = self.settings.detectors
        started = time.perf_counter()
        detector = fitted(
            entry,
            task,
            shelf,
            folder=self.out / "detectors" / label,
            work=self.out / "work" / label,
            settings=entry.settings(self.settings.training),
            device=self.settings.device,
            progress=self.settings.progress,
            earlier=None if earlier is None else earlier / entry.label,
        )
        self.seconds[f"{task.name}: fit {entry.label}, s"] = time.perf_counter() - started
        return detector

    def _evaluated(
        self, task: BenchmarkData, entry: Entry, detector: Detector, maps: Path
    ) -> Outcome:
        calibration = detector.calibration
        assert calibration is not None
        evaluation = evaluate(
            judged_cases(task, maps),
            thresholds=calibration.thresholds,
            protocol=PROTOCOL,
            seed=self.settings.seed,
            postprocess=detector.config.postprocess,
            train={source.subject for source in task.train},
            resamples=self.settings.resamples,
        )
        rows = [*evaluation.rows, *self._costs(task, detector, maps)]
        return Outcome(
            task=task,
            entry=entry,
            detector=detector,
            maps=maps,
            evaluation=evaluation,
            rows=[
                row.named(dataset=task.name, method=entry.method, preset=entry.preset)
                for row in rows
            ],
        )

    def _costs(self, task: BenchmarkData, detector: Detector, maps: Path) -> list[Row]:
        spent = seconds_of(task, maps)
        size = sum(p.numel() for p in detector.method.parameters())
        numbers = {"seconds_per_scan": float(np.mean(spent or [np.nan])), "parameters": float(size)}
        return [
            Row(
                metric=metric,
                value=value,
                low=float("nan"),
                high=float("nan"),
                n=len(spent),
                seed=self.settings.seed,
                protocol=PROTOCOL,
                threshold_source="none",
            )
            for metric, value in numbers.items()
        ]

    def write(self, outcomes: list[Outcome], shelves: dict[str, Shelf]) -> Path:
        """Tables and page."""
        write_results(self.out / "results.csv", [row for o in outcomes for row in o.rows])
        write_cases(self.out / "per_case.csv", outcomes)
        failures = {n: why for shelf in shelves.values() for n, why in shelf.failures.items()}
        write_page(
            self.out / "index.html",
            outcomes,
            title=f"Benchmark {self.name}{' (mini)' if self.settings.mini else ''}",
            summary=self._summary(outcomes),
            benchmarks=self.shared / "benchmarks",
            failures=failures,
            facts=self._facts(outcomes, shelves),
            manifest=self._manifest(outcomes),
        )
        return self.out / "index.html"

    def _summary(self, outcomes: list[Outcome]) -> str:
        tasks = {o.task.name: o.task for o in outcomes}
        parts = [
            f"{name}: fitted on {len(task.train)} healthy scans, threshold from "
            f"{len(task.calibration)}, tested on {len({c.subject for c in task.cases})} subjects."
            for name, task in tasks.items()
        ]
        if self.settings.mini:
            parts.append("Small subset: numbers are not comparable with those of the whole list.")
        return " ".join(parts)

    def _facts(self, outcomes: list[Outcome], shelves: dict[str, Shelf]) -> dict[str, object]:
        counts = {
            f"{o.task.name}: {kind} cases": sum(c.kind == kind for c in o.task.cases)
            for o in outcomes
            for kind in ("lesion", "clean", "sham")
        }
        failed = sum(len(shelf.failures) for shelf in shelves.values())
        remarks = {
            f"{o.task.name}: {o.entry.label}": "; ".join(o.detector.calibration.remarks)
            for o in outcomes
            if o.detector.calibration is not None and o.detector.calibration.remarks
        }
        return {**counts, "scans without a result": failed, **self.seconds, **remarks}

    def _manifest(self, outcomes: list[Outcome]) -> dict[str, object]:
        entries = {f"{o.task.name} {o.entry.label}": o.detector.hashes() for o in outcomes}
        return run_manifest(
            command=f"benchmark {self.name}",
            config={"mini": self.settings.mini, "detectors": entries},
            seed=self.settings.seed,
            device=self.settings.device,
        )
