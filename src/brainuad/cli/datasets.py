"""``brainuad data``: what public data sets there are, fetching them, checking a folder."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from brainuad.cli.basics import Command, Out, Quiet, say
from brainuad.cli.dataset_tables import (
    print_check,
    print_one,
    print_steps,
    print_table,
    print_terms,
)
from brainuad.cli.registry import Json

OFFLINE = "BRAINUAD_OFFLINE"
EXAMPLES = """
[bold]Examples[/bold]

  brainuad data list

  brainuad data fetch ixi -o ixi --part T1

  brainuad data check ixi ixi
"""
LIST_EXAMPLES = """
[bold]Examples[/bold]

  brainuad data list

  brainuad data list atlas

  brainuad data list --json
"""
FETCH_EXAMPLES = """
[bold]Examples[/bold]

  brainuad data fetch mslub -o mslub

  brainuad data fetch ixi -o ixi --part T1 T2

  brainuad data fetch ours.yaml -o ours
"""
CHECK_EXAMPLES = """
[bold]Examples[/bold]

  brainuad data check brats2021 BraTS2021_Training_Data

  brainuad data check mslub mslub --json
"""
Name = Annotated[
    str, typer.Argument(help="A name of [bold]brainuad data list[/bold], or a recipe (.yaml).")
]

data = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EXAMPLES,
    help="Public data sets: what they hold and allow, fetching them, checking a folder.",
)


def list_sets(
    *,
    name: Annotated[str | None, typer.Argument(help="Show all about this one.")] = None,
    as_json: Json = False,
) -> None:
    """List the public data sets that brainuad has recipes for, or all about one."""
    from brainuad.config import to_dict
    from brainuad.datasets import dataset, names

    found = {each: dataset(each) for each in (names() if name is None else (name,))}
    if as_json:
        plain = {each: {**to_dict(one), "access": one.access} for each, one in found.items()}
        typer.echo(json.dumps(plain if name is None else plain[name], indent=2))
    elif name is None:
        print_table(found)
    else:
        print_one(found[name])


def fetch(
    *,
    name: Name,
    out: Out,
    part: Annotated[
        list[str] | None, typer.Option(metavar="PART...", help="Only these parts of it.")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a public data set, check it and unpack it.

    Given again after an interruption, it goes on where it was; what is complete is not fetched
    again. Data behind a registration cannot be fetched: you get the steps to follow, and exit
    code 69. brainuad-data.json in the folder says what came from where.
    """
    from brainuad.datasets import dataset
    from brainuad.datasets import fetch as fetching
    from brainuad.types import UnavailableError

    found = dataset(name)
    print_terms(found)
    if not found.files:
        print_steps(found)
        raise typer.Exit(UnavailableError.exit_code)
    if os.environ.get(OFFLINE, "") not in {"", "0"}:
        raise UnavailableError(f"{found.name}: {OFFLINE} is set; unset it to fetch data")
    with watching(quiet=quiet) as watch:
        done = fetching.fetch(found, out, parts=part or (), keep=keep_archives, watch=watch)
    before = len(found.downloads(tuple(part or ()))) - len(done)
    unchecked = sum(not each.checked for each in done)
    say(f"fetched {len(done)} files, {before} were there: {escape(str(out))}")
    if unchecked:
        say(f"of {unchecked} no checksum is known; theirs are now in {fetching.RECORD}")


def check(
    *,
    name: Name,
    folder: Annotated[Path, typer.Argument(help="The folder that holds the data set.")],
    as_json: Json = False,
) -> None:
    """Compare a folder with what the data set should hold.

    Says what is missing, empty or superfluous; exit code 1 when something is missing.
    """
    from brainuad.datasets import dataset, layout
    from brainuad.manifest import plain

    found = layout.check(dataset(name), folder)
    if as_json:
        typer.echo(json.dumps(plain(found), indent=2))
    else:
        print_check(found)
    if not found.complete:
        raise typer.Exit(1)


for command, verb, examples in (
    (list_sets, "list", LIST_EXAMPLES),
    (fetch, "fetch", FETCH_EXAMPLES),
    (check, "check", CHECK_EXAMPLES),
):
    data.command(verb, cls=Command, epilog=examples)(command)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar in bytes on standard error; hidden when asked to, or when nobody watches."""
    import sys

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )
    tasks: dict[str, Any] = {}

    def watch(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            for task in tasks.values():
                bar.remove_task(task)
            tasks.clear()
            tasks[name] = bar.add_task(escape(name), total=total)
        bar.update(tasks[name], completed=done, total=total)

    with bar:
        yield watch
