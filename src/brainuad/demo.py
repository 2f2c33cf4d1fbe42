"""Everything on generated brains, in minutes: fit, calibrate, detect, evaluate, report."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from brainuad.demo_settings import DemoSettings, Entry
from brainuad.detect import Finding
from brainuad.detector import Detector
from brainuad.detector_config import training_settings
from brainuad.evaluate.case import Case, Row
from brainuad.evaluate.protocols import Evaluation, evaluate
from brainuad.manifest import file_errors, run_manifest
from brainuad.nifti import write_volume
from brainuad.phantom import phantom
from brainuad.prepare import Prepared, prepare_scan, recipe
from brainuad.report.comparison import leaderboard, picks, result_charts
from brainuad.report.found import finding_page, write_page
from brainuad.report.pages import BenchmarkPage, benchmark_report
from brainuad.report.pages import Case as Shown
from brainuad.report.tables import write_results
from brainuad.scan import Scan
from brainuad.simulate import plant
from brainuad.store import Store
from brainuad.types import Mask

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested:
    """A scan to test on."""

    scan: Scan
    lesion: Mask | None
    size: str


def run_demo(
    out: Path | str,
    *,
    settings: DemoSettings | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    say: Say = print,
) -> Path:
    """Write the demonstration into ``out`` and return its page, ``index.html``."""
    out, settings, began = Path(out), settings or DemoSettings(), time.perf_counter()
    results: dict[str, Evaluation] = {}
    rows: list[Row] = []
    shown: list[Shown] = []
    options: dict[str, Any] = {"seed": seed, "device": device}
    with scratch(out) as work:
        say("generating brains")
        healthy = [person(settings, "fit", n, seed) for n in range(settings.fit)]
        others = [person(settings, "calibrate", n, seed) for n in range(settings.calibrate)]
        tested = list(scans_to_test(settings, seed))
        save_scans(out / "scans", healthy, others, tested)
        store = filled_store(work / "store", healthy)
        calibration = [prepare_scan(scan, recipe("phantom")) for scan in others]
        for entry in settings.entries:
            say(f"{entry.method}: fitting, calibrating, detecting")
            detector = fitted(entry, store, work, progress=progress, **options)
            detector.calibrate(calibration, cohort="generated healthy brains", **options)
            detector.save(out / "detectors" / entry.method)
            result = judged(detector, tested, **options)
            results[entry.method] = result
            names = {"dataset": "phantom", "method": entry.method, "preset": entry.preset}
            rows += [row.named(**names) for row in result.rows]
            shown += gallery(detector, tested, result, out, **options)
    write_results(out / "results.csv", rows)
    minutes = (time.perf_counter() - began) / 60
    page = comparison(settings, rows, results, shown, seed=seed, minutes=minutes)
    benchmark_report(out / "index.html", page)
    return out / "index.html"


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """A hidden folder in ``out`` that is gone afterwards, whatever happens."""
    with file_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as name:
            yield Path(name)


def person(settings: DemoSettings, role: str, number: int, seed: int) -> Scan:
    """A generated healthy brain with a name."""
    return phantom(
        f"{role}-{number + 1:02d}", seed=seed, shape=settings.shape, affine=settings.affine
    )


def scans_to_test(settings: DemoSettings, seed: int) -> Iterator[Tested]:
    """Brains with a lesion, one size after the other, then healthy ones."""
    for size, volume_ml in settings.sizes_ml.items():
        for n in range(settings.per_size):
            scan = person(settings, size, n, seed)
            planted = plant(scan, seed=seed, volume_ml=volume_ml, contrast=settings.contrast)
            yield Tested(scan=planted.scan, lesion=planted.lesion, size=size)
    for n in range(settings.clean):
        yield Tested(scan=person(settings, "clean", n, seed), lesion=None, size="none")


def save_scans(
    folder: Path, healthy: Sequence[Scan], others: Sequence[Scan], tested: Sequence[Tested]
) -> None:
    """Write the cohort as NIfTI, so that the other commands can be tried on it."""
    for kind, scans in (
        ("fit", healthy), ("calibrate", others), ("test", [t.scan for t in tested])
    ):  # fmt: skip
        for scan in scans:
            path = folder / kind / f"{scan.subject}_T1w.nii.gz"
            write_volume(path, scan.voxels, like=scan, kind="image", code=4)
    for test in tested:
        if test.lesion is not None:
            path = folder / "truth" / f"{test.scan.subject}_T1w_lesion.nii.gz"
            write_volume(path, test.lesion, like=test.scan, kind="mask", code=4)


def filled_store(path: Path, scans: Sequence[Scan]) -> Store:
    """The scans, prepared."""
    steps = recipe("phantom")
    store = Store.create(
        path, recipe_hash=steps.hash, affine=scans[0].affine, shape=scans[0].voxels.shape,
        modality=scans[0].modality,
    )  # fmt: skip
    for scan in scans:
        if not store.has(scan.subject):
            store.add(prepare_scan(scan, steps).scan)
    return store


def fitted(
    entry: Entry, store: Store, work: Path, *, seed: int, device: str, progress: bool
) -> Detector:
    """A detector of this method, fitted on the store."""
    detector = Detector.create(
        entry.method, preset=entry.preset, options=entry.options, recipe="phantom"
    )
    detector.name = entry.method
    training = training_settings(
        entry.method, {**entry.training, "seed": seed}, preset=entry.preset
    )
    folder = work / entry.method
    return detector.fit(store, training, work=folder, device=device, progress=progress)


def judged(detector: Detector, tested: Sequence[Tested], **options: Any) -> Evaluation:
    """All test scans against their truth, at the thresholds of the calibration."""
    assert detector.calibration is not None

    def cases() -> Iterator[Case]:
        for test in tested:
            found = detect(detector, test, **options)
            yield Case(
                subject=test.scan.subject,
                kind="clean" if test.lesion is None else "lesion",
                anomaly=found.anomaly,
                lesion=test.lesion,
                region=region(found),
                spacing=test.scan.spacing,
                strata={} if test.lesion is None else {"size": test.size},
            )

    return evaluate(
        cases(),
        thresholds=detector.calibration.thresholds,
        postprocess=detector.config.postprocess,
        seed=options["seed"],
    )


def detect(detector: Detector, test: Tested, **options: Any) -> Finding:
    """What the detector finds in a test scan."""
    return detector.detect_prepared(prepared(test), **options)


def prepared(test: Tested) -> Prepared:
    """A test scan as the detector sees it; the brain is found from the background."""
    return prepare_scan(replace(test.scan, brain=None), recipe("phantom"))


def region(found: Finding) -> Mask:
    """Where voxels are scored: the brain."""
    assert found.scan.brain is not None
    return found.scan.brain


def gallery(
    detector: Detector, tested: Sequence[Tested], result: Evaluation, out: Path, **options: Any
) -> Iterator[Shown]:
    """The best, the median and the worst case, with all their files saved."""
    assert detector.calibration is not None
    by_name = {test.scan.subject: test for test in tested}
    for pick in picks(result.cases):
        test = by_name[pick.subject]
        found = detect(detector, test, **options)
        write = partial(write_page, healthy_scores=detector.calibration.scores, lesion=test.lesion)
        found.save(out / "findings" / detector.config.method, page=write)
        volumes = finding_page(found, lesion=test.lesion).volumes
        assert volumes is not None
        yield Shown(
            method=detector.config.method,
            name=f"{pick.why}: {pick.subject}",
            number=f"AUPRC {pick.auprc:.2f}",
            volumes=volumes,
        )


def comparison(
    settings: DemoSettings,
    rows: Sequence[Row],
    results: Mapping[str, Evaluation],
    shown: Sequence[Shown],
    *,
    seed: int,
    minutes: float,
) -> BenchmarkPage:
    """What the page says."""
    count = settings.per_size * len(settings.sizes_ml)
    return BenchmarkPage(
        title="Demonstration on generated brains",
        summary=f"{len(settings.entries)} methods, fitted on {settings.fit} generated healthy "
        f"brains, thresholds from {settings.calibrate} others, tested on {count} with a planted "
        f"lesion of one of {len(settings.sizes_ml)} sizes and on {settings.clean} without.",
        boards=leaderboard(rows),
        charts=result_charts(results),
        cases=shown,
        facts={
            "brains": f"generated, T1w-like, {settings.spacing_mm:g} mm",
            "lesions": ", ".join(f"{k} {v:g} ml" for k, v in settings.sizes_ml.items())
            + f"; dark, contrast {settings.contrast:g}",
            "minutes": minutes,
            "seed": seed,
        },
        notes=NOTES,
        manifest=run_manifest(command="brainuad demo", config=settings, seed=seed),
    )


NOTES = (
    "Generated brains are far simpler than real ones: these numbers say that the program works, "
    "not how well a method finds real lesions.",
    "Networks are small, trained for minutes; only darker voxels count: the lesions are dark.",
)
