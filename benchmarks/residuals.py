"""The same trained nets judged by other residuals, on slices of mednist-sprites: one table.

Usage: python benchmarks/residuals.py FAMILY [--cases 60] [--methods dae ddpm cddpm]

FAMILY is the folder that ``benchmarks/family.py mednist-sprites --out FAMILY`` made. Nothing is
trained. Of methods that draw noise, ten restorations are drawn; "x distance" is their mean's
residual times the factor of the option ``mahalanobis``. Maps go through the detector's
post-processing.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from brainuad.detector import Detector
from brainuad.difference import residual
from brainuad.encoding import brain_of
from brainuad.method import Batch, Method
from brainuad.nifti import read_scan
from brainuad.prepare import Prepared, prepare_scan
from brainuad.restoration import Drawn
from brainuad.slices import split
from brainuad.types import AnomalyMap, Mask

KINDS = ("l1", "squared", "ssim", "ssim_ensemble")
DRAWS = 10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--methods", nargs="+", default=["dae", "ddpm", "cddpm"])
    return parser.parse_args()


def cases(family: Path, count: int, detector: Detector) -> Iterator[tuple[Prepared, Mask]]:
    """The first slices with a sprite, as the detector takes them, and the sprites."""
    for image in sorted((family / "cases").glob("*_sprite_img.nii.gz"))[:count]:
        scan = detector.config.accepted(read_scan(image), detector.name)
        truth = read_scan(image.with_name(image.name.replace("_img", "_gt"))).voxels > 0
        yield prepare_scan(scan, detector.config.recipe), truth


@torch.inference_mode()
def maps(method: Method, batch: Batch) -> Iterator[tuple[str, AnomalyMap]]:
    """Every map of a slice, by its name."""
    x, brain, rng = batch.x, batch.brain, batch.rng(0, "detect")
    healthy = method.detect(x, brain, rng=rng).healthy
    assert healthy is not None
    for kind in KINDS:
        yield f"`{kind}`", residual(x, healthy, kind=kind) * brain
    if not isinstance(method, Drawn):
        return
    starts = [s for n in range(DRAWS) for s in method.starts(x, rng.fork("draw", n))]
    restored = torch.stack(method.restorations(x, brain, starts))
    draws = restored.unflatten(0, (DRAWS, -1)).mean(1)
    factor = method.factor(x, draws, brain)
    for kind in KINDS:
        size = residual(x, draws.mean(0) * brain, kind=kind) * brain
        yield f"`{kind}`, mean of {DRAWS}", size
        yield f"`{kind}`, mean of {DRAWS} x distance", size * factor


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    print("| method | residual | AUPRC per slice | AUPRC pooled |\n|---|---|---|---|")
    for name in args.methods:
        detector = Detector.load(args.family / "shared" / f"{name}-small", thresholds=False)
        found: dict[str, list[np.ndarray]] = defaultdict(list)
        truths = []
        for prepared, truth in cases(args.family, args.cases, detector):
            truths.append(truth.ravel())
            brain, spacing = brain_of(prepared.scan), prepared.scan.spacing
            for kind, anomaly in maps(detector.method, split(prepared.scan, "axial").batch(0, 1)):
                plane = anomaly[0].movedim(0, 2).numpy()
                done = detector.config.postprocess.apply(plane, brain, spacing)
                found[kind].append(prepared.to_original(done).ravel())
        for kind, values in found.items():
            pairs = zip(truths, values, strict=True)
            each = np.mean([average_precision_score(*pair) for pair in pairs])
            pooled = average_precision_score(np.concatenate(truths), np.concatenate(values))
            print(f"| `{name}` | {kind} | {each:.3f} | {pooled:.3f} |", flush=True)


if __name__ == "__main__":
    main()
