"""Folders and archives: what is in them, and what is not let out of them."""

import zipfile

import pytest

from brainuad.read import bundle
from brainuad.read.bundle import entries, stream
from brainuad.types import DataError, MissingError


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content, **options)
    return path


def test_files_of_folders_and_archives_come_by_name(tmp_path):
    for name in ("b/2.dcm", "a.dcm", ".hidden", ".git/x"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(name.encode())
    found = [(e.name, e.read(-1)) for e in entries(tmp_path / "f")]
    root = tmp_path / "f"
    assert found == [(str(root / "a.dcm"), b"a.dcm"), (str(root / "b/2.dcm"), b"b/2.dcm")]
    path = archive(tmp_path / "z.zip", {"b/2.dcm": b"two", "a.dcm": b"one", "c/": b""})
    assert [(e.name, stream(e).read()) for e in entries(path)] == [
        (f"{path}/a.dcm", b"one"), (f"{path}/b/2.dcm", b"two"),
    ]  # fmt: skip
    assert (
        [e.short for e in entries(path)] == [e.short for e in entries(root)] == ["a.dcm", "b/2.dcm"]
    )
    (single,) = entries(tmp_path / "f" / "a.dcm")
    assert single.short == "a.dcm"
    assert single.read(1) == b"a"


@pytest.mark.parametrize("name", ["../x.dcm", "a/../../x.dcm", "/etc/x.dcm", "C:/x.dcm", "..\\x"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads out of the archive"):
        entries(archive(tmp_path / "z.zip", {"a.dcm": b"one", name: b"two"}))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = archive(tmp_path / "z.zip", {"a.dcm": bytes(300 * 2**20)})
    with pytest.raises(DataError, match="unpack to 314572800, no archive of images does"):
        entries(path)
    monkeypatch.setattr(bundle, "MOST_FILES", 2)
    path = archive(tmp_path / "y.zip", dict.fromkeys("abc", b""))
    with pytest.raises(DataError, match="holds 3 files, more than 2"):
        entries(path)


def test_a_damaged_archive_is_named(tmp_path):
    path = archive(tmp_path / "z.zip", {"a.dcm": bytes(range(256)) * 40})
    raw = bytearray(path.read_bytes())
    raw[60:70] = b"\xff" * 10
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a.dcm is damaged"):
        next(iter(entries(path))).read(-1)


def test_nothing_there(tmp_path):
    with pytest.raises(MissingError, match="no such file or folder"):
        entries(tmp_path / "none")


def test_an_archive_is_opened_once_however_many_files_are_read(tmp_path, monkeypatch):
    path = archive(tmp_path / "z.zip", {f"{n}.dcm": b"x" for n in range(9)})
    opened = []

    class Counted(zipfile.ZipFile):
        def __init__(self, *args, **options):
            opened.append(args)
            super().__init__(*args, **options)

    monkeypatch.setattr(bundle.zipfile, "ZipFile", Counted)
    # Reading the directory of a large archive for each of its files takes minutes.
    assert [entry.read(-1) for entry in entries(path)] == [b"x"] * 9
    assert len(opened) == 1
