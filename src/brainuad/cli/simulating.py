"""``brainuad simulate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from brainuad.cli.basics import Out, Quiet, Scans, Seed, complain, list_failures, say

if TYPE_CHECKING:
    from brainuad.detectability import Trial

EXAMPLES = """
[bold]Examples[/bold]

  brainuad simulate -i healthy/ -o detectability -m my-detector

  brainuad simulate -i healthy/ -o out -m my-detector --volumes 0.5 2 8 --places 3
"""


def simulate(
    *,
    scans: Scans,
    out: Out,
    model: Annotated[
        Path,
        typer.Option("--model", "-m", metavar="DETECTOR", help="A calibrated detector."),
    ],
    volumes: Annotated[
        list[float] | None,
        typer.Option(metavar="ML...", help="Volumes of the lesions; 0.1 to 30 ml by default."),
    ] = None,
    contrasts: Annotated[
        list[float] | None,
        typer.Option(metavar="SHARE...", help="How much of the tissue's signal is replaced."),
    ] = None,
    kind: Annotated[str, typer.Option(help="infarct (fluid-like) or bright.")] = "infarct",
    places: Annotated[int, typer.Option(help="Places for each volume in every scan.")] = 1,
    rate: Annotated[
        float, typer.Option(help="Healthy false-positive rate of the mask: 0.001, 0.01 or 0.05.")
    ] = 0.01,
    workers: Annotated[int, typer.Option(help="Processes side by side, one thread each.")] = 1,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """How large and how strong must a lesion be for a detector to find it?

    Plants lesions of known volume and contrast into healthy scans of your own, which the detector
    has not seen, and detects in each. Writes trials.csv (every lesion), sensitivity.csv (share
    found by volume and contrast, with intervals, and by chance) and index.html.
    """
    from brainuad.cli.detectability import write_detectability
    from brainuad.cli.inputs import sources
    from brainuad.detectability import CONTRASTS, VOLUMES_ML, Plan, try_scans
    from brainuad.types import DataError

    plan = Plan(
        volumes_ml=tuple(sorted(volumes or VOLUMES_ML)),
        contrasts=tuple(sorted(contrasts or CONTRASTS)),
        kind=kind,
        places=places,
        rate=rate,
        seed=seed,
    )
    trials: list[Trial] = []
    failed: dict[Path, str] = {}
    found = sources(scans)
    for tried in try_scans(found, model, plan, workers=workers, progress=not quiet):
        trials += tried.trials
        if tried.error:
            failed[tried.path] = tried.error
            complain(tried.error)
        else:
            hits = sum(t.found for t in tried.trials if t.contrast)
            total = sum(t.contrast > 0 for t in tried.trials)
            say(escape(f"{tried.path}: {hits} of {total} lesions found"))
    if not trials:
        raise DataError(f"{found[0].path}: no scan could be used; see the errors above")
    trials.sort(key=lambda t: (t.subject, t.volume_ml, t.place, t.contrast))
    page = write_detectability(out, trials, plan=plan, model=model)
    say(f"report: {page.resolve()}")
    if failed:
        list_failures(failed, total=len(found))
