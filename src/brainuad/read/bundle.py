"""The files of a folder or a zip archive, opened one at a time; nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from brainuad.manifest import file_errors
from brainuad.types import DataError, MissingError

MOST_FILES = 100_000
MOST_BYTES = 8 * 2**30
"""A bundle that would unpack to more than this is refused."""
MOST_PACKED = 200
"""So many times smaller than its content no archive of images is; a bomb is."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a bundle."""

    name: str
    """Its path, within an archive that of the archive and its own."""
    short: str
    """Its path below the folder or archive, for messages that name that already."""
    read: Callable[[int], bytes]
    """Its first so many bytes, or all of them for -1."""


def entries(path: Path) -> Iterator[Entry]:
    """The files of a folder (with its subfolders), of a zip archive, or the file itself.

    Hidden files are left out; the order is that of the names.

    Raises:
        MissingError: there is no such path.
        DataError: a damaged archive, one whose names leave it, or one that unpacks to far too much.
    """
    if not path.exists():
        raise MissingError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        return _of_folder(path)
    return _of_zip(path) if zipfile.is_zipfile(path) else iter([_of_file(path)])


def _of_folder(folder: Path) -> Iterator[Entry]:
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p, folder))
    _check_count(folder, len(found))
    return (_of_file(p, p.relative_to(folder).as_posix()) for p in found)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _of_file(path: Path, short: str = "") -> Entry:
    def read(count: int) -> bytes:
        with file_errors(path), path.open("rb") as file:
            return file.read(count)

    return Entry(name=str(path), short=short or path.name, read=read)


def _of_zip(path: Path) -> Iterator[Entry]:
    try:
        archive = zipfile.ZipFile(path)  # closed with the last entry that can read from it
        members = [m for m in archive.infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path}: damaged zip archive ({error}); copy it again") from error
    _check_members(path, members)
    members = [m for m in members if not PurePosixPath(m.filename).name.startswith(".")]
    return (_member(path, archive, m) for m in sorted(members, key=lambda m: m.filename))


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    _check_count(path, len(members))
    for m in members:
        inside = PurePosixPath(m.filename.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
            raise DataError(
                f"{path}: the name {m.filename!r} leads out of the archive; do not use this file"
            )
        if m.flag_bits & 1:
            raise DataError(f"{path}: {m.filename} is encrypted; unpack it yourself first")
    size, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if size > MOST_BYTES or size > MOST_PACKED * max(packed, 2**20):
        raise DataError(
            f"{path}: {packed} bytes unpack to {size}, no archive of images does; "
            "unpack it yourself if you trust it"
        )


def _check_count(path: Path, count: int) -> None:
    if count > MOST_FILES:
        raise DataError(f"{path}: holds {count} files, more than {MOST_FILES}; give one study")


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
    def read(count: int) -> bytes:
        try:
            with file_errors(path), archive.open(member) as file:
                # The directory may lie about a size; no more than it says is ever unpacked.
                return file.read(member.file_size if count < 0 else min(count, member.file_size))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DataError(
                f"{path}: {member.filename} is damaged ({error}); copy the archive again"
            ) from error

    return Entry(name=f"{path}/{member.filename}", short=member.filename, read=read)


def stream(entry: Entry) -> BytesIO:
    """The whole content of an entry, to be read and sought in."""
    return BytesIO(entry.read(-1))
