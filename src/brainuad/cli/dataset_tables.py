"""What ``brainuad data`` shows of data sets and folders."""

from typing import TYPE_CHECKING

from rich.markup import escape

from brainuad.cli.basics import say

if TYPE_CHECKING:
    from brainuad.datasets import Dataset
    from brainuad.datasets.layout import Check, Count

SHOWN = 10
"""Names of missing and superfluous files that are shown; --json has all."""


def print_table(found: "dict[str, Dataset]") -> None:
    """One line for each data set."""
    from rich.console import Console
    from rich.table import Table

    table = Table("data set", "what it is", "images", "licence", "commercial", "how", box=None)
    for name, one in found.items():
        terms = (one.licence.name, one.licence.commercial, one.access)
        table.add_row(f"[bold]{name}[/bold]", one.title, ", ".join(one.modalities), *terms)
    console = Console()
    console.print(table)
    console.print(
        "\ncommercial: whether the licence allows commercial use. how: download with brainuad data "
        "fetch NAME,\nor by hand, with or without a registration. brainuad data list NAME: all "
        "about it."
    )


def print_one(one: "Dataset") -> None:
    """All about a data set."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{one.name}[/bold]: {escape(one.title)}\n{escape(one.publisher)}\n")
    for word, text in (
        ("healthy", one.healthy),
        ("lesions", one.lesions),
        ("images", ", ".join(one.modalities)),
        ("licence", terms(one)),
        ("cite", one.citation),
        ("size", size(one)),
        ("parts", ", ".join(one.parts)),
    ):
        if text:
            console.print(f"[bold]{word}[/bold]: {escape(text)}")
    console.print("\n[bold]A complete folder holds[/bold]")
    for each in one.layout:
        many = each.count or "some"
        console.print(escape(f"  {each.glob} ({each.what}, {many})"))
    if one.steps:
        console.print("\n[bold]Steps[/bold]")
        for number, step in enumerate(one.steps, start=1):
            console.print(escape(f"  {number}. {step}"))


def size(one: "Dataset") -> str:
    """Bytes to fetch, as far as they are known."""
    sizes = [each.size for each in one.downloads()]
    known = sum(each or 0 for each in sizes)
    if not known:
        return ""
    return f"{known / 1e9:.1f} GB{' or more' if None in sizes else ''}"


def terms(one: "Dataset") -> str:
    """The licence in one line."""
    note = f"; {one.licence.note}" if one.licence.note else ""
    return f"{one.licence.name} (commercial use: {one.licence.commercial}){note}"


def print_terms(one: "Dataset") -> None:
    """Licence and citation, before anything is fetched."""
    say(f"[bold]{escape(one.title)}[/bold], {escape(one.publisher)}")
    say(f"licence: {escape(terms(one))}")
    say(f"cite: {escape(one.citation)}")


def print_steps(one: "Dataset") -> None:
    """How a person gets the data."""
    why = "only after registration" if one.registration else "only by hand"
    say(f"\n{escape(one.name)} can be had {why}:")
    for number, step in enumerate(one.steps, start=1):
        say(f"  {number}. {escape(step)}")
    say(f"Then: brainuad data check {escape(one.name)} FOLDER")


def print_check(found: "Check") -> None:
    """What was found, what is missing, what is superfluous."""
    from rich.console import Console
    from rich.table import Table

    table = Table("files", "expected", "found", "", box=None)
    for each in found.counts:
        expected = "at least 1" if each.expected is None else str(each.expected)
        table.add_row(escape(each.what), expected, str(each.found), verdict(each))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    named = [name for each in found.counts for name in each.named]
    for word, listed in (
        ("missing", named),
        ("empty", list(found.empty)),
        ("superfluous", list(found.superfluous)),
    ):
        for name in listed[:SHOWN]:
            console.print(f"{word}: {escape(name)}")
        if len(listed) > SHOWN:
            console.print(f"{word}: and {len(listed) - SHOWN} more; --json lists all")
    if found.unfinished:
        console.print("a download has broken off; brainuad data fetch goes on with it")
    console.print(f"{found.name} in {found.folder}: {'in' * (not found.complete)}complete")


def verdict(each: "Count") -> str:
    """How a count compares, in a few words."""
    if each.optional and not each.found:
        return "not there (optional)"
    words = [f"{each.missing} missing"] if each.missing else []
    words += [f"{each.superfluous} superfluous"] if each.superfluous else []
    return ", ".join(words) or "complete"
