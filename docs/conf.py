import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

import brainuad

project = "brainuad"
author = "The brainuad developers"
copyright = author
version = release = brainuad.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_templates", "reference/cli/*.txt"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"brainuad {release}"
HERE = Path(__file__).parent


def write_help(app: Sphinx) -> None:
    """The help of every command, as the program prints it, one text file each."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from brainuad.cli import app as program

    folder = HERE / "reference" / "cli"
    folder.mkdir(exist_ok=True)
    commands = getattr(get_command(program), "commands", {})
    names = [
        words
        for name in sorted(commands)
        for words in [[name], *([name, each] for each in getattr(commands[name], "commands", {}))]
    ]
    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    for words in [[], *names]:
        said = runner.invoke(program, [*words, "--help"], prog_name="brainuad")
        (folder / f"{'-'.join(['brainuad', *words])}.txt").write_text(said.output, encoding="utf-8")
    sections = [
        f"## {' '.join(n)}\n\n```{{literalinclude}} cli/brainuad-{'-'.join(n)}.txt\n```\n"
        for n in names
    ]
    head = "# Commands\n\n```{literalinclude} cli/brainuad.txt\n```\n\n"
    (HERE / "reference" / "commands.md").write_text(head + "\n".join(sections), encoding="utf-8")


def write_steps(app: Sphinx) -> None:
    """The preparation steps, their settings and limits, as the code has them."""
    sys.path.insert(0, str(HERE))
    from steps import page

    (HERE / "reference" / "steps.md").write_text(page(), encoding="utf-8")


def plain(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Docstrings are plain text: bars and stars outside of literals mean themselves."""
    for number, line in enumerate(lines):
        pieces = line.split("``")
        pieces[::2] = [re.sub(r"(?<![\\*])([|*])(?!\*)", r"\\\1", piece) for piece in pieces[::2]]
        lines[number] = "``".join(pieces)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_help)
    app.connect("builder-inited", write_steps)
    app.connect("autodoc-process-docstring", plain, priority=900)
