"""Quality of MAD-AD against the steps of its denoiser, for white and for displaced noise.

Usage: python benchmarks/mad_ad_curve.py RUN [--steps 4000] [--every 500] [--cases 12] [--out PNG]

RUN is the folder of a finished `brainuad benchmark ixi-stroke` with `mad_ad:small-dark`: its
autoencoder, prepared scans and cases are used. Prints one JSON line per point: AUPRC (mean over
subjects), and the share of lesion and of healthy voxels that lie near a flagged cell.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from brainuad.benchmark.data import load_benchmark
from brainuad.benchmark.found import read_case
from brainuad.benchmark.prepared import load_prepared
from brainuad.detector import Detector
from brainuad.detector_config import merged, new_method
from brainuad.latents import LatentCache
from brainuad.manifest import versions
from brainuad.report.charts import Curve, learning_curve
from brainuad.store import Store
from brainuad.train import Trainer, TrainSettings

LABEL = "mad_ad-small-dark"
NOISES = {"white noise, as published": 0.0, "displaced with probability 0.7": 0.7}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args()


class Examiner:
    """Judges a denoiser on some lesion cases of the benchmark."""

    def __init__(self, run: Path, data: Path, count: int):
        self.task = load_benchmark("ixi-stroke", data, run / "cases", mini=False)[0]
        lesions = [case for case in self.task.cases if case.kind == "lesion"]
        self.cases = lesions[:: max(1, len(lesions) // count)][:count]
        home = run / "prepared" / f"{self.task.modality}-{self.task.recipe.hash}"
        self.prepared = [load_prepared(home / "test" / f"{c.name}.npz") for c in self.cases]
        self.store = Store.open(home / "train")

    def judge(self, detector: Detector) -> dict[str, float]:
        """AUPRC and how much is flagged, means over the cases."""
        rows = []
        for case, prepared in zip(self.cases, self.prepared, strict=True):
            anomaly = detector.detect_prepared(prepared).anomaly
            _, truth, region = read_case(case, self.task.modality)
            truth = truth & region
            near = anomaly > 0
            rows.append(
                (
                    average_precision_score(truth[region], anomaly[region]),
                    near[truth].mean(),
                    near[region & ~truth].mean(),
                )
            )
        names = ("auprc_subject", "near_flagged_in_lesion", "near_flagged_elsewhere")
        return dict(zip(names, np.mean(rows, axis=0).round(4).tolist(), strict=True))


def curve(examiner: Examiner, run: Path, displaced: float, args: argparse.Namespace) -> list[dict]:
    """Points of one training."""
    fitted = Detector.load(run / "detectors" / LABEL)
    options = merged(fitted.config.options, {"patches": {"displaced": displaced}})
    config = type(fitted.config)(**{**vars(fitted.config), "options": options})
    method = new_method(config)
    method.autoencoder.load_state_dict(fitted.method.autoencoder.state_dict())
    method.scale.copy_(fitted.method.scale)
    method.mark_fitted()
    latents = LatentCache(examiner.store.batches(), method.encode)
    points: list[dict] = []

    def look(stage: str, step: int, module: torch.nn.Module) -> None:
        trained, method.denoiser = method.denoiser, module
        point = {"displaced": displaced, "step": step}
        points.append(point | examiner.judge(Detector(config, method.eval())))
        print(json.dumps(points[-1]), flush=True)
        method.denoiser = trained

    settings = TrainSettings(steps=args.steps, lr=2e-3, batch_size=16)
    work = run / "curve" / f"displaced-{displaced:g}"
    trainer = Trainer(settings, folder=work, progress=False, on_step=look, on_step_every=args.every)
    trainer("denoiser", method.denoiser, method.loss, latents)
    return points


def main() -> None:
    args = arguments()
    if args.run is None:
        print(json.dumps({"skipped": "needs the folder of a finished ixi-stroke run"}))
        return
    examiner = Examiner(args.run, args.data, args.cases)
    threads = torch.get_num_threads()
    print(json.dumps({"cases": len(examiner.cases), "threads": threads, **versions()}))
    curves = []
    for name, displaced in NOISES.items():
        points = curve(examiner, args.run, displaced, args)
        steps, quality = zip(*[(p["step"], p["auprc_subject"]) for p in points], strict=True)
        curves.append(Curve(name=name, x=steps, y=quality))
    if args.out is not None:
        learning_curve(curves, y="AUPRC per subject").savefig(args.out, dpi=160)


if __name__ == "__main__":
    main()
