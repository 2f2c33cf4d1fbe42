"""``brainuad generate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from brainuad.cli.basics import Out, Quiet, Seed, progress_bar, say

if TYPE_CHECKING:
    from brainuad.generate import GenerateOptions, TissueMap
    from brainuad.scan import Scan

EXAMPLES = """
[bold]Examples[/bold]

  brainuad generate -i labels/ -o healthy-flair --modality FLAIR -n 80

  brainuad generate -i other-labels/ -o others --modality FLAIR -n 20 --first 80

  brainuad fit -i healthy-flair/scans.tsv -o my-detector --method fpi --modality FLAIR

Label maps have FreeSurfer labels and, at best, the rest of the head, as those that SynthSeg was
trained on. The number of a scan names its random streams: other numbers are other people.
"""
Labels = Annotated[
    list[Path],
    typer.Option("--input", "-i", metavar="LABELS...", help="Label maps, or folders of them."),
]


def generate(
    *,
    labels: Labels,
    out: Out,
    modality: Annotated[str, typer.Option(help="FLAIR, T2w or T1w.")] = "FLAIR",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many scans.")] = 40,
    first: Annotated[int, typer.Option(min=0, help="Number of the first scan.")] = 0,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make scans of healthy people out of label maps, for a contrast of which there are none.

    Deforms each label map in turn at random and paints it as a FLAIR, T2w or T1w sequence would
    see it. Writes the scans with the head around the brain, brain masks, and scans.tsv for
    [bold]brainuad fit[/bold].
    """
    from brainuad.generate import GenerateOptions
    from brainuad.manifest import write_text

    options = GenerateOptions(contrast=modality)
    maps = read_maps(labels, options, quiet=quiet)
    table = out / "scans.tsv"
    earlier = table.read_text(encoding="utf-8").splitlines()[1:] if table.is_file() else []
    rows = dict.fromkeys(earlier)
    with progress_bar(quiet=quiet) as bar:
        for n in bar.track(range(first, first + number), description="generate"):
            made = one(maps[n % len(maps)], n, options, seed=seed)
            rows["\t".join(written(out, made))] = None
    # A cohort that is continued keeps the scans that it has.
    write_text(table, "\n".join(["path\tbrain\tsubject", *rows, ""]))
    some = "" if len(maps) == 1 else "s"
    say(escape(f"{number} scans from {len(maps)} label map{some}: {table}"))


def read_maps(
    labels: Sequence[Path], options: "GenerateOptions", *, quiet: bool
) -> "list[TissueMap]":
    """The label maps, all checked before the first scan is made."""
    from brainuad.cli.inputs import sources
    from brainuad.generate import tissue_map
    from brainuad.types import DataError

    for path in labels:
        if path.is_dir() and not any(path.iterdir()):
            raise DataError(f"{path}: is empty; give a folder with label maps")
    with progress_bar(quiet=quiet) as bar:
        found = bar.track(sources(labels), description="read")
        return [tissue_map(source.read(), margin_mm=options.margin_mm) for source in found]


def one(head: "TissueMap", number: int, options: "GenerateOptions", *, seed: int) -> "Scan":
    """The scan with this number."""
    from brainuad.generate import generate
    from brainuad.rng import Rng

    subject = f"sub-syn{number:03d}"
    rng = Rng.named(seed, [subject], "generate")
    return generate(head, options=options, subject=subject, rng=rng)


def written(out: Path, made: "Scan") -> tuple[str, str, str]:
    """Write a scan and its brain mask; what the table says of them."""
    from brainuad.nifti import write_volume

    path = f"{made.subject}_{made.modality}.nii.gz"
    brain = f"{made.subject}_brain.nii.gz"
    assert made.brain is not None
    write_volume(out / path, made.voxels, like=made, kind="image", code=1)
    write_volume(out / brain, made.brain, like=made, kind="mask", code=1)
    return path, brain, made.subject
