"""``brainuad ensemble``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainuad.cli.basics import Device, Quiet, say
from brainuad.cli.fitting import Cohort, Replace, set_thresholds

if TYPE_CHECKING:
    from brainuad.detector import Detector

EXAMPLES = """
[bold]Examples[/bold]

  brainuad ensemble -m my-fpi -m my-cddpm=0.5 -o both --calibrate others/

  brainuad ensemble --config both.yaml -o both --calibrate others/

A member counts 1, or as NAME=WEIGHT says. A YAML file holds members (name: weight) and about.
"""


def ensemble(
    *,
    members: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="DETECTOR[=WEIGHT]", help="A member; repeat."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Detector folder to make.")],
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(metavar="SCAN...", help="Healthy scans that no member was fitted on."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file of members and about.")
    ] = None,
    cohort: Cohort = "",
    replace: Replace = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Join detectors to one whose map is the weighted sum of theirs.

    Their maps should be in one unit: fit them with [bold]normative[/bold], so that each is in
    standard deviations of healthy people. Members are copied; the folder needs nothing else.
    """
    from brainuad.cli.inputs import sources
    from brainuad.detector_files import check_free

    check_free(out, replace=replace)
    others = sources(calibrate) if calibrate else []
    detector = joined(config, members or [])
    detector.name = out.name
    if others:
        set_thresholds(detector, others, cohort=cohort, device=device, quiet=quiet)
    detector.save(out)
    say(f"detector: {out}" + ("" if others else " (no thresholds yet: brainuad calibrate)"))


def joined(config: Path | None, members: Sequence[str]) -> "Detector":
    """The detector that a file and members given by name describe.

    Raises:
        UsageError: a weight that is no number, a member twice, an unknown setting.
    """
    from dataclasses import replace

    from brainuad.detector import Detector
    from brainuad.ensemble import ensemble as join
    from brainuad.types import UsageError

    given = described(config)
    asked = [*given["members"].items(), *map(member, members)]
    names = [Path(name).name for name, _ in asked]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--model: two detectors are called {twice[0]}; rename one's folder")
    loaded = [Detector.load(name, thresholds=False) for name, _ in asked]
    detectors = dict(zip(names, loaded, strict=True))
    made = join(detectors, dict(zip(names, (weight for _, weight in asked), strict=True)))
    made.config = replace(made.config, about=given["about"] or made.config.about)
    return made


def described(config: Path | None) -> dict[str, Any]:
    """What a file says of an ensemble."""
    from brainuad.config import load_yaml
    from brainuad.types import UsageError

    given = load_yaml(config) if config else {}
    unknown = sorted(set(given) - {"members", "about"})
    if unknown:
        raise UsageError(f"{config}: unknown setting {unknown[0]!r}; known: members, about")
    members = given.get("members", {})
    if not isinstance(members, dict):
        raise UsageError(f"{config}: members is {members!r}; write name: weight, one per line")
    pairs = [member(f"{name}={weight}") for name, weight in members.items()]
    return {"members": dict(pairs), "about": str(given.get("about", ""))}


def member(text: str) -> tuple[str, float]:
    """Name and weight of ``NAME`` or ``NAME=WEIGHT``."""
    from brainuad.types import UsageError

    name, _, weight = text.partition("=")
    try:
        return name, float(weight or 1)
    except ValueError:
        raise UsageError(f"--model {text}: {weight!r} is no weight; give NAME=0.5") from None
