import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from brainuad.config import Seconds, build, dump_yaml, load_yaml, override, seconds, to_dict
from brainuad.types import DataError, MissingError, UsageError


@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: Annotated[int, Field(gt=0)] = 10
    shape: tuple[int, ...] = (4, 8)
    budget: Seconds | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    training: Inner = dataclasses.field(default_factory=Inner)
    second: Inner | None = None
    several: tuple[Inner, ...] = ()
    lr: float | dict[str, float] = 1e-3
    contrast: Literal["bright", "dark"] = "dark"


@dataclass(frozen=True, kw_only=True)
class Checked:
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if self.low > self.high:
            raise UsageError(f"limits: low {self.low} is above high {self.high}; swap them")


INNERS = st.builds(
    Inner,
    steps=st.integers(1, 10**9),
    shape=st.lists(st.integers()).map(tuple),
    budget=st.none() | st.floats(0, 1e9),
)
OUTERS = st.builds(
    Outer,
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    training=INNERS,
    second=st.none() | INNERS,
    several=st.lists(INNERS, max_size=2).map(tuple),
    lr=st.floats(allow_nan=False) | st.dictionaries(st.text("abc"), st.floats(0, 1)),
    contrast=st.sampled_from(["bright", "dark"]),
)


@given(OUTERS)
def test_settings_survive_a_file(tmp_path_factory, settings):
    path = tmp_path_factory.getbasetemp() / "settings.yaml"
    path.write_text(dump_yaml(settings), encoding="utf-8")
    assert build(Outer, load_yaml(path)) == settings
    assert build(Outer, to_dict(settings)) == settings


def test_missing_fields_take_their_defaults():
    assert build(Outer, {"name": "a"}) == Outer(name="a")
    assert build(Inner, None) == Inner()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"training": {"step": 1}}, r"^run\.training\.step: unknown setting; known: budget, sh"),
        ({"second": {"x": 1}}, r"^run\.second\.x: unknown setting; known: budget, shape, steps$"),
        ({"nme": "b"}, r"^run\.nme: unknown setting; known: contrast, lr, name, second, sev"),
        ({"several": [{"x": 1}]}, r"^run\.several\.0\.x: unknown setting; remove it$"),
        ({"training": {"steps": -1}}, r"^run\.training\.steps: .*greater than 0, got -1; corr"),
        ({"training": {"steps": "5"}}, r"run\.training\.steps: .*integer, got '5'"),
        ({"training": {"steps": True}}, r"run\.training\.steps: .*integer, got True"),
        ({"training": {"budget": "soon"}}, r"^run\.training\.budget: duration 'soon': not und"),
        ({"training": 3}, r"^run\.training: .*got 3"),
        ({"lr": "fast"}, r"run\.lr.*got 'fast'"),
        ({"contrast": "grey"}, r"^run\.contrast: Input should be 'bright' or 'dark', got 'grey'"),
        ({"name": None}, r"^run\.name: .*string, got None"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_remedy(data, words):
    with pytest.raises(UsageError, match=words):
        build(Outer, {"name": "a", **data}, where="run")


def test_every_wrong_value_is_named_at_once():
    with pytest.raises(UsageError, match=r"training\.steps: .*; name: has no value; give one|na.*"):
        build(Outer, {"training": {"steps": 0}})


def test_what_a_dataclass_finds_wrong_with_itself_reaches_the_reader():
    with pytest.raises(UsageError, match=r"^limits: low 2\.0 is above high 1\.0; swap them$"):
        build(Checked, {"low": 2})
    with pytest.raises(UsageError, match=r"^limits: low"):
        build(Checked, {"low": 2}, where="limits")
    with pytest.raises(UsageError, match=r"^map: limits: low"):
        build(Checked, {"low": 2}, where="map")


def test_override_replaces_without_touching_the_original():
    data = to_dict(Outer(name="a"))
    changed = override(data, ["training.steps=7", "lr=1e-4", "training.shape=[1, 2]", "name=b"])
    built = build(Outer, changed)
    assert built.training == Inner(steps=7, shape=(1, 2))
    assert built.lr == pytest.approx(1e-4, rel=0, abs=0)
    assert data == to_dict(Outer(name="a"))


def test_the_last_override_of_a_path_wins_and_values_may_hold_equals_signs():
    assert override({"a": 1}, ["a=2", "a=x=y"]) == {"a": "x=y"}


def test_an_empty_mapping_takes_any_name():
    assert override({"options": {}}, ["options.width=8"]) == {"options": {"width": 8}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.step=1", r"^training\.step: unknown setting; known: budget, shape, steps$"),
        ("train.steps=1", "^train: unknown setting; known: contrast, lr"),
        ("name.x=1", r"^name: is a value, it has no 'x'; set it as a whole$"),
        ("name.x.y=1", "^name: is a value"),
        ("name", "--set 'name': not of the form"),
        ("=1", "not of the form"),
        ("name=[1", "--set name: not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused(change, words):
    with pytest.raises(UsageError, match=words):
        override(to_dict(Outer(name="a")), [change])


def test_settings_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "run.yaml"
    with pytest.raises(MissingError, match=r"run\.yaml: no such settings file"):
        load_yaml(path)
    path.write_text("")
    assert load_yaml(path) == {}
    path.write_text("- 1\n- 2\n")
    with pytest.raises(UsageError, match="holds a list; write"):
        load_yaml(path)
    path.write_text("a: [1\n")
    with pytest.raises(UsageError, match=r"run\.yaml: not valid YAML"):
        load_yaml(path)
    path.write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(UsageError, match="key 'c' stands twice"):
        load_yaml(path)
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match="not a text file"):
        load_yaml(path)


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1.5E3", 1500.0), (".5e1", 5.0)])
def test_numbers_with_an_exponent_are_numbers(tmp_path, text, value):
    (tmp_path / "a.yaml").write_text(f"lr: {text}\n")
    assert load_yaml(tmp_path / "a.yaml") == {"lr": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("9m", 540), ("1h30m", 5400), ("0.5h", 1800), (12, 12), ("2D", 172800)],
)
def test_durations_in_seconds(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "9 parsecs", "m", "-5s", "5s ago"])
def test_durations_that_make_no_sense_are_refused(text):
    with pytest.raises(UsageError, match="not understood; write it like"):
        seconds(text)
