"""What each method does with three real scans: pictures for its page, and numbers on its insides.

Usage: python benchmarks/pictures.py RUN --out docs/images [--labels mad_ad-small-dark ...]

RUN is the folder of `benchmarks/family.py ixi-stroke`. The scans are of ds002748 (CC0) with
simulated infarcts of real shapes (CC0): a small, a middling and a large one. Prints one JSON line
per detector with what can be measured of its own parts: share of lesion and of other brain near
flagged cells (MAD-AD), under the likelihood mask (latent DDPM), and how much larger residuals are
at the borders of the boxes than elsewhere (pDDPM, mDDPM).
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.data import BenchmarkData, load_benchmark
from brainuad.benchmark.found import load_kept, read_case
from brainuad.benchmark.prepared import load_prepared
from brainuad.detector import Detector
from brainuad.report import planes
from brainuad.report.figures import ANOMALY, BACKGROUND, PAPER, contour, png, show
from brainuad.report.planes import Volumes
from brainuad.rng import Rng
from brainuad.slices import join, split

CASES = {"small": "S", "middling": "M", "large": "L"}
COLUMNS = ("scan, lesion", "healthy counterpart", "anomaly map", "mask at 1 %")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--labels", nargs="+", help="in RUN/detectors; all `*dark` by default")
    return parser.parse_args()


def chosen_cases(task: BenchmarkData) -> list[TestCase]:
    """The strongest lesion of each size among the CC0 scans."""
    order = ("strong", "medium", "subtle")
    free = [c for c in task.cases if c.kind == "lesion" and c.strata["source"] == "ds002748"]
    free.sort(key=lambda c: order.index(c.strata["contrast"]))
    return [next(c for c in free if c.strata["size"] == size) for size in CASES.values()]


def volumes_of(case: TestCase, task: BenchmarkData, maps: Path, detector: Detector) -> Volumes:
    """Scan, counterpart, map and mask of a case on its own grid."""
    scan, truth, region = read_case(case, task.modality)
    kept = load_kept(maps / f"{case.name}.npz")
    assert detector.calibration is not None
    threshold = detector.calibration.threshold(0.01)
    return Volumes(
        scan=scan.voxels,
        affine=scan.affine,
        healthy=kept.healthy,
        anomaly=np.where(region, kept.anomaly, 0),
        mask=(kept.anomaly > threshold) & region,
        lesion=truth,
        brain=region,
        threshold=threshold,
    )


def picture(cases: list[Volumes]) -> bytes:
    """One row for each case, at the height of most lesion."""
    figure = Figure(figsize=(7.2, 2.05 * len(cases)), facecolor=BACKGROUND)
    grid = figure.subplots(len(cases), len(COLUMNS), squeeze=False)
    figure.subplots_adjust(0.04, 0.01, 0.99, 0.95, 0.03, 0.03)
    for row, (volumes, name) in enumerate(zip(cases, CASES, strict=True)):
        assert volumes.lesion is not None
        k = int(volumes.lesion.sum((0, 1)).argmax())
        draw_row(grid[row], volumes, k)
        grid[row][0].text(-0.04, 0.5, name, rotation=90, color=PAPER, fontsize=8, va="center",
                          ha="right", transform=grid[row][0].transAxes)  # fmt: skip
    for axes, title in zip(grid[0], COLUMNS, strict=True):
        axes.set_title(title, color=PAPER, fontsize=8)
    # 256 colours: half the bytes, and no difference to be seen.
    few = Image.open(io.BytesIO(png(figure, dpi=100))).convert("RGB").quantize(256)
    found = io.BytesIO()
    few.save(found, format="PNG", optimize=True)
    return found.getvalue()


def draw_row(row: Any, volumes: Volumes, k: int) -> None:
    window, (low, high) = planes.window(volumes), planes.grey_range(volumes)
    scan = planes.to_unit(window.cut(volumes.scan, k), low, high)
    healthy = volumes.scan if volumes.healthy is None else volumes.healthy
    shown = (
        (scan, "gray"),
        (planes.to_unit(window.cut(healthy, k), low, high), "gray"),
        (planes.to_unit(window.cut(volumes.anomaly, k), 0.0, planes.anomaly_top(volumes)), ANOMALY),
        (scan, "gray"),
    )
    for axes, (image, cmap) in zip(row, shown, strict=True):
        show(axes, image, aspect=window.aspect, cmap=cmap)
    assert volumes.lesion is not None
    contour(row[0], window.cut(volumes.lesion, k), colour="#ffd400", width=0.8)
    contour(row[3], window.cut(volumes.mask, k), colour="#ff4d6d", width=0.8)


# Insides


def near_flagged(method: Any, x: Any, brain: Any, rng: Any) -> torch.Tensor:
    """Pixels of cells that the mask head of MAD-AD flagged at some step."""
    z = method.scale * method.autoencoder.encode(2 * x - 1)[0]
    flagged = method.heal(z, rng=rng).flagged.float()
    return F.interpolate(flagged, size=x.shape[2:], mode="nearest")


def under_mask(method: Any, x: Any, brain: Any, rng: Any) -> torch.Tensor:
    """Pixels of cells that the likelihood mask covers."""
    score = method.score(method.scale * method.autoencoder.encode(x), rng=rng.fork("score"))
    mask = (score > method.threshold).float()
    return F.interpolate(mask, size=x.shape[2:], mode="nearest")


INSIDES: dict[str, Callable[..., torch.Tensor]] = {
    "mad_ad": near_flagged,
    "latent_ddpm": under_mask,
}


@torch.no_grad()
def shares(detector: Detector, case: TestCase, task: BenchmarkData, home: Path) -> dict[str, float]:
    """How much of the lesion, and of the rest of the brain, the inside of a method points at."""
    prepared = load_prepared(home / "test" / f"{case.name}.npz")
    pieces = split(prepared.scan)
    rng = stream(pieces.keys)
    marked = INSIDES[detector.config.method](detector.method, pieces.x, pieces.brain, rng)
    native = prepared.to_original(join(marked, pieces), order=1) > 0.5
    _, truth, region = read_case(case, task.modality)
    return {"lesion": float(native[truth].mean()), "else": float(native[region & ~truth].mean())}


def stream(keys: tuple[str, ...]) -> Rng:
    return Rng.named(0, keys, "detect")


@torch.no_grad()
def seam(detector: Detector, case: TestCase, home: Path) -> float:
    """Jump of the residual across the borders of the boxes, as a share of that beside; 1: none."""
    pieces = split(load_prepared(home / "test" / f"{case.name}.npz").scan)
    found = detector.method.detect(pieces.x, pieces.brain, rng=stream(pieces.keys)).healthy
    residual = (found - pieces.x) * pieces.brain
    jumps = []
    for axis in (2, 3):
        edges = {
            int(b) for box in detector.method.boxes(pieces.x) for b in box[[3 - axis, 5 - axis]]
        }
        size = pieces.x.shape[axis]
        steps = residual.diff(dim=axis).abs()
        inner = [e for e in edges if 4 <= e <= size - 4]
        at = torch.stack([steps.select(axis, e - 1).mean() for e in inner]).mean()
        beside = torch.stack([steps.select(axis, e + d).mean() for e in inner for d in (-4, 2)])
        jumps.append(float(at / beside.mean()))
    return float(np.mean(jumps))


def facts(detector: Detector, cases: list[TestCase], task: BenchmarkData, home: Path) -> Any:
    """Numbers on the insides of a detector, by size of the lesion; None where there are none."""
    name = detector.config.method
    if name in INSIDES:
        each = [shares(detector, case, task, home) for case in cases]
        return dict(zip(CASES, each, strict=True))
    if name in ("pddpm", "mddpm"):
        return {"seam": float(np.mean([seam(detector, case, home) for case in cases]))}
    return None


def main() -> None:
    args = arguments()
    task = load_benchmark("ixi-stroke", args.data, args.run / "cases", mini=False)[0]
    home = args.run / "prepared" / f"{task.modality}-{task.recipe.hash}"
    cases = chosen_cases(task)
    args.out.mkdir(parents=True, exist_ok=True)
    every = sorted(p.name for p in (args.run / "detectors").glob("*dark"))
    for label in args.labels or every:
        detector = Detector.load(args.run / "detectors" / label)
        detector.method.eval()
        maps = args.run / "maps" / label
        drawn = [volumes_of(case, task, maps, detector) for case in cases]
        (args.out / f"{detector.config.method}.png").write_bytes(picture(drawn))
        found = facts(detector, cases, task, home)
        print(json.dumps({"detector": label, "cases": [c.name for c in cases], "inside": found}),
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
