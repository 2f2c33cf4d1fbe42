"""``brainuad prepare``."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from brainuad.cli.basics import (
    Out,
    Participants,
    Quiet,
    Scans,
    Series,
    Sessions,
    complain,
    list_failures,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainuad.cohort import Done
    from brainuad.prepare import Recipe
    from brainuad.read.source import Source

EXAMPLES = """
[bold]Examples[/bold]

  brainuad prepare -i sub-01_T1w.nii.gz -o prepared

  brainuad prepare -i raw/*_T1w.nii.gz -o prepared --workers 8

  brainuad prepare -i bids_dataset -o prepared --participant 01 02 --modality T1w

  brainuad prepare -i dicom_folder -o prepared --series 5

  brainuad prepare -i scan.nii.gz --brain mask.nii.gz -o prepared
"""


def prepare(
    *,
    scans: Scans,
    out: Out,
    recipe: Annotated[
        str,
        typer.Option(
            help="Name of a recipe (see [bold]brainuad info[/bold]) or a YAML file; else slices "
            "for pictures, ct for --modality CT, and default-t1."
        ),
    ] = "",
    brain: Annotated[
        list[Path] | None,
        typer.Option(metavar="MASK...", help="Brain masks, one for each scan, on its grid."),
    ] = None,
    series: Series = None,
    participant: Participants = None,
    session: Sessions = None,
    modality: Annotated[
        str | None, typer.Option(help="T1w, T2w, FLAIR, PD or CT; else from the file's name.")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes side by side, one thread and about 1.5 GB each.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Bring scans to the form that detectors take: oriented, brain only, aligned, normalised.

    For X.nii.gz it writes X_prepared.nii.gz (on the detector's grid), X_brain.nii.gz (the brain
    mask on the file's own grid), pictures/X.png and, last, X_prepare.json (steps, checks, matrix);
    then index.html with all pictures, doubtful scans first, also when you stop it with Ctrl-C. A
    run that was stopped goes on; scans that have not changed are not done again.
    [bold]detect[/bold] and [bold]fit[/bold] prepare by themselves; this is for looking, and for
    cohorts.
    """
    from brainuad.cli.inputs import sources
    from brainuad.gate import known_modality
    from brainuad.prepare import recipe as named_recipe
    from brainuad.read.bids import Wanted

    wanted = Wanted(
        participants=participant or (),
        sessions=session or (),
        modality=None if modality is None else known_modality(modality),
    )
    found = sources(scans, brains=brain or (), series=series, wanted=wanted)
    found = [replace(source, modality=source.modality or modality) for source in found]
    steps = named_recipe(recipe or usual_recipe(found))
    made_folder(out)
    done = prepared_with_page(found, steps, out, workers=workers, quiet=quiet)
    failed = {Path(d.path): d.why for d in done if d.bad}
    if failed:
        list_failures(failed, total=len(done), told=False)


def prepared_with_page(
    found: "Sequence[Source]", steps: "Recipe", out: Path, *, workers: int, quiet: bool
) -> "list[Done]":
    """Prepare scans, tell of each, and write the page; of what is done when it is interrupted."""
    import time

    from brainuad.cohort import done_before, prepare_cohort, write_page
    from brainuad.scan_file import scan_stem

    started = time.perf_counter()
    done: list[Done] = []
    try:
        with closing(prepare_cohort(found, steps, out, workers=workers, progress=not quiet)) as run:
            for each in run:
                done.append(each)
                told(each)
    except KeyboardInterrupt:
        names = {each.name for each in done}
        rest = [source for source in found if scan_stem(source.path) not in names]
        done += done_before(rest, steps, out)
        seconds, missing = time.perf_counter() - started, len(found) - len(done)
        page = write_page(out, done, recipe=steps, seconds=seconds, missing=missing)
        say(f"page of what is done: {page}")
        raise
    page = write_page(out, done, recipe=steps, seconds=time.perf_counter() - started)
    say(f"prepared scans: {out}\npage: {page}")
    return done


def told(done: "Done") -> None:
    """Say what became of a scan."""
    if done.bad:
        complain(done.why)
    else:
        say(escape(f"{done.path}: {line(done)}"))


def usual_recipe(found: "Sequence[Source]") -> str:
    """The recipe that suits all scans."""
    from brainuad.read.picture import is_picture
    from brainuad.types import UsageError

    pictures = [is_picture(source.path) for source in found]
    if any(pictures):
        if not all(pictures):
            raise UsageError("-i: pictures and volumes in one run; prepare them apart")
        return "slices"
    return "ct" if all(source.modality == "CT" for source in found) else "default-t1"


def made_folder(out: Path) -> None:
    """Make the output folder before any work is done, or say why it cannot be made."""
    from brainuad.manifest import file_errors
    from brainuad.types import UsageError

    try:
        with file_errors(out):
            out.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise UsageError(f"{out}: cannot be made there; choose another folder") from error


def line(done: "Done") -> str:
    """What became of a scan, in a few words."""
    again = ", as before" if done.known else ""
    doubt = f": {done.why}" if done.why else ""
    return f"prepared ({done.status}{again}{doubt})"
