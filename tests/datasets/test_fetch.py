"""Fetching from a publisher on this machine: whole, interrupted, wrong, missing."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pooch", reason="pooch is not installed")

from tests.datasets.server import Publisher, publisher

from brainuad.datasets import Dataset, dataset, transfer
from brainuad.datasets import fetch as module
from brainuad.datasets.catalogue import Download, Licence, Pattern
from brainuad.datasets.fetch import RECORD, UNFINISHED, fetch
from brainuad.datasets.transfer import Transfer
from brainuad.types import DataError, SpaceError, UnavailableError, UsageError

CONTENT = bytes(n * n % 251 for n in range(300_000))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher, and small pieces without waiting."""
    monkeypatch.setattr(transfer, "CHUNK", 2**12)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None))
    with publisher() as running:
        yield running


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def one(server: Publisher, *files: Download) -> Dataset:
    """A data set of the server's files, or of these."""
    single = [Download(address=f"{server.address}/{n}", path=n) for n in server.files]
    return Dataset(
        name="ours",
        title="Ours",
        publisher="https://example.org/page",
        licence=Licence(name="CC0", commercial="yes"),
        citation="nobody",
        modalities=("T1w",),
        healthy="all",
        lesions="none",
        layout=(Pattern(glob="**/*", what="files"),),
        files=files or tuple(single),
    )


def tree(folder: Path) -> dict[str, bytes]:
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("_", "/"))
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


# All goes well


def test_files_arrive_whole_under_their_names(server: Publisher, tmp_path: Path):
    server.files = {"a/x.nii.gz": CONTENT, "y.tsv": b"id\n", "empty": b""}
    seen: list[tuple[str, int, int | None]] = []
    done = fetch(one(server), tmp_path / "d", watch=lambda *each: seen.append(each))
    record = json.loads((tmp_path / "d" / RECORD).read_text())
    assert tree(tmp_path / "d") == {
        **server.files, RECORD: (tmp_path / "d" / RECORD).read_bytes(),
    }  # fmt: skip
    assert [each.path for each in done] == list(server.files)
    assert {name: row["sha256"] for name, row in record["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in server.files.items()
    }
    assert record["licence"]["name"] == "CC0"
    assert ("a/x.nii.gz", len(CONTENT), len(CONTENT)) in seen
    assert not any(each.checked for each in done)


def test_what_is_there_is_not_fetched_again(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT, "b": b"2"}
    fetch(one(server), tmp_path)
    (tmp_path / "b").unlink()
    server.asked.clear()
    assert [each.path for each in fetch(one(server), tmp_path)] == ["b"]
    assert server.asked == [("/b", "")]
    record = json.loads((tmp_path / RECORD).read_text())
    assert sorted(record["files"]) == ["a", "b"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_right_checksum_and_size_are_accepted(server: Publisher, tmp_path: Path, algorithm: str):
    server.files = {"a": CONTENT}
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    (wanted,) = one(server).files
    wanted = replace(wanted, checksum=f"{algorithm}:{digest}", size=len(CONTENT))
    (done,) = fetch(one(server, wanted), tmp_path)
    assert done.checked
    assert f"sha256:{done.sha256}" == sha256(CONTENT)


def test_only_the_parts_that_are_asked_for(server: Publisher, tmp_path: Path):
    server.files = {"a": b"1", "b": b"2"}
    first, second = one(server).files
    data = one(server, replace(first, part="A"), replace(second, part="B"))
    fetch(data, tmp_path, parts=["B"])
    assert sorted(tree(tmp_path)) == ["b", RECORD]
    with pytest.raises(UsageError, match="no part 'C'; its parts: A, B"):
        fetch(data, tmp_path, parts=["C"])


@pytest.mark.parametrize("keep", [False, True])
def test_archives_are_unpacked(server: Publisher, tmp_path: Path, keep: bool):
    server.files = {"a.tar.gz": archive(set_x=b"1", set_y=CONTENT)}
    (wanted,) = one(server).files
    data = one(server, replace(wanted, unpack="images", inside="set"))
    fetch(data, tmp_path, keep=keep)
    found = tree(tmp_path)
    assert found.pop(RECORD)
    assert found.pop("images/x") == b"1"
    assert found.pop("images/y") == CONTENT
    assert found == (server.files if keep else {})
    server.asked.clear()
    assert fetch(data, tmp_path) == ()
    assert not server.asked


# Interruptions


def test_a_connection_that_breaks_goes_on_where_it_was(server: Publisher, tmp_path: Path):
    server.files, server.breaks = {"a": CONTENT}, [100_000, 50_000]
    fetch(one(server), tmp_path)
    assert (tmp_path / "a").read_bytes() == CONTENT
    starts = [wanted for _, wanted in server.asked]
    assert starts[0] == ""
    assert all(each.startswith("bytes=") for each in starts[1:])
    assert len(starts) == 3
    assert server.sent < len(CONTENT) + 2 * transfer.CHUNK


def test_a_run_that_was_stopped_goes_on(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT}

    def stop(name: str, done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(one(server), tmp_path, watch=stop)
    assert [p.name for p in tmp_path.iterdir()] == [UNFINISHED]
    part = tmp_path / UNFINISHED / "a.part"
    arrived = part.stat().st_size
    assert 0 < arrived < len(CONTENT)
    assert part.read_bytes() == CONTENT[:arrived]
    server.asked.clear()
    fetch(one(server), tmp_path)
    assert server.asked == [("/a", f"bytes={arrived}-")]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert not (tmp_path / UNFINISHED).exists()


@pytest.mark.parametrize("how", ["no ranges", "no versions", "another version", "shorter now"])
def test_parts_of_two_files_are_never_glued_together(server: Publisher, tmp_path: Path, how: str):
    server.files, server.breaks = {"a": CONTENT}, [100_000]
    server.tags = how != "no versions"
    server.ranges = how != "no ranges"
    now = {"another version": CONTENT[::-1], "shorter now": CONTENT[:50_000][::-1]}

    def change(name: str, done: int, total: int | None) -> None:
        if done >= 90_000:
            server.files["a"] = now.get(how, CONTENT)

    fetch(one(server), tmp_path, watch=change)
    assert (tmp_path / "a").read_bytes() == now.get(how, CONTENT)


def test_a_part_that_is_whole_already_is_taken(server: Publisher, tmp_path: Path):
    """A run can be killed after the last byte and before the file has its name."""
    server.files = {"a": CONTENT}
    whole = Transfer(part=tmp_path / UNFINISHED / "a.part", page="https://example.org/")
    whole.part.parent.mkdir()
    whole.go_on(f"{server.address}/a")
    server.sent = 0
    fetch(one(server), tmp_path)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.sent == 0


def test_rubbish_of_a_killed_run_is_swept_away(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT}
    rubbish = tmp_path / UNFINISHED
    (rubbish / ".1-content").mkdir(parents=True)
    (rubbish / "tmp123").write_bytes(b"")
    (rubbish / ".1-content" / "x").write_bytes(b"1")
    fetch(one(server), tmp_path)
    assert sorted(tree(tmp_path)) == ["a", RECORD]
    assert not rubbish.exists()


@settings(max_examples=20)
@given(breaks=st.lists(st.integers(1, 2000), max_size=4), size=st.integers(1, 3000))
def test_any_breaks_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[int], size: int
):
    data = CONTENT[:size]
    with publisher() as running:
        running.files, running.breaks = {"a": data}, list(breaks)
        part = tmp_path_factory.mktemp("t") / "a.part"
        waits: list[float] = []
        way = Transfer(part=part, page="https://example.org/", wait=waits.append)
        way.bring(f"{running.address}/a", part.with_name("a"))
    assert part.with_name("a").read_bytes() == data
    assert not part.exists()
    assert len(waits) <= len(breaks)


# What goes wrong


def test_a_wrong_checksum_leaves_nothing_that_looks_finished(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT}
    (wanted,) = one(server).files
    data = one(server, replace(wanted, checksum=sha256(b"other")))
    with pytest.raises(DataError, match=r"/a: its checksum is not sha256:\w+; fetch it again"):
        fetch(data, tmp_path)
    assert tree(tmp_path) == {}


def test_a_wrong_size_is_refused_before_the_transfer(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT}
    (wanted,) = one(server).files
    with pytest.raises(DataError, match="has 300000 bytes, expected 5; .*example.org/page"):
        fetch(one(server, replace(wanted, size=5)), tmp_path)
    assert tree(tmp_path) == {}


def test_a_file_that_is_gone_names_the_publishers_page(server: Publisher, tmp_path: Path):
    gone = Download(address=f"{server.address}/gone", path="gone")
    with pytest.raises(UnavailableError, match=r"not there any more \(HTTP 404\); see .*page"):
        fetch(one(server, gone), tmp_path)
    assert len(server.asked) == 1  # asking again would not help
    assert tree(tmp_path) == {}


def test_files_before_the_one_that_failed_stay(server: Publisher, tmp_path: Path):
    server.files = {"a": CONTENT}
    gone = Download(address=f"{server.address}/gone", path="gone")
    with pytest.raises(UnavailableError, match="404"):
        fetch(one(server, *one(server).files, gone), tmp_path)
    assert sorted(tree(tmp_path)) == ["a", RECORD]


def test_no_connection_is_told_after_some_tries(server: Publisher, tmp_path: Path):
    server.files, server.breaks = {"a": CONTENT}, [0] * 50
    with pytest.raises(UnavailableError, match=r"no connection to 127.0.0.1 that lasts .*same"):
        fetch(one(server), tmp_path)
    assert len(server.asked) == transfer.TRIES


def test_nobody_listens(server: Publisher, tmp_path: Path):
    with publisher() as other:
        address = other.address
    away = Download(address=f"{address}/a", path="a")
    with pytest.raises(UnavailableError, match=r"\(Connection refused\); check the network"):
        fetch(one(server, away), tmp_path)


def test_a_damaged_archive_is_fetched_anew_the_next_time(server: Publisher, tmp_path: Path):
    good = archive(set_x=CONTENT)
    server.files = {"a.tar.gz": good[: len(good) // 2]}
    (wanted,) = one(server).files
    data = one(server, replace(wanted, unpack="images"))
    with pytest.raises(DataError, match=r"damaged archive"):
        fetch(data, tmp_path)
    assert tree(tmp_path) == {}
    server.files["a.tar.gz"] = good
    fetch(data, tmp_path)
    assert (tmp_path / "images" / "set" / "x").read_bytes() == CONTENT


def test_an_archive_with_names_that_leave_the_folder(server: Publisher, tmp_path: Path):
    server.files = {"a.tar": archive(**{"..": b"", ".._.._x": b"1"})}
    (wanted,) = one(server).files
    with pytest.raises(DataError, match="leads out of the archive"):
        fetch(one(server, replace(wanted, unpack="images")), tmp_path / "d")
    assert tree(tmp_path) == {}


def test_what_cannot_fit_is_not_begun(server: Publisher, tmp_path: Path):
    big = Download(address=f"{server.address}/a", path="a", size=10**18)
    with pytest.raises(SpaceError, match=r"1000000000.0 GB are needed and .* GB are free"):
        fetch(one(server, big), tmp_path)
    assert not server.asked


def test_data_behind_a_registration_are_not_fetched(tmp_path: Path):
    with pytest.raises(UnavailableError, match="atlas: cannot be fetched by a program"):
        fetch(dataset("atlas"), tmp_path / "d")
    assert not (tmp_path / "d").exists()
