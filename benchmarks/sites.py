"""Site shift: a recipe fitted on healthy scans of one site, judged on people of both, ixi-stroke.

Usage: python benchmarks/sites.py configs/t1-fpi.yaml --time-budget 10m --out RUN

Fits the recipe once on the training scans of each site alone and once on both, sets thresholds from
calibration scans of the sites of the fit, and prints for the test people of each site the share of
healthy voxels that is marked at 1 %, and the AUPRC per subject. The sites differ in scanner and
number of scans (IXI 90, ds002748 30). RUN may be the folder of `brainuad benchmark ixi-stroke`,
whose prepared scans are then used.
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from brainuad.benchmark.data import BenchmarkData
from brainuad.benchmark.entries import Entry, fitted
from brainuad.benchmark.found import Running, calibrated, detect_all, judged_cases
from brainuad.benchmark.prepared import Shelf
from brainuad.benchmark.run import RunSettings, prepare_benchmark
from brainuad.benchmark.task import table
from brainuad.config import seconds
from brainuad.detector import Detector
from brainuad.evaluate.protocols import evaluate
from brainuad.pool import Pool
from brainuad.store import Store
from brainuad.train import TrainSettings

SITES = ("IXI", "ds002748")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", help="a settings file, or method:preset")
    parser.add_argument("--time-budget", help="of each training [as the recipe says]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def of_sites(shelf: Shelf, task: BenchmarkData, sites: Mapping[str, str], path: Path) -> Shelf:
    """A shelf whose scans to fit on and to calibrate with are of some sites, by subject."""
    assert shelf.store is not None
    whole, chosen = shelf.store, [s.subject for s in task.train if s.subject in sites]
    store = Store.create(
        path,
        recipe_hash=whole.recipe_hash,
        affine=whole.affine,
        shape=whole.shape,
        modality=whole.modality,
    )
    for subject in chosen:
        if whole.has(subject) and not store.has(subject):
            shutil.copytree(whole.path / subject, store.path / subject)
    calibration = {name: file for name, file in shelf.calibration.items() if name in sites}
    return replace(shelf, store=store, calibration=calibration)


def judged(
    entry: Entry, task: BenchmarkData, shelf: Shelf, folder: Path, args: argparse.Namespace
) -> dict[str, float]:
    """All numbers of the recipe, fitted and calibrated on the scans of the shelf."""
    settings = TrainSettings()
    if args.time_budget:
        settings = replace(settings, time_budget=seconds(args.time_budget))
    home, maps = folder / "detector", folder / "maps"
    detector = fitted(
        entry, task, shelf, folder=home, work=folder / "work", settings=entry.settings(settings)
    )
    with Pool(args.workers) as pool:
        running = Running(detector=home)
        if detector.calibration is None:
            calibrated(detector, task, shelf, running=running, pool=pool)
        detect_all(shelf, maps, running=running, pool=pool)
    calibration = Detector.load(home).calibration
    assert calibration is not None
    found = evaluate(
        judged_cases(task, maps),
        thresholds=calibration.thresholds,
        protocol="local",
        resamples=100,
        train={source.subject for source in task.train},
    )
    return {row.metric: row.value for row in found.rows}


def main() -> None:
    """Fit three times and print the table."""
    args = arguments()
    entry = Entry.parse(args.recipe)
    with Pool(args.workers) as pool:
        tasks, shelves = prepare_benchmark(
            "ixi-stroke", args.data, RunSettings(), pool, out=args.out
        )
    (task,) = tasks
    people = table(args.data / "benchmarks" / "ixi-stroke" / "subjects.csv")
    columns = [f"{what}, {site}" for what in ("healthy voxels marked", "AUPRC") for site in SITES]
    print(f"| fitted on | {' | '.join(columns)} |\n|---|---|---|---|---|")
    for sites in ((SITES[0],), (SITES[1],), SITES):
        chosen = {row["subject"]: row["source"] for row in people if row["source"] in sites}
        folder = args.out / "sites" / entry.label / "+".join(sites)
        shelf = of_sites(shelves[task.name], task, chosen, folder / "train")
        found = judged(entry, task, shelf, folder, args)
        marked = [f"{100 * found[f'healthy_fpr[source={site}]']:.2f} %" for site in SITES]
        auprc = [f"{found[f'auprc_subject[source={site}]']:.3f}" for site in SITES]
        print(f"| {' and '.join(sites)} | {' | '.join(marked + auprc)} |", flush=True)


if __name__ == "__main__":
    main()
