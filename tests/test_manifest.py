import dataclasses
import errno
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad import manifest
from brainuad.manifest import (
    atomic_folder,
    atomic_path,
    git_state,
    hash_of,
    plain,
    run_manifest,
    sha256_file,
    write_bytes,
    write_json,
)
from brainuad.types import AccessError, MissingError, SpaceError, UsageError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: tuple[float, ...]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "sub" / "map.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert files(target.parent) == ["map.nii.gz"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, stop):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(stop, match="now"), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise stop("now")
    assert target.read_text() == "old"
    assert files(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, SpaceError, r"a\.bin: no space left .*free some space"),
        (errno.EDQUOT, SpaceError, "no space left"),
        (errno.EACCES, AccessError, r"a\.bin: may not be .*change the permissions"),
        (errno.EROFS, AccessError, "may not be"),
        (errno.EISDIR, UsageError, "choose another name"),
    ],
)
def test_the_machine_s_refusals_become_errors_with_a_remedy(tmp_path, number, error, words):
    with pytest.raises(error, match=words), atomic_path(tmp_path / "a.bin"):
        raise OSError(number, "as the system says")
    assert files(tmp_path) == []


def test_other_failures_of_the_machine_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="strange") as caught, atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.EIO, "strange")
    assert caught.value.errno == errno.EIO


def test_errors_of_an_inner_file_keep_their_own_name(tmp_path):
    inner = SpaceError("inner: no space")
    with pytest.raises(SpaceError, match=r"^inner: no space$"), atomic_path(tmp_path / "outer"):
        raise inner


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="out: something else stands there"):
        write_bytes(tmp_path / "out", b"")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="or above it; choose another name"):
        write_bytes(tmp_path / "file" / "x", b"")
    assert files(tmp_path) == ["file", "out"]


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "detector"
    with atomic_folder(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "a").write_text("1")
        assert not target.exists()
    assert (target / "deep" / "a").read_text() == "1"
    assert files(target.parent) == ["detector"]
    with pytest.raises(UsageError, match="detector: something else stands there"):  # noqa: SIM117
        with atomic_folder(target):
            pass
    assert files(target) == ["deep"]


def test_an_interrupted_folder_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="now"), atomic_folder(tmp_path / "a") as temporary:  # noqa: PT012
        (temporary / "x").touch()
        raise KeyboardInterrupt("now")
    assert files(tmp_path) == []


def test_files_get_the_permissions_of_ordinary_files(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    with (tmp_path / "theirs").open("wb"):
        pass
    ours, theirs = ((tmp_path / n).stat().st_mode for n in ("ours", "theirs"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(theirs)


@settings(max_examples=40)
@given(VALUES)
def test_json_is_read_back_as_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    expected = None if isinstance(value, float) and not np.isfinite(value) else value
    assert json.loads(path.read_text()) == plain(expected, finite=True)


def test_json_has_null_for_numbers_that_json_cannot_hold(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [np.float32(np.inf), 1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [None, 1.5]}


@settings(max_examples=40)
@given(st.dictionaries(st.text(), VALUES))
def test_hash_does_not_depend_on_the_order_of_keys(value):
    backwards = dict(reversed(value.items()))
    assert hash_of(value) == hash_of(backwards)
    assert len(hash_of(value)) == 16


def test_hash_depends_on_the_value_and_not_on_its_container():
    point = Point(1, (0.5, 2.0))
    assert hash_of(point) == hash_of({"y": [0.5, 2.0], "x": 1})
    assert hash_of(point) == hash_of({"x": np.int64(1), "y": np.array([0.5, 2.0])})
    assert hash_of({Path("a"), Path("b")}) == hash_of(["a", "b"])
    different = [point, Point(2, (0.5, 2.0)), Point(1, (2.0, 0.5)), [1], ["1"], [True], None, []]
    assert len({hash_of(value) for value in different}) == len(different)


def test_values_without_a_plain_form_are_refused():
    with pytest.raises(TypeError, match="object: has no plain form"):
        hash_of({"a": object()})


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # The test vector of FIPS 180-2, appendix B.1.
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
    with pytest.raises(MissingError, match="no such file; check the path"):
        sha256_file(tmp_path / "b")


def test_the_manifest_says_what_ran(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"abc")
    found = run_manifest(
        command="brainuad fit", config=Point(1, (2.0,)), seed=7, inputs=[tmp_path / "scan.nii"]
    )
    assert found["config"] == {"x": 1, "y": [2.0]}
    assert found["config_hash"] == hash_of(Point(1, (2.0,)))
    assert found["seed"] == 7
    assert found["inputs"] == {
        str(tmp_path / "scan.nii"): sha256_file(tmp_path / "scan.nii"),
    }
    assert found["versions"]["numpy"] == np.__version__
    assert found["machine"]["device"] == "cpu"
    assert found["machine"]["device_name"] is None
    assert json.loads(json.dumps(found)) == found


def test_hashes_that_are_known_are_taken_over():
    assert run_manifest(command="x", inputs={"a.nii": "00ff"})["inputs"] == {"a.nii": "00ff"}


def test_a_library_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(manifest, "LIBRARIES", ("no-such-library",))
    assert manifest.versions()["no-such-library"] is None


def test_git_state_outside_a_checkout_is_none(tmp_path):
    assert git_state(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert git_state(tmp_path) is None


def test_git_state_tells_commit_and_changes(tmp_path):
    def git(*words: str) -> str | None:
        return manifest._git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *words)

    if git("init", "-q") is None:
        pytest.skip("git is not installed")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "first")
    state = git_state(tmp_path)
    assert state is not None
    assert state == {"commit": git("rev-parse", "HEAD"), "changed": False}
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {**state, "changed": True}
