"""``brainuad prepare``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from brainuad.cli.basics import INPUTS, Out, Quiet, Series, each, say

EXAMPLES = """
[bold]Examples[/bold]

  brainuad prepare -i sub-01_T1w.nii.gz -o prepared

  brainuad prepare -i raw/*_T1w.nii.gz -o prepared --recipe default-t1

  brainuad prepare -i dicom_folder -o prepared --series 5

  brainuad prepare -i scan.nii.gz --brain mask.nii.gz -o prepared
"""


def prepare(
    *,
    scans: Annotated[
        list[Path],
        typer.Option("--input", "-i", metavar="SCAN...", help=INPUTS),
    ],
    out: Out,
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe (see [bold]brainuad info[/bold]) or a YAML file.")
    ] = "default-t1",
    brain: Annotated[
        list[Path] | None,
        typer.Option(metavar="MASK...", help="Brain masks, one for each scan, on its grid."),
    ] = None,
    series: Series = None,
    modality: Annotated[
        str | None, typer.Option(help="T1w, T2w, FLAIR, PD or CT; else from the file's name.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Bring scans to the form that detectors take: oriented, brain only, aligned, normalised.

    For X.nii.gz it writes X_prepared.nii.gz (on the detector's grid), X_brain.nii.gz (the brain
    mask on the file's own grid) and, last, X_prepare.json (steps, checks, matrix).
    [bold]detect[/bold] and [bold]fit[/bold] prepare by themselves; this is for looking.
    """
    from brainuad.cli.inputs import Source, sources
    from brainuad.detect import staging
    from brainuad.manifest import write_json
    from brainuad.nifti import write_volume
    from brainuad.prepare import prepare_scan
    from brainuad.prepare import recipe as named_recipe
    from brainuad.scan_file import scan_stem

    found = sources(scans, brains=brain or (), series=series)
    steps = named_recipe(recipe)

    def one(source: Source) -> str:
        prepared = prepare_scan(source.read(modality), steps)
        stem, brain = scan_stem(source.path), prepared.original.brain
        assert brain is not None
        canonical = replace(prepared.scan, source=None)
        with staging(out) as folder:
            write_volume(
                folder / f"{stem}_prepared.nii.gz", canonical.voxels, like=canonical, kind="image",
                code=4,
            )  # fmt: skip
            write_volume(
                folder / f"{stem}_brain.nii.gz", brain, like=prepared.original,
                kind="mask",
            )  # fmt: skip
            write_json(folder / f"{stem}_prepare.json", prepared.report)
        return f"prepared ({prepared.report.get('status', 'pass')})"

    each([s.path for s in found], lambda n: one(found[n]), doing="prepare", quiet=quiet)
    say(f"prepared scans: {out}")
