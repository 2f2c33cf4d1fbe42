"""A data set from its publisher to a folder; what is there already is not fetched again."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainuad.datasets.catalogue import UNKNOWN, Dataset, Download
from brainuad.datasets.transfer import Transfer
from brainuad.datasets.unpack import unpack
from brainuad.manifest import file_errors, plain, sha256_file, write_json
from brainuad.types import DataError, MissingError, SpaceError, UnavailableError

UNFINISHED = ".fetching"
"""Folder, within that of the data set, of files that are on their way."""
DONE, PART = ".done", ".part"
KEPT = (DONE, PART, f"{PART}.json")
"""How the names of files in that folder end with which a later run goes on."""
RECORD = "brainuad-data.json"
"""What was fetched from where, under which licence, with which checksums."""

Watch = Callable[[str, int, int | None], None]
"""Called with a file's name, what is done of it and the whole, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of one file."""

    path: str
    """The file, or the folder that it was unpacked to, relative to the data set's."""
    address: str
    sha256: str
    """Of the file as it came."""
    checked: bool
    """Whether it was compared with a known checksum."""
    size: int


def fetch(
    data: Dataset,
    folder: Path,
    *,
    parts: Sequence[str] = (),
    keep: bool = False,
    watch: Watch = lambda name, done, total: None,
) -> tuple[Fetched, ...]:
    """Fetch what is missing; after an interruption the same call goes on.

    A file, or the folder of an archive, appears under its name only when it is complete and its
    checksum, where one is known, is right.

    Args:
        data: the data set.
        folder: where it goes; made when missing.
        parts: only these parts of it; all when empty.
        keep: keep archives after they were unpacked.
        watch: told how it goes.

    Returns:
        The files that were fetched now, without those that were there.

    Raises:
        UnavailableError: the data set cannot be fetched by a program, or no connection.
        DataError: a file with a wrong checksum or size, or a damaged archive.
        SpaceError: not enough space on the disk.
        UsageError: a part that the data set does not have.
    """
    if not data.files:
        raise UnavailableError(
            f"{data.name}: cannot be fetched by a program; follow the steps of its publisher"
        )
    wanted = data.downloads(tuple(parts))
    missing = [each for each in wanted if not destination(each, folder).exists()]
    check_space(folder, missing)
    sweep(folder / UNFINISHED)
    done: list[Fetched] = []
    for each in missing:
        done.append(fetch_one(each, folder, page=data.publisher, keep=keep, watch=watch))
        note(data, folder, done[-1])
    # Of other parts something may still be on its way.
    with suppress(OSError):
        (folder / UNFINISHED).rmdir()
    return tuple(done)


def sweep(folder: Path) -> None:
    """Delete what a run that was killed could not delete; what can be gone on with stays."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.endswith(KEPT):
            path.unlink()


def destination(each: Download, folder: Path) -> Path:
    """What stands in the folder when the file has been fetched."""
    return folder / (each.unpack or each.path)


def fetch_one(each: Download, folder: Path, *, page: str, keep: bool, watch: Watch) -> Fetched:
    """Fetch, check and, where it is an archive, unpack one file."""
    came = retrieve(each, folder / UNFINISHED, page=page, watch=watch)
    size, known = came.stat().st_size, each.checksum
    digest = known.removeprefix("sha256:") if "sha256:" in known else sha256_file(came)
    goal = destination(each, folder)
    move(unpacked(came, each, watch=watch) if each.unpack else came, goal)
    if each.unpack and keep:
        move(came, folder / each.path)
    came.unlink(missing_ok=True)
    path = goal.relative_to(folder).as_posix()
    return Fetched(
        path=path, address=each.address, sha256=digest, checked=known != UNKNOWN, size=size
    )


def unpacked(came: Path, each: Download, *, watch: Watch) -> Path:
    """The content of an archive, in a folder beside it."""
    folder = came.with_name(f"{came.name}.content")

    def tell(done: int, total: int) -> None:
        watch(f"unpack {each.path}", done, total)

    try:
        unpack(came, folder, inside=each.inside, watch=tell)
    except DataError:
        came.unlink()  # else it would be taken for finished, and never fetched again
        raise
    return folder


def retrieve(each: Download, folder: Path, *, page: str, watch: Watch) -> Path:
    """The file, complete and with the right checksum, in the folder of unfinished ones."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    name = each.path.replace("/", "--") + DONE
    transfer = Transfer(
        part=folder / f"{name.removesuffix(DONE)}{PART}",
        page=page,
        size=each.size,
        watch=lambda done, total: watch(each.path, done, total),
        wait=time.sleep,
    )

    def bring(fname: str, action: Any, pooch: Any, *, check_only: bool | None = None) -> None:
        transfer.bring(fname, Path(action))  # pooch names them so: the address, and where to

    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            came = pooch.retrieve(
                each.address,
                known_hash=None if each.checksum == UNKNOWN else each.checksum,
                fname=name,
                path=folder,
                downloader=bring,
            )
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            # pooch has deleted the file.
            raise DataError(
                f"{each.address}: its checksum is not {each.checksum}; fetch it again, and if that "
                f"does not help the publisher has changed it: see {page}"
            ) from error
    return Path(came)


def move(came: Path, goal: Path) -> None:
    """Put a finished file in its place, in one step."""
    with file_errors(goal):
        goal.parent.mkdir(parents=True, exist_ok=True)
        came.replace(goal)


def check_space(folder: Path, missing: Sequence[Download]) -> None:
    """Refuse before the start what cannot fit.

    Raises:
        SpaceError: says how much is needed and how much there is.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    sizes = [each.size or 0 for each in missing]
    # While an archive is unpacked, it and its content stand side by side.
    needed = sum(sizes) + max((each.size or 0 for each in missing if each.unpack), default=0)
    if needed > free:
        raise SpaceError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; choose "
            "another folder, or fetch only a part with --part"
        )


def note(data: Dataset, folder: Path, one: Fetched) -> None:
    """Add a file to the record of the folder."""
    path = folder / RECORD
    try:
        files = recorded(path)
    except MissingError:
        files = {}
    files[one.path] = {**plain(one), "fetched": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(
        path,
        {
            "name": data.name,
            "title": data.title,
            "publisher": data.publisher,
            "licence": data.licence,
            "citation": data.citation,
            "files": dict(sorted(files.items())),
        },
    )


def recorded(path: Path) -> dict[str, Any]:
    """Files in the record of a folder, by their paths.

    Raises:
        MissingError: there is no record.
        DataError: the record is not one.
    """
    import json

    if not path.is_file():
        raise MissingError(f"{path}: no such record; fetch the data set")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a record of fetched files; delete it") from error
