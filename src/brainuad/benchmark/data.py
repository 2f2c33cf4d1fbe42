"""Which scans a benchmark trains on, calibrates on and tests; one modality each."""

from collections.abc import Callable
from pathlib import Path

from brainuad.benchmark.cases import make_cases
from brainuad.benchmark.slices import lgg_flair, mednist_sprites
from brainuad.benchmark.task import BenchmarkData
from brainuad.benchmark.volumes import ixi_stroke, mslub
from brainuad.types import DataError, UsageError

Loader = Callable[[Path, Path, Path, list[dict[str, str]]], tuple[BenchmarkData, ...]]
LOADERS: dict[str, Loader] = {
    "ixi-stroke": ixi_stroke,
    "lgg-flair": lgg_flair,
    "mslub": mslub,
    "mednist-sprites": mednist_sprites,
}
"""Local benchmarks by name."""


def load_benchmark(
    name: str, shared: Path, cases: Path, *, mini: bool = False
) -> tuple[BenchmarkData, ...]:
    """The tasks of a local benchmark, with its cases made.

    Args:
        name: see :data:`LOADERS`.
        shared: folder that holds ``data`` and ``benchmarks``.
        cases: folder for the cases.
        mini: the small subset of the cases.
    """
    if name not in LOADERS:
        raise UsageError(f"benchmark {name!r}: unknown; choose from {', '.join(LOADERS)}")
    bench = shared / "benchmarks" / name
    rows = make_cases(bench, shared / "data", cases, mini=mini)
    found = LOADERS[name](bench, shared / "data", cases, rows)
    for task in found:
        _check_apart(task)
    return found


def _check_apart(task: BenchmarkData) -> None:
    """Refuse a test or calibration subject in training, and a test subject in calibration.

    A patient may calibrate his own test where his lesions are left out of it (``without``).
    """
    trained = {source.subject for source in task.train}
    healthy = {source.subject for source in task.calibration}
    whole = {source.subject for source in task.calibration if source.without is None}
    tested = {case.subject for case in task.cases}
    for both, where in (
        (trained & (healthy | tested), "training and test"),
        (whole & tested, "calibration and test"),
    ):
        if both:
            names = ", ".join(sorted(both))
            raise DataError(f"{task.name}: {names} in both {where}; mend the list")
