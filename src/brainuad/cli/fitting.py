"""``brainuad fit`` and ``brainuad calibrate``."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from brainuad.cli.basics import (
    BatchSize,
    Config,
    Device,
    Namesakes,
    Quiet,
    Seed,
    Set,
    progress_bar,
    remark,
    say,
)

if TYPE_CHECKING:
    from brainuad.cli.inputs import Source
    from brainuad.detector import Detector
    from brainuad.prepare import Prepared

FIT_EXAMPLES = """
[bold]Examples[/bold]

  brainuad fit -i healthy/ -o my-detector --method mad_ad --calibrate others/

  brainuad fit -i healthy.tsv -o my-detector --method dae --time-budget 9m --device cuda

  brainuad fit -i healthy/ -o d --method dae --preset dark --set training.steps=2000

A table (.tsv, .csv) has a column path and perhaps brain and subject. An interrupted fit goes on
when the same command is given again. Options of a method: brainuad methods NAME.
"""
CALIBRATE_EXAMPLES = """
[bold]Examples[/bold]

  brainuad calibrate -i others/ -m my-detector

  brainuad calibrate -i others/ -m my-detector -o my-detector-site2 --cohort "site 2"
"""
SCANS = typer.Option(
    "--input", "-i", metavar="SCAN...", help="NIfTI files, folders of them, or a .tsv/.csv."
)
Scans = Annotated[list[Path], SCANS]
Packed = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Packed prepared scans, in place of -i.")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Write over a detector that is in the folder.")
]
MethodName = Annotated[
    str | None, typer.Option("--method", "-m", help="See [bold]brainuad methods[/bold].")
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="Preparation; by default the modality's.")
]
Cohort = Annotated[str, typer.Option(help="Name of the calibration cohort, for the record.")]


def fit(
    *,
    scans: Annotated[list[Path] | None, SCANS] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Detector folder to make.")],
    packed: Packed = None,
    method: MethodName = None,
    preset: Annotated[str | None, typer.Option(help="Named set of the method's options.")] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(metavar="SCAN...", help="Other healthy scans, to set the thresholds on."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop each stage after so many optimiser steps.")
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after 90s, 9m, 1h30m; stages share it.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="T1w (default), T2w, FLAIR, PD or CT.")
    ] = None,
    recipe: RecipeName = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random streams.")] = None,
    device: Device = "cpu",
    config: Config = None,
    changes: Set = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with an unfinished fit, or drop it.")
    ] = True,
    work: Annotated[
        Path | None, typer.Option(help="Folder of prepared scans and checkpoints [OUT.work].")
    ] = None,
    cohort: Cohort = "",
    replace: Replace = False,
    quiet: Quiet = False,
) -> None:
    """Make a detector from scans of healthy people.

    Scans are prepared once, the method is fitted, and with [bold]--calibrate[/bold] the
    thresholds are set on other healthy scans. The detector is one folder: settings, weights,
    calibration, card.
    """
    from brainuad.cli.inputs import sources
    from brainuad.cli.workplace import Workplace
    from brainuad.detector_files import check_free
    from brainuad.fit_settings import resolve

    named = {
        "method": method, "preset": preset, "modality": modality, "recipe": recipe,
        "training": training(steps=steps, time_budget=time_budget, seed=seed),
    }  # fmt: skip
    settings = resolve(config, changes or [], named=named)
    check_free(out, replace=replace)
    detector, how = settings.detector(), settings.training
    healthy = given(scans, packed)
    others = sources(calibrate) if calibrate else []
    say(escape(settings.text()).rstrip())
    place = Workplace.at(work or out.with_name(out.name + ".work"), settings, resume=resume)
    store = place.filled(detector, healthy, packed, quiet=quiet)
    detector.name = out.name
    detector.fit(store, how, work=place.training, device=device, progress=not quiet)
    if others:
        set_thresholds(detector, others, cohort=cohort, device=device, quiet=quiet)
    detector.save(out)
    place.remove()
    say(f"detector: {out}" + ("" if others else " (no thresholds yet: brainuad calibrate)"))


def given(scans: list[Path] | None, packed: Path | None) -> list["Source"]:
    """The healthy scans, none where packed ones take their place.

    Raises:
        UsageError: neither, or both.
        MissingError: the packed file is not there.
    """
    from brainuad.cli.inputs import sources
    from brainuad.pack import check_there
    from brainuad.types import UsageError

    if (scans is None) == (packed is None):
        raise UsageError("fit: give healthy scans with --input, or packed ones with --packed")
    if packed is not None:
        check_there(packed)
    return sources(scans) if scans else []


def training(**given: Any) -> dict[str, Any]:
    """Settings of the training that were given as options."""
    names = {"steps": "steps", "time_budget": "time_budget", "seed": "seed"}
    return {names[name]: value for name, value in given.items() if value is not None}


def calibrate(
    *,
    scans: Scans,
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="DETECTOR", help="Its folder or name.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this folder instead.")
    ] = None,
    cohort: Cohort = "",
    namesakes: Namesakes = False,
    replace: Replace = False,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Set a detector's thresholds on healthy scans that it was not fitted on.

    Thresholds at 0.1, 1 and 5 % healthy false positives and the scores of these scans go into the
    detector folder; the weights stay as they are. Twenty scans or more give steady thresholds.
    """
    from brainuad.cli.inputs import sources
    from brainuad.detector import Detector
    from brainuad.detector_files import check_free
    from brainuad.types import UsageError

    if out is None and not model.is_dir():
        raise UsageError(f"{model}: not a folder of your own; say with --out where it shall go")
    # Thresholds that hold no longer are the reason to come here.
    detector = Detector.load(model, thresholds=False)
    if out is not None:
        check_free(out, replace=replace, but=detector.identity())
    found = sources(scans)
    check_other_files(detector, found)
    set_thresholds(
        detector, found, cohort=cohort, namesakes=namesakes, seed=seed, batch_size=batch_size,
        device=device, quiet=quiet,
    )  # fmt: skip
    detector.save(out or model)
    say(f"detector: {out or model}")


def check_other_files(detector: "Detector", found: Sequence["Source"]) -> None:
    """Refuse files that the detector was fitted on, whatever they are called now."""
    from brainuad.manifest import sha256_of
    from brainuad.types import DataError

    fitted = {digest: who for who, digest in detector.config.provenance.get("inputs", {}).items()}
    for source in found:
        if who := fitted.get(sha256_of(source.path)):
            raise DataError(
                f"{source.path}: was fitted on, as {who}, so it cannot calibrate; give other "
                "healthy scans"
            )


def set_thresholds(
    detector: "Detector", found: Sequence["Source"], *, quiet: bool, **options: Any
) -> None:
    """Calibrate and say what came of it."""
    made = detector.calibrate(followed(prepared(detector, found), len(found), quiet), **options)
    for rate, value in sorted(made.thresholds.items()):
        say(f"threshold at {100 * rate:g} % healthy false positives: {value:.5g}")
    for said in made.remarks:
        remark(said)


def prepared(detector: "Detector", found: Sequence["Source"]) -> Iterator["Prepared"]:
    """The scans as the detector sees them, one by one."""
    from brainuad.prepare import prepare_scan

    for source in found:
        scan = source.read(detector.config.modality)
        yield prepare_scan(scan, detector.config.recipe)


def followed(items: Iterable["Prepared"], total: int, quiet: bool) -> Iterator["Prepared"]:
    """The same items, with a progress bar."""
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("calibrate", total=total)
        for item in items:
            yield item
            bar.advance(task)
