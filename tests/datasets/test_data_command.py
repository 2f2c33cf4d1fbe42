"""``brainuad data``: what it prints and the code with which it leaves."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets.server import publisher
from tests.datasets.test_layout import fill, mslub

from brainuad.cli import main
from brainuad.datasets import names

RECIPE = """
name: ours
title: Ours
publisher: https://example.org/
licence: {{name: CC0, commercial: "yes"}}
citation: Somebody 2026
modalities: [T1w]
healthy: all
lesions: none
files:
  - {{address: "{address}/{{id}}.nii.gz", path: "{{id}}.nii.gz", each: {{id: "1..3"}}}}
layout:
  - {{glob: "{{id}}.nii.gz", what: T1w, ids: "1..3"}}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, standard output and standard error, each on one line."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit, match=r"\d+") as stop:
            main(["data", *(str(word) for word in words)])
        out, err = (" ".join(text.split()) for text in capsys.readouterr())
        assert "Traceback" not in out + err
        return int(stop.value.code or 0), out, err

    return call


@pytest.mark.parametrize("verb", ["list", "fetch", "check"])
def test_help_teaches_by_examples(run, verb: str):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"brainuad data {verb}" in out


def test_list_names_every_data_set(run):
    code, out, _ = run("list")
    assert code == 0
    assert all(name in out for name in names())


def test_list_for_programs(run):
    code, out, _ = run("list", "--json")
    found = json.loads(out)
    assert code == 0
    assert sorted(found) == sorted(names())
    wanted = {
        "title", "publisher", "licence", "citation", "modalities", "healthy", "lesions", "layout",
        "files", "registration", "steps", "access",
    }  # fmt: skip
    assert all(wanted <= set(each) for each in found.values())
    assert {each["licence"]["commercial"] for each in found.values()} <= {"yes", "no", "unclear"}
    assert found["ixi"]["access"] == "download"


@pytest.mark.parametrize("name", names())
def test_all_about_one(run, name: str):
    code, out, _ = run("list", name)
    shown = json.loads(run("list", name, "--json")[1])
    assert code == 0
    assert " ".join(shown["citation"].split()) in out
    assert shown["licence"]["name"] in out
    assert all(" ".join(step.split()) in out for step in shown["steps"])


@pytest.mark.parametrize("name", ["brats2021", "atlas", "oasis1", "wmh"])
def test_what_cannot_be_fetched_says_what_to_do(run, tmp_path: Path, name: str):
    code, out, err = run("fetch", name, "-o", tmp_path / "d")
    assert code == 69
    assert not out
    assert "licence:" in err
    assert "1. " in err
    assert f"brainuad data check {name}" in err
    assert not (tmp_path / "d").exists()


def test_fetch_and_check(run, tmp_path: Path):
    pytest.importorskip("pooch", reason="pooch is not installed")
    recipe, out = tmp_path / "ours.yaml", tmp_path / "d"
    with publisher() as server:
        recipe.write_text(RECIPE.format(address=server.address), encoding="utf-8")
        server.files = {f"{n}.nii.gz": b"x" * n for n in (1, 2)}
        code, _, err = run("fetch", recipe, "-o", out)
        assert code == 69
        assert err.index("licence: CC0") < err.index("error: ")
        assert "3.nii.gz: is not there any more (HTTP 404); see https://example.org/" in err
        code, said, _ = run("check", recipe, out)
        assert code == 1
        assert "missing: 3.nii.gz" in said
        assert "ours in" in said
        assert "incomplete" in said
        server.files["3.nii.gz"] = b"xxx"
        code, _, err = run("fetch", recipe, "-o", out)
        assert code == 0
        assert "fetched 1 files, 2 were there" in err
        assert "of 1 no checksum is known" in err
    code, said, _ = run("check", recipe, out)
    assert code == 0
    assert "incomplete" not in said


def test_offline_is_respected(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BRAINUAD_OFFLINE", "1")
    code, _, err = run("fetch", "mslub", "-o", tmp_path)
    assert code == 69
    assert "BRAINUAD_OFFLINE is set" in err
    assert not list(tmp_path.iterdir())


def test_check_for_programs(run, tmp_path: Path):
    (mslub(tmp_path) / "patient01" / "T1W.nii.gz").unlink()
    fill(tmp_path, *(f"notes/{n}.txt" for n in range(12)))
    code, out, _ = run("check", "mslub", tmp_path, "--json")
    found = json.loads(out)
    assert code == 1
    assert found["complete"] is False
    assert len(found["superfluous"]) == 12
    short = {each["what"]: each["named"] for each in found["counts"] if each["missing"]}
    assert short == {"T1w": ["patient01/T1W.nii.gz"]}
    code, out, _ = run("check", "mslub", tmp_path)
    assert code == 1
    assert "superfluous: and 2 more" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("list", "ixy"), 2, "no such data set; known:"),
        (("fetch", "ixi", "-o", "d", "--part", "T3"), 2, "has no part 'T3'"),
        (("fetch", "ixi"), 2, "Missing option"),
        (("check", "ixi", "nowhere"), 66, "no such folder"),
        (("check", "nowhere.yaml", "."), 66, "no such settings file"),
    ],
)
def test_mistakes(
    run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
):
    monkeypatch.chdir(tmp_path)
    found, _, err = run(*words)
    assert found == code
    assert said in err
    assert not list(tmp_path.iterdir())


def test_list_does_not_need_pooch():
    program = (
        "import sys\n"
        "from brainuad.cli import main\n"
        "try:\n    main(['data', 'list'])\n"
        "except SystemExit as stop:\n"
        "    sys.exit(stop.code or 'pooch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
