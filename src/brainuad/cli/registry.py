"""``brainuad methods`` and ``brainuad info``."""

import ast
import inspect
import json
import textwrap
from dataclasses import is_dataclass
from typing import Annotated, Any

import typer

SCAN = (80, 96, 80)
"""Voxels of a brain at 2 mm; the last axis counts axial slices."""
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]

METHODS_EXAMPLES = """
[bold]Examples[/bold]

  brainuad methods

  brainuad methods mad_ad

  brainuad methods --json
"""
INFO_EXAMPLES = """
[bold]Examples[/bold]

  brainuad info

  brainuad info --json
"""


def methods(
    *,
    name: Annotated[
        str | None, typer.Argument(help="Show presets and options of this one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, or the presets and every option of one."""
    from brainuad.method import method_class, method_names

    names = method_names() if name is None else (name,)
    found = {each: description(method_class(each)) for each in names}
    if as_json:
        typer.echo(json.dumps(found if name is None else found[name], indent=2))
    elif name is None:
        print_table(found)
    else:
        print_method(name, found[name])


def description(kind: type) -> dict[str, Any]:
    """What a program may want to know of a method."""
    from brainuad.config import to_dict

    method: Any = kind
    return {
        "title": method.title,
        "paper": method.paper,
        "supervision": method.supervision,
        "space": method.space,
        **cost(method),
        "views": list(method.views),
        "stages": dict(method.stages),
        "presets": {name: to_dict(dict(options)) for name, options in method.presets.items()},
        "training": {name: to_dict(dict(how)) for name, how in method.train_presets.items()},
        "options": options(method.Options),
    }


def cost(method: Any) -> dict[str, int]:
    """Net calls that a 2 mm scan needs at most, and weights of the nets; preset for a CPU."""
    import torch

    from brainuad.config import build

    preset = "small" if "small" in method.presets else "default"
    with torch.device("meta"):  # nothing is computed, and nothing is allocated
        made = method(build(method.Options, dict(method.presets[preset]), where=preset))
    volumes = method.views[0] == "volume"
    calls = made.passes(SCAN) if volumes else SCAN[-1] * made.passes((SCAN[1], SCAN[0]))
    return {"calls_per_scan": calls, "parameters": sum(p.numel() for p in made.parameters())}


def options(cls: type, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Every option of a settings dataclass by its dotted name: meaning and default."""
    from brainuad.config import to_dict

    found: dict[str, dict[str, Any]] = {}
    meanings, default = field_meanings(cls), cls()
    for name, meaning in meanings.items():
        value = getattr(default, name)
        if is_dataclass(value) and not isinstance(value, type):
            found |= options(type(value), f"{prefix}{name}.")
        else:
            plain = to_dict({"value": value})["value"]
            found[prefix + name] = {"default": plain, "meaning": meaning}
    return found


def field_meanings(cls: type) -> dict[str, str]:
    """Fields of a dataclass, inherited ones first, with the text that stands under each."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        found |= own_meanings(each) if is_dataclass(each) else {}
    return found


def own_meanings(cls: type) -> dict[str, str]:
    """Fields that a dataclass defines itself, with the text that stands under each."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            words = text.value if isinstance(text, ast.Constant) else ""
            found[node.target.id] = " ".join(str(words).split())
    return found


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """One line for each method."""
    from rich.console import Console
    from rich.table import Column, Table

    kept = [Column(each, no_wrap=True) for each in ("method", "calls", "size")]
    what = Column("what it is", min_width=26)
    table = Table(kept[0], what, Column("learns from", max_width=8), "in", *kept[1:], box=None)
    for name, about in found.items():
        size = f"{about['parameters'] / 1e6:.2f} M"
        named = f"{about['title']} ({about['paper'].partition(',')[0]})"
        cells = (about["supervision"], about["space"], f"{about['calls_per_scan']:,}", size)
        table.add_row(f"[bold]{name}[/bold]", named, *cells)
    console = Console()
    console.print(table)
    console.print(
        f"\nin: where a scan is compared; calls: of the net, at most, for a brain at 2 mm "
        f"({SCAN[-1]} axial slices); size: weights of the nets. Both with preset small or, where "
        "there is none, default.\nSeconds per scan, measured: docs/methods/index.md. None of "
        "them sees a lesion before it is evaluated."
        "\nbrainuad methods NAME: its presets and every option."
    )


def print_method(name: str, about: dict[str, Any]) -> None:
    """Presets and options of a method."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{name}[/bold]: {about['title']}\n{about['paper']}\n")
    console.print("[bold]Presets[/bold]")
    for preset, changes in about["presets"].items():
        console.print(f"  {preset}: {escape(json.dumps(changes)) if changes else 'the defaults'}")
        if how := about["training"].get(preset):
            console.print(f"    [dim]training: {escape(json.dumps(how))}[/dim]")
    console.print(f"\n[bold]Options[/bold] (--set {name}.OPTION=VALUE)")
    table = Table("option", "default", "meaning", box=None)
    for option, facts in about["options"].items():
        table.add_row(option, escape(json.dumps(facts["default"])), escape(facts["meaning"]))
    console.print(table)


def info(*, as_json: Json = False) -> None:
    """Say what is installed: versions, devices, detectors, methods, recipes, protocols."""
    from brainuad.manifest import plain

    found = plain(inventory())
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if name in ("protocols", "detectors"):
            typer.echo(f"{name}:\n" + "\n".join(f"  {n}: {what}" for n, what in value.items()))
        else:
            typer.echo(f"{name}: {words(value)}")


def inventory() -> dict[str, Any]:
    """What is installed and what this machine has."""
    import torch

    from brainuad import __version__
    from brainuad.evaluate.protocols import PROTOCOLS
    from brainuad.manifest import machine, versions
    from brainuad.method import method_names
    from brainuad.prepare import RECIPES
    from brainuad.shipped import shipped_detectors

    count = torch.cuda.device_count()
    gpus = {f"cuda:{n}": torch.cuda.get_device_name(n) for n in range(count)}
    apple = {"mps": "Apple GPU"} if torch.backends.mps.is_available() else {}
    return {
        "brainuad": __version__,
        "versions": versions(),
        "machine": machine(),
        "devices": {"cpu": machine()["processor"], **gpus, **apple},
        "detectors": shipped_detectors(),
        "methods": list(method_names()),
        "recipes": {name: made.hash for name, made in RECIPES.items()},
        "protocols": {name: made.title for name, made in PROTOCOLS.items()},
    }


def words(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
