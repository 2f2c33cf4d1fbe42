"""One fitted detector compared with healthy people in many ways, on ixi-stroke: one table.

Usage: python benchmarks/normative.py t1-cddpm --out RUN [--variants '{ridge: .01}' ...]

Nothing is trained. The detector's maps and healthy counterparts of the scans of the fit (as many as
its recipe says) and of the 48 scans with a lesion are made once, minutes of one core, and kept in
RUN in half precision. A variant names what differs from the detector's own normative model, or from
its post-processing with `post: {...}`. Thresholds and healthy cases are not needed for these
numbers: AUPRC per subject, of all voxels pooled, and per size of lesion.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import track

from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.data import BenchmarkData
from brainuad.benchmark.found import read_case
from brainuad.benchmark.prepared import Shelf, load_prepared
from brainuad.benchmark.run import RunSettings, prepare_benchmark
from brainuad.detector import Detector
from brainuad.encoding import brain_of
from brainuad.evaluate import voxel
from brainuad.maps import canonical_maps
from brainuad.normative import Normative, NormativeOptions, normer
from brainuad.pool import Pool
from brainuad.scan import Scan
from brainuad.types import Volume

VARIANTS = (
    "{}",
    "{of: residual}",
    "{ridge: 1.0e-2}",
    "{ridge: 3.0e-3}",
    "{ridge: 3.0e-4}",
    "{ridge: 1.0e+6}",
    "{smooth_px: 0.4}",
    "{smooth_px: 0.7}",
    "{smooth_px: 1.5}",
    "{smooth_px: 2.5}",
    "{floor: 0.02}",
    "{floor: 0.04}",
    "{median: 0}",
    "{post: {smooth_mm: 4.0}}",
    "{post: {smooth_mm: 0.0}}",
)
"""One thing changed at a time; `ridge: 1e6` is the scan alone, without its counterpart."""
T = TypeVar("T")
Pair = tuple[Volume, Volume | None]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("detector", help="a shipped detector, or the folder of one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    return parser.parse_args()


def bar(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a bar beside the table: the first variant takes minutes."""
    return track(items, what, console=Console(stderr=True), transient=True)


class Raw:
    """What the detector's method says of prepared scans, before anything is compared."""

    def __init__(self, detector: Detector, folder: Path):
        self.detector, self.folder = detector, folder

    def of(self, name: str, scan: Scan) -> Pair:
        """Anomaly map and healthy counterpart, from the folder where they lie there."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            found = canonical_maps(
                self.detector.method, scan, view=self.detector.config.view, seed=0, batch_size=16,
                device="cpu",
            )  # fmt: skip
            parts = {"anomaly": found.anomaly, "healthy": found.healthy}
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **{k: v.astype(np.float16) for k, v in parts.items() if v is not None})
        kept = np.load(path)
        healthy = kept["healthy"].astype(np.float32) if "healthy" in kept else None
        return kept["anomaly"].astype(np.float32), healthy


def model(options: NormativeOptions, shelf: Shelf, raw: Raw) -> Normative:
    """What the scans of the fit show."""
    assert shelf.store is not None
    made = None
    for subject in bar(options.chosen(shelf.store.subjects), "scans of the fit"):
        scan = shelf.store.scan(subject)
        made = made or normer(options, scan.voxels.shape)
        made.add(options.compared(scan, *raw.of(f"fit/{subject}", scan)), scan)
    assert made is not None
    return made.finish()


def judged(
    variant: dict[str, Any], cases: list[TestCase], task: BenchmarkData, shelf: Shelf, raw: Raw
) -> Iterator[tuple[str, voxel.Counts]]:
    """Size of the lesion, and voxels by score, of each case."""
    config = raw.detector.config
    assert config.normative is not None
    changes = dict(variant)
    post = replace(config.postprocess, **changes.pop("post", {}))
    healthy_people = model(replace(config.normative, **changes), shelf, raw)
    for case in bar(cases, "scans with a lesion"):
        prepared = load_prepared(shelf.tests[case.name])
        scan = prepared.scan
        found = healthy_people.map(scan, *raw.of(f"lesion/{case.name}", scan))
        found = post.apply(found, brain_of(scan), scan.spacing)
        _, truth, region = read_case(case, task.modality)
        scores = np.maximum(prepared.to_original(found), 0)[region].astype(np.float32)
        yield case.strata["size"], voxel.binned_counts(scores, truth[region])


def row(found: list[tuple[str, voxel.Counts]]) -> list[float]:
    """AUPRC per subject, pooled, and per size."""
    by_size = defaultdict(list)
    for size, counts in found:
        by_size[size].append(float(voxel.ap_of_counts(counts.lesion, counts.other)))
    everything = voxel.pool([counts for _, counts in found])
    single = [value for values in by_size.values() for value in values]
    return [
        float(np.mean(single)),
        float(voxel.ap_of_counts(everything.lesion, everything.other)),
        *(float(np.mean(by_size[size])) for size in "SML"),
    ]


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    settings = RunSettings(workers=1, progress=False)
    with Pool(1, progress=False) as pool:
        tasks, shelves = prepare_benchmark("ixi-stroke", args.data, settings, pool, out=args.out)
    (task,) = tasks
    detector = Detector.load(args.detector, thresholds=False)
    raw = Raw(detector, args.out / "raw" / Path(args.detector).name)
    shelf = shelves[task.name]
    cases = [case for case in task.cases if case.kind == "lesion" and case.name in shelf.tests]
    print("| variant | AUPRC per subject | pooled | S | M | L |\n|---|---|---|---|---|---|")
    for text in args.variants:
        found = list(judged(yaml.safe_load(text), cases, task, shelf, raw))
        print(f"| `{text}` | " + " | ".join(f"{v:.3f}" for v in row(found)) + " |", flush=True)


if __name__ == "__main__":
    main()
