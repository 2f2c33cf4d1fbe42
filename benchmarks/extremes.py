"""The cases that a detector does best and worst, as pictures.

Usage: python benchmarks/extremes.py RUN LABEL --out docs/images [--data ../shared]

RUN is the folder of `brainuad benchmark ixi-stroke`, LABEL a detector in it. Writes
LABEL-best.png and LABEL-worst.png: ten cases each by AUPRC, scan with lesion, map, mask.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from brainuad.benchmark.data import load_benchmark
from brainuad.benchmark.found import load_kept, read_case
from brainuad.detector import Detector
from brainuad.report import planes
from brainuad.report.figures import ANOMALY, BACKGROUND, PAPER, contour, png, show
from brainuad.report.planes import Volumes

COUNT = 10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--cases", type=Path, help="folder of the made cases [RUN/cases]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    return parser.parse_args()


def ranked(run: Path) -> list[tuple[str, float]]:
    """Lesion cases with their AUPRC, the best first."""
    with (run / "per_case.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["kind"] == "lesion"]
    pairs = [(f"{row['subject']}_lesion", float(row["auprc"])) for row in rows]
    return sorted(pairs, key=lambda pair: -pair[1])


def draw(figure: Figure, place: int, volumes: Volumes, title: str) -> None:
    """Scan with lesion, map, and mask of one case in a column."""
    assert volumes.lesion is not None
    k = int(volumes.lesion.sum((0, 1)).argmax())
    window, (low, high) = planes.window(volumes), planes.grey_range(volumes)
    scan = planes.to_unit(window.cut(volumes.scan, k), low, high)
    top = planes.anomaly_top(volumes)
    anomaly = planes.to_unit(window.cut(volumes.anomaly, k), 0.0, top)
    for row, (image, cmap) in enumerate(((scan, "gray"), (anomaly, ANOMALY), (scan, "gray"))):
        axes = figure.add_subplot(3, COUNT, row * COUNT + place + 1)
        show(axes, image, aspect=window.aspect, cmap=cmap)
        if row == 0:
            axes.set_title(title, color=PAPER, fontsize=6)
            contour(axes, window.cut(volumes.lesion, k), colour="#ffd400", width=0.7)
        if row == 2:
            contour(axes, window.cut(volumes.mask, k), colour="#ff4d6d", width=0.7)


def main() -> None:
    args = arguments()
    (task,) = load_benchmark("ixi-stroke", args.data, args.cases or args.run / "cases", mini=False)
    cases = {case.name: case for case in task.cases}
    calibration = Detector.load(args.run / "detectors" / args.label).calibration
    assert calibration is not None
    threshold = calibration.threshold(0.01)
    found = ranked(args.run)
    for kind, chosen in (("best", found[:COUNT]), ("worst", found[-COUNT:])):
        figure = Figure(figsize=(1.0 * COUNT, 3.7), facecolor=BACKGROUND)
        figure.subplots_adjust(0.005, 0.005, 0.995, 0.94, 0.02, 0.02)
        for place, (name, auprc) in enumerate(chosen):
            case = cases[name]
            scan, truth, region = read_case(case, task.modality)
            anomaly = np.where(
                region, load_kept(args.run / "maps" / args.label / f"{name}.npz").anomaly, 0
            )
            volumes = Volumes(
                scan=scan.voxels,
                affine=scan.affine,
                healthy=None,
                anomaly=anomaly,
                mask=anomaly > threshold,
                lesion=truth,
                brain=region,
                threshold=threshold,
            )
            title = f"{case.strata['size']}, {case.strata['contrast']}: {auprc:.2f}"
            draw(figure, place, volumes, title)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{args.label}-{kind}.png").write_bytes(png(figure, dpi=110))


if __name__ == "__main__":
    main()
