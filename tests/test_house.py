"""House rules that no linter knows: a method is three files, files and functions stay short."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.core import TyperGroup
from typer.main import get_command

import brainuad
from brainuad.method import method_class

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "brainuad"
FILE_LINES, FUNCTION_LINES, POSITIONAL = 300, 60, 5

FILES = sorted(SOURCE.rglob("*.py"))
METHODS = sorted(p.stem for p in (SOURCE / "methods").glob("*.py") if p.stem != "__init__")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(source: str) -> Iterator[Function]:
    return (n for n in ast.walk(ast.parse(source)) if isinstance(n, Function))


def body_lines(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def positional(function: Function) -> int:
    """Positional arguments of a function, without self and cls."""
    names = [a.arg for a in [*function.args.posonlyargs, *function.args.args]]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def faults(source: str) -> list[str]:
    """Every function of the source that is too long or takes too many positional arguments."""
    found = []
    for each in functions(source):
        if body_lines(each) > FUNCTION_LINES:
            found.append(f"{each.name} (line {each.lineno}): {body_lines(each)} lines")
        if positional(each) > POSITIONAL:
            found.append(f"{each.name} (line {each.lineno}): {positional(each)} positional")
    return found


@pytest.mark.parametrize("lines", [FUNCTION_LINES, FUNCTION_LINES + 1])
def test_rule_on_length_sees_the_first_line_too_many(lines):
    source = "def f():\n" + '    """Docstrings do not count."""\n' + "    pass\n" * (lines - 1)
    assert bool(faults(source)) == (lines > FUNCTION_LINES)


@pytest.mark.parametrize("arguments", ["a, b, c, d, e, f", "self, a, b, c, d, e, *, f, g"])
def test_rule_on_arguments_counts_positional_ones_without_self(arguments):
    assert bool(faults(f"def f({arguments}): ...")) == ("self" not in arguments)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_and_its_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= FILE_LINES, f"{path}: split it"
    assert not faults(source)


@pytest.mark.parametrize("name", METHODS)
def test_method_has_a_test_and_a_page(name):
    """A new method is one code file, one test file, one page: none of them may be missing."""
    test = ROOT / "tests" / "methods" / f"test_{name}.py"
    page = ROOT / "docs" / "methods" / f"{name}.md"
    assert "def test_" in test.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", METHODS)
def test_method_file_offers_exactly_one_class(name):
    tree = ast.parse((SOURCE / "methods" / f"{name}.py").read_text(encoding="utf-8"))
    offers = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert len(offers) == 1
    assert len(offers[0]) == 1
    assert set(offers[0]) <= classes


@pytest.mark.parametrize("name", METHODS)
def test_page_names_every_preset_and_option(name):
    """Pages go stale silently; an option or preset that no page explains fails here."""
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    method = method_class(name)
    wanted = [*method.presets, *method.Options.__dataclass_fields__]
    assert not [word for word in wanted if f"`{word}`" not in page]


def locked() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["brain"], *extras["docs"], *extras["dev"]]
    return [Requirement(text) for text in wanted]


@pytest.mark.parametrize("wanted", asked(), ids=lambda r: r.name)
def test_lock_pins_a_version_that_the_package_accepts(wanted):
    (pin,) = locked()[canonicalize_name(wanted.name)].specifier
    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version)


def test_lock_leaves_the_choice_of_torch_build_to_the_index():
    assert not [pin for pin in locked().values() if "+" in str(pin)]
    assert not [name for name in locked() if re.match(r"nvidia|cuda|triton|torchvision", name)]


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changes, flags=re.MULTILINE)
    assert citation["version"] == brainuad.__version__
    assert not released or released[0] == brainuad.__version__


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(language: str) -> list[tuple[str, str]]:
    """(page, text) of every code block in this language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    return [
        (page.relative_to(ROOT).as_posix(), text)
        for page in PAGES
        for text in pattern.findall(page.read_text(encoding="utf-8"))
    ]


def commands() -> list[tuple[str, str]]:
    """(page, line) of every brainuad command that a page shows."""
    return [
        (page, line.split(" #")[0])
        for page, text in snippets("bash")
        for line in text.splitlines()
        if line.startswith("brainuad ")
    ]


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_on_a_page_is_one_that_exists(page, line):
    program = get_command(importlib.import_module("brainuad.cli").app)
    assert isinstance(program, TyperGroup)
    verb, *words = shlex.split(line)[1:]
    command = program.commands[verb]
    if isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    known = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}


@pytest.mark.parametrize(("page", "text"), snippets("python"))
def test_python_on_a_page_uses_names_that_exist(page, text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("brainuad"):
            module = importlib.import_module(str(node.module))
            assert not [each.name for each in node.names if not hasattr(module, each.name)]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "brainuad":
            assert hasattr(brainuad, node.attr)
