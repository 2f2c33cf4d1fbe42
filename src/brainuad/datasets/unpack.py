"""Archives from elsewhere, unpacked without trusting them."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import HeaderError, ReadError
from typing import IO

from brainuad.datasets.catalogue import is_inside
from brainuad.manifest import atomic_folder, file_errors
from brainuad.types import DataError

MOST_FILES = 1_000_000
MOST_PADDING = 64
"""MiB that may follow the last file of a tar archive."""
MOST_PACKED = 200
"""So many times smaller than its content no archive of images is; a bomb is."""
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive."""

    name: str
    size: int
    """Bytes when unpacked, as the archive says it."""
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path,
    folder: Path,
    *,
    inside: str = "",
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Unpack a zip or tar archive to a new folder: all of it, or the folder is not there.

    Links, devices and hidden files of the archive are left out. All names and sizes are looked at
    before the first file is written.

    Args:
        archive: zip, tar, tar.gz, tar.bz2 or tar.xz.
        folder: where the files go; must not exist yet.
        inside: folder of the archive whose content is taken; empty for all of it.
        watch: called with the bytes that are written, and all of them.

    Returns:
        How many files were written.

    Raises:
        DataError: no archive, a damaged one, one whose names leave the folder, or one that
            unpacks to far too much.
        UsageError: something stands at ``folder`` already.
    """
    with damage(archive), opened(archive) as members:
        found = [m for m in checked(archive, members) if is_wanted(m.name, inside)]
    if not found:
        where = f"in its folder {inside}" if inside else "that could be unpacked"
        raise DataError(f"{archive}: holds no files {where}; look into it")
    chosen, total, done = {m.name for m in found}, sum(m.size for m in found), 0
    with atomic_folder(folder) as target, damage(archive), opened(archive) as members:
        for member in members:
            if member.name in chosen:
                write(member, target / PurePosixPath(member.name).relative_to(inside or "."))
                done += member.size
                watch(done, total)
    return len(found)


def write(member: Member, path: Path) -> None:
    """One file; no more of it than the archive said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise EOFError(f"{member.name} has no content")
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    if path.stat().st_size != member.size:
        raise EOFError(f"{member.name} is cut off")


class Strict(tarfile.TarInfo):
    """A header of a tar archive; one that is damaged is an error, not the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Strict":
        """The header in a block of 512 bytes; zeros mark the end of the archive."""
        try:
            return super().frombuf(buf, encoding, errors)
        except HeaderError as error:
            if buf and not any(buf):
                raise
            raise ReadError(f"cut off, or a header is broken: {error}") from error


@contextmanager
def damage(archive: Path) -> Iterator[None]:
    """Name the archive in what its reader says about damage, or the disk about space."""
    try:
        with file_errors(archive):
            yield
    except _DAMAGE as error:
        raise damaged(archive, error) from error
    except OSError as error:
        # gzip reports damage as an OSError that has no number.
        if error.errno is None and type(error).__module__ in {"gzip", "builtins"}:
            raise damaged(archive, error) from error
        raise


def damaged(archive: Path, error: BaseException) -> DataError:
    """What to say about a broken archive."""
    why = str(error).partition("\n")[0]
    return DataError(f"{archive}: damaged archive ({why}); fetch it again")


@contextmanager
def opened(archive: Path) -> Iterator[Iterator[Member]]:
    """The ordinary files of an archive, one after the other."""
    # A tar archive may end with a zip file, and then looks like one.
    if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield zip_members(packed)
    else:
        with tarfile.open(archive, tarinfo=Strict) as packed:
            yield tar_members(packed)


def zip_members(packed: zipfile.ZipFile) -> Iterator[Member]:
    """The files of a zip archive."""
    for info in packed.infolist():
        if not info.is_dir():
            if info.flag_bits & 1:
                raise zipfile.BadZipFile(f"{info.filename} is encrypted")
            yield Member(
                name=info.filename, size=info.file_size, open=lambda info=info: packed.open(info)
            )


def tar_members(packed: tarfile.TarFile) -> Iterator[Member]:
    """The files of a tar archive."""
    for info in packed:
        if info.isreg():
            yield Member(
                name=info.name, size=info.size, open=lambda info=info: packed.extractfile(info)
            )
    # What comes after the last file holds the checksum of a compressed archive.
    for _ in range(MOST_PADDING):
        if packed.fileobj is None or not packed.fileobj.read(2**20):
            return
    raise ReadError("does not end where its files end")


def checked(archive: Path, members: Iterator[Member]) -> Iterator[Member]:
    """The members, as long as their names and sizes are those of an archive of images."""
    most = MOST_PACKED * max(archive.stat().st_size, 2**20)
    total, seen = 0, set[str]()
    for count, member in enumerate(members, start=1):
        if not is_inside(member.name):
            raise DataError(
                f"{archive}: the name {member.name!r} leads out of the archive; do not use this "
                "file"
            )
        total += member.size
        if total > most or count > MOST_FILES:
            raise DataError(
                f"{archive}: unpacks to {total} bytes in {count} files or more, no archive of "
                "images does; unpack it yourself if you trust it"
            )
        if member.name in seen:
            raise DataError(f"{archive}: holds {member.name} twice; unpack it yourself")
        seen.add(member.name)
        yield member


def is_wanted(name: str, inside: str) -> bool:
    """Whether a file of the archive is taken."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.is_relative_to(inside or ".")
