"""Archives: what comes out of them, and what is not let out."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from brainuad.datasets import unpack as module
from brainuad.datasets.unpack import unpack
from brainuad.types import DataError, UsageError

FILES = {"set/a.txt": b"one", "set/b/c.txt": b"two" * 1000, "other.txt": b"3", "set/.hidden": b"4"}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of these files, of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, data in files.items():
                made.writestr(name, data)
        return path
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    path.write_bytes(COMPRESS[path.suffix](plain.getvalue()))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


COMPRESS = {".tar": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2")


@pytest.mark.parametrize("name", KINDS)
def test_all_files_come_out_as_they_went_in(tmp_path: Path, name: str):
    seen: list[tuple[int, int]] = []
    archive = packed(tmp_path / name, FILES)
    count = unpack(archive, tmp_path / "out", watch=lambda *both: seen.append(both))
    wanted = {k: v for k, v in FILES.items() if "hidden" not in k}
    assert tree(tmp_path / "out") == wanted
    assert count == len(wanted)
    total = sum(map(len, wanted.values()))
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", KINDS[:2])
def test_content_of_one_folder(tmp_path: Path, name: str):
    unpack(packed(tmp_path / name, FILES), tmp_path / "out", inside="set")
    assert tree(tmp_path / "out") == {"a.txt": b"one", "b/c.txt": b"two" * 1000}
    with pytest.raises(DataError, match="no files in its folder none"):
        unpack(packed(tmp_path / name, FILES), tmp_path / "no", inside="none")


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x", "C:/x", "..\\x"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, kind: str, name: str):
    archive = packed(tmp_path / kind, {"a": b"1", name: b"2"})
    with pytest.raises(DataError, match="leads out of the archive"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [kind]


def test_links_are_left_out(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        made.addfile(link)
        for name in ("link/x", "y"):
            info = tarfile.TarInfo(name)
            info.size = 1
            made.addfile(info, io.BytesIO(b"1"))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert tree(tmp_path / "out") == {"link/x": b"1", "y": b"1"}
    assert not (tmp_path / "out" / "link").is_symlink()


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_bombs_are_refused_before_anything_is_written(tmp_path: Path, kind: str):
    archive = packed(tmp_path / kind, {"a": b"1", "bomb": bytes(201 * 2**20)})
    assert archive.stat().st_size < 2**20
    with pytest.raises(DataError, match="no archive of images does"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    with pytest.raises(DataError, match="in 3 files or more"):
        unpack(packed(tmp_path / "a.zip", dict.fromkeys("abc", b"")), tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_damaged_archives_leave_nothing(tmp_path: Path, kind: str, damage: str):
    # Content that does not compress, so that the middle of the archive is content.
    noise = random.Random(0).randbytes(120_000)
    archive = packed(tmp_path / kind, {"a": noise, "b": noise[::-1]})
    raw = bytearray(archive.read_bytes())
    middle = len(raw) // 2
    if damage == "cut":
        raw = raw[: middle // 2]
    elif kind == "a.tar":  # has no checksum of its content: hit the header of the second file
        raw[120_832:121_344] = b"\xff" * 512
    else:
        raw[middle - 400 : middle] = b"\xff" * 400
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"damaged archive \(.+\); fetch it again"):
        unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [kind]


def test_what_is_no_archive(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match="damaged archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_folder_that_exists_is_not_mixed_with(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"1")
    with pytest.raises(UsageError, match="something else stands there"):
        unpack(packed(tmp_path / "a.zip", FILES), tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine": b"1"}


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path):
    inner = packed(tmp_path / "i.zip", {"x": b"1"}).read_bytes()
    unpack(packed(tmp_path / "a.tar", {"i.zip": inner}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"i.zip": inner}
