"""Our simple baselines beside the rows of baselines_dev.csv that they should reproduce.

Usage: python benchmarks/baselines.py BENCHMARK ... -o FOLDER [--data FOLDER] [--workers N] [--mini]
       [--rows BEGINNING]

For every row of a simple method (``dark``, ``bright``, ``atlas_``, and ``knn_z`` of the sprites)
a detector is fitted, calibrated and judged as ``brainuad benchmark`` does it, with the median
and the inner part of the region that the row's name asks for. Printed are our number, the row's
with its 95 % interval, and where ours lies outside it; without an interval, where the two differ
by more than a tenth and by more than 0.001.
"""

import argparse
import csv
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from brainuad.benchmark import LOADERS, BenchmarkData, load_benchmark
from brainuad.benchmark.baselines import FILE, METRICS
from brainuad.benchmark.entries import Entry, fitted
from brainuad.benchmark.found import judged_cases
from brainuad.benchmark.prepared import Shelf, load_prepared, prepare_all
from brainuad.calibrate import Calibrator
from brainuad.detector import Detector
from brainuad.encoding import brain_of
from brainuad.evaluate.case import Row
from brainuad.evaluate.protocols import evaluate
from brainuad.manifest import atomic_path, write_json
from brainuad.pool import Pool
from brainuad.postprocess import Postprocess
from brainuad.train import TrainSettings

COLUMNS = ("auprc_subject", "auprc_pooled", "dice_max_pooled", "dice_at_1pct")
ROW = re.compile(
    r"(?:(?P<word>F|T1|T2)_)?(?P<what>dark|bright|atlas|knn)(?P<he>_he)?"
    r"(?:_z(?P<sign>neg|pos|abs))?(?P<inner>_inner)?(?:\+med(?P<median>3|5))?"
)
MODALITY = {"F": "FLAIR", "T1": "T1w", "T2": "T2w"}
INNER_MM = {"lgg-flair": 16.0, "mslub": 3.0}
"""How far the row's region is shrunk."""
PLANE = {"ixi-stroke": (3,), "lgg-flair": (3, 5), "mslub": (), "mednist-sprites": (3, 5)}
"""Medians that act within the slice."""
Steps: TypeAlias = tuple[Postprocess, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the file and what of ours it is compared with."""

    name: str
    entry: Entry
    postprocess: Postprocess
    modality: str | None
    columns: dict[str, str]


def lines(bench: str, path: Path, beginning: str) -> Iterator[Line]:
    """The rows of a benchmark that a simple method of ours can reproduce."""
    with path.open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["benchmark"] == bench]
    for row in rows:
        found = ROW.fullmatch(row["method"])
        ours = None if found is None else entry(bench, found)
        if found is None or ours is None or not row["method"].startswith(beginning):
            continue
        size = int(found["median"] or 0)
        inner = INNER_MM[bench] if found["inner"] else 0.0
        yield Line(
            name=row["method"],
            entry=Entry.parse(ours),
            postprocess=Postprocess(
                median=size, erode_mm=inner, axial_only=size in PLANE[bench] or bench == "lgg-flair"
            ),
            modality=MODALITY.get(found["word"] or ""),
            columns=row,
        )


def entry(bench: str, row: re.Match[str]) -> str | None:
    """Our method and preset for a row; None where the package has none."""
    if row["what"] in ("dark", "bright"):
        return f"intensity:{row['what']}{'' if row['he'] else '-raw'}"
    side = {"neg": "-dark", "pos": "-bright", "abs": ""}.get(row["sign"] or "")
    if side is None:
        return None
    if row["what"] == "knn" or bench == "lgg-flair":
        return f"healthy_atlas:nearest{side}" if bench in ("lgg-flair", "mednist-sprites") else None
    if row["he"]:
        return f"healthy_atlas:{side.lstrip('-') or 'default'}"
    return f"healthy_atlas:raw{side}"


@lru_cache(1)
def raw_detector(folder: Path) -> Detector:
    """A detector without post-processing, loaded once."""
    made = Detector.load(folder)
    config = replace(made.config, postprocess=Postprocess(median=0))
    return Detector(config, made.method, weights_hash=made.weights_hash)


def maps_of(path: Path, *, detector: Path, steps: Steps, out: Path) -> None:
    """Keep the maps of a prepared scan after each post-processing; see :func:`judged_cases`."""
    prepared = load_prepared(path)
    anomaly = raw_detector(detector).detect_prepared(prepared).anomaly
    brain = brain_of(prepared.original)
    for number, step in enumerate(steps):
        native = step.apply(anomaly, brain, prepared.original.spacing)
        file = out / str(number) / path.name
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle, anomaly=native, brain=brain, words=json.dumps({"seconds": 0})
            )


def calibration(folder: Path) -> dict[float, float]:
    """Thresholds from the maps of the healthy scans."""
    calibrator = Calibrator()
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            calibrator.add(arrays["anomaly"], arrays["brain"], score=0.0, subject=path.stem)
    return calibrator.finish(
        cohort="", postprocess_hash="", recipe_hash="", weights_hash=""
    ).thresholds


def judged(
    task: BenchmarkData, label: Entry, steps: Steps, *, shelf: Shelf, out: Path, pool: Pool
) -> list[list[Row]]:
    """Rows of one entry after each post-processing."""
    folder = out / "detectors" / f"{task.modality}-{label.label}"
    detector = fitted(
        label, task, shelf, folder=folder, work=out / "work" / label.label,
        settings=label.settings(TrainSettings()), progress=False,
    )  # fmt: skip
    home = out / "maps" / f"{task.modality}-{label.label}" / detector.weights_hash
    done = home / "done.json"
    wanted = [asdict(step) for step in steps]
    if not done.exists() or json.loads(done.read_text(encoding="utf-8")) != wanted:
        for part, files in (("calibration", shelf.calibration), ("test", shelf.tests)):
            work = partial(maps_of, detector=folder, steps=steps, out=home / part)
            for _ in pool.map(work, list(files.values()), f"{label.label} {part}"):
                pass
        write_json(done, wanted)
    return [
        evaluate(
            judged_cases(task, home / "test" / str(number)),
            thresholds=calibration(home / "calibration" / str(number)),
            protocol="local",
            train={source.subject for source in task.train},
            resamples=2,  # intervals of ours are not shown
        ).rows
        for number in range(len(steps))
    ]


def compared(line: Line, rows: list[Row]) -> tuple[str, int, int]:
    """A line of the table, how many columns lie inside, and how many there are."""
    own = {row.metric: row for row in rows}
    cells, inside = [], 0
    for column in COLUMNS:
        ours = own[METRICS[column][0]]
        theirs = float(line.columns[column])
        low, high = (line.columns[f"{column}_{end}"] for end in ("lo", "hi"))
        if low:
            good = float(low) <= ours.value <= float(high)
            span = f"{theirs:.3f} [{float(low):.3f}, {float(high):.3f}]"
        else:
            good = math.isclose(ours.value, theirs, rel_tol=0.1, abs_tol=0.001)
            span = f"{theirs:.3f}"
        inside += good
        cells.append(f"{ours.value:.3f} / {span}{'' if good else ' **outside**'}")
    text = f"| `{line.name}` | `{line.entry.method}:{line.entry.preset}` | {' | '.join(cells)} |"
    return text, inside, len(COLUMNS)


def benchmark(name: str, arguments: argparse.Namespace) -> None:
    """Print the table of one benchmark."""
    out = arguments.out / name
    tasks = load_benchmark(name, arguments.data, out / "cases", mini=arguments.mini)
    listed = list(lines(name, arguments.data / "benchmarks" / FILE, arguments.rows))
    print(f"\n**{name}**, each cell ours / file\n\n| row | ours | {' | '.join(COLUMNS)} |")
    print("|---|---|" + "---|" * len(COLUMNS), flush=True)
    inside = total = 0
    with Pool(arguments.workers) as pool:
        for task in tasks:
            shelf = prepare_all(task, out / "prepared", pool)
            own = [line for line in listed if line.modality in (None, task.modality)]
            entries = list(dict.fromkeys(line.entry for line in own))
            for label in entries:
                mine = [line for line in own if line.entry == label]
                steps = tuple(dict.fromkeys(line.postprocess for line in mine))
                found = judged(task, label, steps, shelf=shelf, out=out, pool=pool)
                for line in mine:
                    text, good, count = compared(line, found[steps.index(line.postprocess)])
                    inside, total = inside + good, total + count
                    print(text, flush=True)
    print(f"\n{inside} of {total} numbers inside.", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", nargs="+", choices=list(LOADERS))
    parser.add_argument("-o", "--out", type=Path, required=True, help="kept parts; resumes there")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BRAINUAD_DATA", ".")))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--mini", action="store_true", help="small subset of the cases")
    parser.add_argument("--rows", default="", help="only rows whose name begins so")
    arguments = parser.parse_args()
    for name in arguments.benchmarks:
        benchmark(name, arguments)


if __name__ == "__main__":
    main()
