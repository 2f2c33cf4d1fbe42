"""One patient with outlined lesions: what a detector finds, as numbers and as a picture.

Usage: python benchmarks/patient.py SCAN --modality FLAIR --lesion MASK --region FILE -m flair \
    --out picture.png

SCAN is a NIfTI file, MASK the lesions on its grid; voxels count where the image FILE is above 0 (by
default SCAN itself). Prints a row of a table, and one of the scan's own brightness after a median
of 3 voxels. The picture holds the six axial slices with most lesion, six or more voxels apart: scan
with the lesion, map, mask at the threshold of 1 %.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from brainuad.detector import Detector
from brainuad.evaluate import voxel
from brainuad.nifti import read_scan
from brainuad.report import planes
from brainuad.report.figures import ANOMALY, BACKGROUND, contour, png, show
from brainuad.report.planes import Volumes

SLICES, APART = 6, 6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--modality", required=True)
    parser.add_argument("--lesion", type=Path, required=True)
    parser.add_argument("--region", type=Path)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def chosen(lesion: np.ndarray) -> list[int]:
    """Slices with most lesion, not too close to each other, from below."""
    found: list[int] = []
    for k in np.argsort(-lesion.sum((0, 1)), kind="stable"):
        if all(abs(int(k) - other) >= APART for other in found):
            found.append(int(k))
    return sorted(found[:SLICES])


def draw(volumes: Volumes) -> Figure:
    """Scan with lesion, map, and mask, a column for each slice."""
    assert volumes.lesion is not None
    figure = Figure(figsize=(1.5 * SLICES, 5.4), facecolor=BACKGROUND)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.995, 0.02, 0.02)
    window, (low, high) = planes.window(volumes), planes.grey_range(volumes)
    top = planes.anomaly_top(volumes)
    for place, k in enumerate(chosen(volumes.lesion)):
        scan = planes.to_unit(window.cut(volumes.scan, k), low, high)
        anomaly = planes.to_unit(window.cut(volumes.anomaly, k), 0.0, top)
        rows = (
            (scan, "gray", volumes.lesion),
            (anomaly, ANOMALY, None),
            (scan, "gray", volumes.mask),
        )
        for row, (image, cmap, outline) in enumerate(rows):
            axes = figure.add_subplot(3, SLICES, row * SLICES + place + 1)
            show(axes, image, aspect=window.aspect, cmap=cmap)
            if outline is not None:
                colour = "#ff4d6d" if row else "#ffd400"
                contour(axes, window.cut(outline, k), colour=colour, width=0.7)
    return figure


def main() -> None:
    """Print the rows, draw the picture."""
    args = arguments()
    scan = read_scan(args.scan, modality=args.modality)
    lesion = read_scan(args.lesion).voxels > 0.5
    region = read_scan(args.region or args.scan).voxels > 0
    detector = Detector.load(args.model)
    if detector.calibration is None:
        raise SystemExit(f"{args.model}: has no thresholds; run brainuad calibrate first")
    threshold = detector.calibration.threshold(0.01)
    score = np.where(region, detector.detect(scan).anomaly, 0)
    mask = score > threshold
    at = voxel.overlap(mask[region], lesion[region])
    print("| detector | AUPRC | best Dice | Dice at 1 % | healthy voxels marked |")
    print("|---|---|---|---|---|")
    marked = f"{at.dice:.3f} | {100 * at.false_positive_rate:.2f} %"
    bright = ndimage.median_filter(scan.voxels, 3)
    for name, values, rest in ((args.model, score, marked), ("brightness", bright, " |")):
        precision = voxel.average_precision(values[region], lesion[region])
        best = voxel.oracle_dice(values[region], lesion[region])
        print(f"| {name} | {precision:.3f} | {best.dice:.3f} | {rest} |")
    volumes = Volumes(
        scan=scan.voxels, affine=scan.affine, healthy=None, anomaly=score, mask=mask,
        lesion=lesion, brain=region, threshold=threshold,
    )  # fmt: skip
    args.out.write_bytes(png(draw(volumes), dpi=110))


if __name__ == "__main__":
    main()
