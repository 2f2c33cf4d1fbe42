"""``brainuad detect``."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainuad.cli.basics import (
    BatchSize,
    Device,
    Out,
    Participants,
    Quiet,
    Scans,
    Seed,
    Series,
    Sessions,
    each,
    remark,
    say,
)

if TYPE_CHECKING:
    from brainuad.cli.inputs import Source
    from brainuad.detector import Detector

EXAMPLES = """
[bold]Examples[/bold]

  brainuad detect -i sub-01_T1w.nii.gz -o out

  brainuad detect -i sub-01_FLAIR.nii.gz -o out -m flair

  brainuad detect -i sub-01_T1w.nii.gz -o out -m my-detector

  brainuad detect -i raw/*_T1w.nii.gz -o out -m my-detector --device cuda --level minimal

  brainuad detect -i bids_dataset -o out -m my-detector --participant 01 02

  brainuad detect -i patient.zip --series 5 -o out -m my-detector

  brainuad detect -i scan.nii.gz --brain mask.nii.gz -o out -m my-detector --seed 3
"""


class Level(StrEnum):
    """How much is written."""

    minimal = "minimal"
    standard = "standard"
    full = "full"


def detect(
    *,
    scans: Scans,
    out: Out,
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            "-m",
            metavar="DETECTOR",
            help="A shipped detector by name (brainuad info), or a folder made by brainuad fit.",
        ),
    ] = Path("t1"),
    brain: Annotated[
        list[Path] | None,
        typer.Option(metavar="MASK...", help="Brain masks, one for each scan, on its grid."),
    ] = None,
    series: Series = None,
    participant: Participants = None,
    session: Sessions = None,
    seed: Seed = 0,
    device: Device = "cpu",
    level: Annotated[
        Level,
        typer.Option(
            help="minimal: mask, components, record; standard: also map, healthy counterpart and "
            "page; full: also the brain mask."
        ),
    ] = Level.standard,
    rate: Annotated[
        float, typer.Option(help="Healthy false-positive rate of the mask: 0.001, 0.01 or 0.05.")
    ] = 0.01,
    batch_size: BatchSize = 16,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on where a scan is, or looks like, another contrast."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Find anomalies in scans: map, mask, healthy counterpart, components, score and page.

    For X.nii.gz, on exactly its own grid: X_anomalymap.nii.gz, X_mask.nii.gz, X_healthy.nii.gz,
    X_components.tsv, X.html and, last, X_uad.json. The detector is loaded once; a scan that fails
    is reported and the others are done. Research use, not a medical device.
    """
    from brainuad.cli.inputs import sources
    from brainuad.read.bids import Wanted
    from brainuad.train import resolve_device

    resolve_device(device)
    detector = with_threshold(model, rate)
    wanted = Wanted(
        participants=participant or (),
        sessions=session or (),
        modality=detector.config.modality,
    )
    found = sources(scans, brains=brain or (), series=series, wanted=wanted)
    options = {"seed": seed, "device": device, "batch_size": batch_size, "rate": rate}
    options |= {"force": force}
    command = partial(one, detector, out=out, level=level.value, options=options)
    paths = [source.path for source in found]
    each(paths, lambda n: command(found[n]), doing="detect", quiet=quiet)
    say(f"results: {out}")


def with_threshold(model: Path, rate: float) -> "Detector":
    """A detector that can mark at this rate.

    Raises:
        UsageError: it was never calibrated.
        DataError: it has no threshold for the rate.
    """
    from brainuad.detector import Detector
    from brainuad.types import UsageError

    detector = Detector.load(model)
    if detector.calibration is None:
        raise UsageError(
            f"{model}: has no thresholds, so it can mark nothing; set them on healthy scans first, "
            f"brainuad calibrate -m {model} -i SCAN..."
        )
    detector.calibration.threshold(rate)
    return detector


def one(
    detector: "Detector", source: "Source", *, out: Path, level: Any, options: dict[str, Any]
) -> str:
    """Detect in one scan, write its files and say what came of it."""
    from brainuad.manifest import run_manifest, sha256_of
    from brainuad.read.any import is_nifti
    from brainuad.report.found import remarks, write_page

    # Names of files are taken at their word; among the series of a study one has to be chosen.
    asked = None if is_nifti(source.path) else detector.config.modality
    finding = detector.detect(source.read(asked), **options)
    known = [path for path in (source.path, source.brain) if path is not None]
    run = run_manifest(
        command="brainuad detect",
        config={**options, "level": level},
        seed=options["seed"],
        inputs={str(path): sha256_of(path) for path in known},
        device=options["device"],
    )
    finding = replace(finding, record={**finding.record, "run": run})
    scores: Sequence[float] = detector.calibration.scores if detector.calibration else ()
    finding.save(out, level=level, page=partial(write_page, healthy_scores=scores))
    for said in remarks(finding.record, finding.prepared.report):
        remark(f"{finding.scan.subject}: {said}")
    millilitres = sum(row["volume_mm3"] for row in finding.components) / 1000
    return (
        f"score {finding.score:.4g}, healthy percentile {finding.percentile:.0f}, "
        f"{len(finding.components)} components, {millilitres:.3g} ml"
    )
