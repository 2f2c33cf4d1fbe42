"""What all commands share: options, words on the screen, many scans one after the other."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperCommand

_state: dict[str, str] = {}

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; made when missing.")]
INPUTS = (
    "NIfTI files, DICOM folders or zips, BIDS data sets, pictures of slices, folders of NIfTI "
    "files or pictures, or a .tsv/.csv table."
)
Scans = Annotated[list[Path], typer.Option("--input", "-i", metavar="SCAN...", help=INPUTS)]
Participants = Annotated[
    list[str] | None,
    typer.Option("--participant", metavar="LABEL...", help="Only these of a BIDS data set."),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option("--session", metavar="LABEL...", help="Only these sessions of a BIDS data set."),
]
Series = Annotated[
    str | None, typer.Option(help="Number or UID of the DICOM series, where a study has several.")
]
Namesakes = Annotated[
    bool,
    typer.Option(
        "--namesakes",
        help="Subjects with the names of those that the detector was made of are other people.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of all random streams; same seed, same result.")]
Device = Annotated[
    str, typer.Option("--device", "-d", help="cpu, cuda, cuda:1 or mps; never replaced silently.")
]
Quiet = Annotated[
    bool, typer.Option("--no-progress", help="No progress bars (automatic without a terminal).")
]
BatchSize = Annotated[
    int, typer.Option(help="Images at once; less memory when lower, same result.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting; may be given often."),
]
Config = Annotated[
    Path | None, typer.Option(help="YAML file of settings; --set and options win over it.")
]


class Command(TyperCommand):
    """A command whose repeatable options take several values at once: ``-i a b c``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such an option before each of its values, then parse as usual."""
        names = {
            name
            for parameter in self.params
            if getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        return super().parse_args(ctx, spread(args, names))


def spread(args: Sequence[str], names: set[str]) -> list[str]:
    """``-i a b -o c`` to ``-i a -i b -o c`` for every option in ``names``."""
    found: list[str] = []
    option, values = "", 0
    for word in args:
        if word.startswith("-") and word != "-":
            option, values = word, 0
        elif option in names:
            values += 1
            if values > 1:
                found.append(option)
        found.append(word)
    return found


def say(text: str) -> None:
    """A line for people, on standard error, so that standard output stays for programs."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def complain(text: str) -> None:
    """One error, on standard error."""
    say(f"[bold red]brainuad: error:[/bold red] {escape(text)}")


def remark(text: str) -> None:
    """Something that a person should know and that is no error, on standard error."""
    say(f"[bold yellow]brainuad: note:[/bold yellow] {escape(text)}")


def current_scan() -> str:
    """Name of the scan that is being worked on; empty when there is none."""
    return _state.get("scan", "")


def progress_bar(*, quiet: bool) -> Progress:
    """A progress bar on standard error; hidden when asked to, or when nobody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    hidden = quiet or not sys.stderr.isatty()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)


def each(
    paths: Sequence[Path], work: Callable[[int], str], *, doing: str, quiet: bool = False
) -> None:
    """Work on every scan; one that fails is reported and the others are done all the same.

    Args:
        paths: the scans.
        work: does the scan with this number and says what came of it.
        doing: word for the progress bar.
        quiet: no progress bar.

    Raises:
        BrainuadError: the error of the scan, when there was only one.
        typer.Exit: with code 1, when some of several failed.
    """
    from brainuad.types import BrainuadError

    failures: dict[Path, str] = {}
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task(doing, total=len(paths))
        for number, path in enumerate(paths):
            _state["scan"] = path.name.split(".")[0]
            try:
                say(f"{escape(str(path))}: {escape(work(number))}")
            except BrainuadError as error:
                if len(paths) == 1:
                    raise
                failures[path] = str(error)
                complain(str(error))
            bar.advance(task)
    _state.clear()
    if failures:
        list_failures(failures, total=len(paths))


def list_failures(
    failures: dict[Path, str], *, total: int, kind: str = "scan", told: bool = True
) -> None:
    """Say which scans, or other things, failed and leave with exit code 1.

    Args:
        failures: what failed, and why.
        total: how many were tried.
        kind: what they are.
        told: whether the reasons were said before, when they came up.
    """
    complain(f"{len(failures)} of {total} {kind}{'' if total == 1 else 's'} failed:")
    for path, why in failures.items():
        full = why if path.name in why else f"{path}: {why}"
        say("  " + escape(str(path) if told else full))
    raise typer.Exit(1)
