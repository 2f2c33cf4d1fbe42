"""The page of preparation steps holds what the code holds, with a unit for every number."""

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from brainuad.prepare.checks import Checks
from brainuad.prepare.recipe import RECIPES, STEPS, Recipe

SOURCE = Path(__file__).resolve().parents[1] / "docs" / "steps.py"


@pytest.fixture(scope="module")
def steps():
    spec = importlib.util.spec_from_file_location("steps", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: str, title: str) -> dict[str, list[str]]:
    """Rows of the table below a heading, by their first cell."""
    text = page.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:3] == "| `"]
    return {first.strip(" `"): [c.strip() for c in rest] for first, *rest in cells}


@pytest.mark.parametrize("name", STEPS)
def test_every_setting_has_its_default_and_its_meaning(steps, name):
    found = section(steps.page(), f"`{name}`")
    for field in fields(STEPS[name]):
        below = [row for row in found if row.split(".")[0] == field.name]
        assert below, f"{field.name} is not on the page"
        for row in below:
            assert len(found[row][2].split()) > 1, f"{row} has no meaning"
    assert len(found) >= len(fields(STEPS[name]))


def test_numbers_have_a_unit_and_no_unit_is_left_over(steps):
    numbers = {
        each.name
        for name, cls in STEPS.items()
        for each in steps.settings(name, cls)
        if re.search(r"\d", steps.shown(each.default).replace("mni152", ""))
    }
    assert numbers | {"landmarks.values"} == set(steps.UNITS)


def test_limits_are_those_of_the_checks(steps):
    found = section(steps.page(), "What is checked")
    assert set(found) == set(Checks().limits())
    for name, (_, warning, rejected) in found.items():
        for words, limits in (
            (warning, Checks().limits()[name].warn), (rejected, Checks().limits()[name].reject),
        ):  # fmt: skip
            told = dict(re.findall(r"(below|above) ([\d.]+)", words))
            assert told
            for side, value in told.items():
                assert float(value) == pytest.approx(limits[side == "above"])


def test_every_recipe_is_there_with_its_steps(steps):
    found = section(steps.page(), "Recipes")
    assert set(found) == set(RECIPES)
    assert "overlap `0.6`" in found["behrendt-2mm"][0]


def test_the_example_is_a_recipe(steps):
    import yaml

    (text,) = re.findall(r"```yaml\n(.*?)```", steps.page(), re.S)
    made = Recipe.from_dict(yaml.safe_load(text))
    made.check(where="the page")
    assert len(made.steps) == 5
