"""Recipes are data: they survive YAML, their hash depends on the steps alone."""

import pytest

from brainuad.config import dump_yaml
from brainuad.manifest import hash_of
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.recipe import RECIPES, STEPS, Recipe, recipe, step_dict, step_name
from brainuad.types import MissingError, UsageError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_yaml(tmp_path, name):
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml(RECIPES[name].to_dict()))
    again = recipe(path)
    assert again == RECIPES[name]
    assert again.hash == RECIPES[name].hash
    assert recipe(name) is RECIPES[name]


@pytest.mark.parametrize("name", STEPS)
def test_every_step_prints_hashes_and_knows_its_name(name):
    needed = {"landmarks": {"values": (0.0, 1.0), "percentiles": (1.0, 99.0)}}.get(name, {})
    step = STEPS[name](**needed)
    assert step_name(step) == name
    assert hash(step) == hash(STEPS[name](**needed))
    assert repr(step).startswith(type(step).__name__)


def test_checks_change_no_voxel_and_no_hash():
    plain = Recipe(name="a", steps=(Brain(), Intensity()))
    for checks in (Checks(), Checks(overlap=None, strict=False)):
        assert Recipe(name="a", steps=(Brain(), Intensity(), checks)).hash == plain.hash


def test_the_hash_depends_on_the_steps_and_not_on_the_name():
    one = Recipe(name="a", steps=(Brain(), Intensity()))
    assert one.hash == Recipe(name="b", steps=(Brain(), Intensity())).hash
    assert one.hash != Recipe(name="a", steps=(Intensity(), Brain())).hash
    assert one.hash != Recipe(name="a", steps=(Brain(), Intensity(high=98.0))).hash


def test_default_recipes_prepare_alike_and_grow_what_deepbet_finds():
    """`prepare` takes one of them for a folder of any contrast, `fit` that of the modality."""
    names = ("default-t1", "default-t2", "default-flair")
    assert len({RECIPES[name].hash for name in names}) == 1
    brains = {name: r.steps[0] for name, r in RECIPES.items() if isinstance(r.steps[0], Brain)}
    assert {n: b.margin_mm for n, b in brains.items() if b.margin_mm} == dict.fromkeys(names, 2.0)


def test_a_margin_counts_and_none_leaves_older_names_alone():
    plain = Recipe(name="a", steps=(Brain(), Intensity()))
    before = [{"step": "brain", "how": "auto"}, step_dict(Intensity())]
    assert plain.hash == hash_of(before)
    assert plain.hash != Recipe(name="a", steps=(Brain(margin_mm=2.0), Intensity())).hash


def written(path, *steps):
    path.write_text(dump_yaml({"name": "own", "steps": list(steps)}))
    return path


def test_a_template_that_is_not_there_is_said_when_the_file_is_read(tmp_path):
    register = {"step": "register", "template": str(tmp_path / "sri24.nii")}
    path = written(tmp_path / "own.yaml", {"step": "brain"}, register)
    with pytest.raises(MissingError, match=r"template .*sri24.nii: no such file; give mni152 or"):
        recipe(path)
    written(path, {"step": "brain"}, register | {"kind": "none"})
    assert recipe(path).name == "own"


@pytest.mark.parametrize("early", ["register", "crop", "intensity", "bias", "checks"])
def test_a_step_before_the_brain_is_said_when_the_file_is_read(tmp_path, early):
    path = written(tmp_path / "own.yaml", {"step": "denoise"}, {"step": early}, {"step": "brain"})
    with pytest.raises(UsageError, match=rf"own.yaml: {early} comes before brain; put the brain"):
        recipe(path)
    assert recipe(written(path, {"step": "denoise"}, {"step": "brain"}, {"step": early}))


def test_an_unknown_recipe_lists_the_choices():
    with pytest.raises(UsageError, match="recipe 'default-t7': unknown; choose from default-t1"):
        recipe("default-t7")


def test_a_missing_file_is_said():
    with pytest.raises(MissingError, match=r"none\.yaml: no such settings file"):
        recipe("none.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x"}, "steps must be a list"),
        ({"name": "x", "steps": [], "more": 1}, "unknown setting more"),
        ({"steps": [{"step": "polish"}]}, r"steps\[0\].*names no step; choose from brain"),
        ({"steps": ["brain"]}, r"steps\[0\]: 'brain' names no step"),
        ({"steps": [{"step": "intensity", "hihg": 1}]}, r"steps\[0\]\.hihg: unknown setting"),
        ({"steps": [{"step": "brain", "how": "magic"}]}, r"steps\[0\]\.how"),
        ({"steps": [{"step": "register", "levels_mm": []}]}, r"steps\[0\]: register: levels_mm"),
        ({"steps": [{"step": "register", "neck_mm": -1.0}]}, r"steps\[0\]: .*use numbers above 0"),
        ({"steps": [{"step": "crop", "spacing": 0.0}]}, r"steps\[0\]: crop: .*must be above 0"),
        ({"steps": [{"step": "checks", "overlap": 80.0}]}, r"checks: overlap 80.0 is no limit"),
        ({"steps": [{"step": "checks", "volume_ml": [9.0, 1.0]}]}, r"volume_ml .* is no limit"),
    ],
)
def test_wrong_recipes_are_said_with_the_place(data, message):
    with pytest.raises(UsageError, match=message):
        Recipe.from_dict(data)
