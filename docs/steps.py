"""The page of all preparation steps, settings and checks, from the code that defines them."""

import inspect
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from brainuad.cli.registry import field_meanings
from brainuad.manifest import plain
from brainuad.prepare.checks import Checks
from brainuad.prepare.recipe import RECIPES, STEPS, Recipe, step_dict, step_name
from brainuad.report.found import CHECKS

UNITS = {
    "bias.iterations": "count",
    "bias.shrink": "voxels",
    "bias.tolerance": "change of the field, a factor",
    "brain.margin_mm": "mm",
    "checks.coverage": "share",
    "checks.edge_mm": "mm",
    "checks.flat": "share",
    "checks.movement": "factor",
    "checks.noise": "share of the range",
    "checks.overlap": "Dice, 0 to 1",
    "checks.seen": "share",
    "checks.volume_ml": "ml",
    "checks.white_at_most": "share of the range",
    "checks.white_over_grey": "share of the range",
    "crop.order": "degree of the spline",
    "crop.shape": "voxels",
    "crop.spacing": "mm",
    "denoise.iterations": "count",
    "denoise.time_step": "voxels squared",
    "frame.shape": "voxels",
    "inner_median.at": "0 to 1",
    "inner_median.depth_mm": "mm",
    "intensity.high": "percentile",
    "intensity.low": "percentile",
    "landmarks.percentiles": "percentile",
    "landmarks.values": "0 to 1",
    "register.iterations": "count",
    "register.levels_mm": "mm",
    "register.neck_mm": "mm",
    "register.rim": "share of the range",
    "resample.grid.origin": "mm",
    "resample.grid.shape": "voxels",
    "resample.grid.spacing": "mm",
    "resample.order": "degree of the spline",
    "tissue_mode.at": "0 to 1",
    "window.high": "that of the scan",
    "window.low": "that of the scan",
    "zscore.clip": "standard deviations",
}
"""Units of the settings that are numbers."""
QUOTE = '"'
HEAD = """# Preparation steps and checks

A recipe file holds a name and a list of steps, which are done in this order:

```yaml
name: ours
steps:
  - {step: brain}
  - {step: register, kind: rigid}
  - {step: resample}
  - {step: intensity, high: 99.5}
  - {step: checks, edge_mm: null}
```

Give its path to `--recipe`. Settings that are not named have the defaults below; `null` leaves out
what can be left out. Steps, settings, their order and the template are looked at before the first
scan. This page is made from the code."""
CHECKED = """## What is checked

Limits by the defaults of `checks`; the table of recipes names those that change them. A rejected
scan is not prepared, a warning is only told. Where no step has registered the scan, what compares
with the template is left out, and the report says why. An unknown modality is a warning too. Of a
recipe without this step the reports say `not checked`.

"""


class Setting(NamedTuple):
    """One row of a table."""

    name: str
    """With the name of its step before it."""
    unit: str
    default: Any
    meaning: str


def page() -> str:
    """The whole page in Markdown."""
    steps = [
        f"## `{name}`\n\n{summary(cls)}\n\n{table(settings(name, cls))}"
        for name, cls in STEPS.items()
    ]
    limits = [
        (f"`{name}`", CHECKS[name], outside(each.warn), outside(each.reject))
        for name, each in Checks().limits().items()
    ]
    checked = CHECKED + rows(("check", "is", "warning", "rejected"), limits)
    head = ("recipe", "steps, and the settings that are not the defaults")
    recipes = "## Recipes\n\n" + rows(head, map(line, RECIPES.values()))
    return "\n\n".join([HEAD, *steps, checked, recipes]) + "\n"


def summary(cls: type) -> str:
    """The first paragraph of a class's description."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def settings(step: str, cls: type) -> Iterator[Setting]:
    """Every setting of a step; those of a nested dataclass have dotted names."""
    meanings, hints = field_meanings(cls), get_type_hints(cls)
    for field in fields(cls):
        name = f"{step}.{field.name}"
        if is_dataclass(field.default) and not isinstance(field.default, type):
            inner = field_meanings(type(field.default))
            for each in fields(field.default):
                key, value = f"{name}.{each.name}", getattr(field.default, each.name)
                yield Setting(key, UNITS.get(key, ""), value, inner[each.name])
        else:
            unit = UNITS.get(name) or choices(hints[field.name])
            yield Setting(name, unit, field.default, meanings[field.name])


def choices(hint: Any) -> str:
    """The words that a setting may have."""
    if hint is bool:
        return "`true` or `false`"
    return ", ".join(f"`{each}`" for each in get_args(hint)) if get_origin(hint) is Literal else ""


def table(found: Iterable[Setting]) -> str:
    """A table of settings; words where a step has none."""
    lines = [
        (
            f"`{each.name.partition('.')[2]}`",
            each.unit,
            shown(each.default),
            re.sub(r"\bNone\b", "`null`", each.meaning),
        )
        for each in found
    ]
    head = ("setting", "unit or choices", "default", "meaning")
    return rows(head, lines) if lines else "No settings."


def shown(value: Any) -> str:
    """A default as a recipe file has it."""
    if value is MISSING:
        return "must be given"
    return f"`{json.dumps(plain(value)).replace(QUOTE, '')}`"


def outside(limits: tuple[float, float]) -> str:
    """Which values are too low and too high; a limit that nothing can pass is not named."""
    low, high = limits
    words = [f"below {low:g}" if low > 0 else "", f"above {high:g}" if math.isfinite(high) else ""]
    return " or ".join(word for word in words if word)


def line(recipe: Recipe) -> tuple[str, str]:
    """A recipe with its steps, and with the settings of each that are not the defaults."""
    return f"`{recipe.name}`", ", ".join(map(changed, recipe.steps))


def changed(step: Any) -> str:
    """A step as ``name (setting value)``."""
    name = step_name(step)
    usual = {f.name: plain(f.default) for f in fields(step) if f.default is not MISSING}
    given = {key: value for key, value in step_dict(step).items() if key != "step"}
    other = [f"{key} {shown(value)}" for key, value in given.items() if value != usual.get(key)]
    return f"{name} ({', '.join(other)})" if other else name


def rows(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    whole = [head, tuple("---" for _ in head), *lines]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in each) + " |" for each in whole
    )
