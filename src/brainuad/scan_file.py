"""The files that hold a scan: their names, their parts, and their bytes, unpacked and complete."""

import gzip
import re
import zlib
from collections.abc import Callable, Collection, Iterable
from io import BufferedIOBase
from pathlib import Path
from typing import TypeVar

import numpy as np

from brainuad import gate
from brainuad.types import DataError, MissingError

SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
DICOM = (".dcm", ".ima", ".zip")
PICTURES = (".png", ".jpg", ".jpeg")
FIRST = 3
"""So many files a message names; of the others it gives the number."""
_MOST_EXTRA_BYTES = 2**26
_PAIR = {".hdr": ".img", ".img": ".hdr"}
T = TypeVar("T")


def scan_stem(path: str | Path) -> str:
    """Name of a scan's file or folder without its ending."""
    name = Path(path).name
    ending = next((s for s in (*SUFFIXES, *DICOM, *PICTURES) if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)]


def first_names(names: Iterable[object]) -> str:
    """The first three of some names, and how many more there are."""
    words = [str(name) for name in names]
    more = f" and {len(words) - FIRST} more" if len(words) > FIRST else ""
    return ", ".join(words[:FIRST]) + more


def subject_of(path: Path) -> str:
    """Whom a file is of, by its name: ``sub-XX``, else the whole stem."""
    found = re.match(r"sub-[A-Za-z0-9]+", path.name)
    return found.group() if found else scan_stem(path)


def parts(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the voxels; often one and the same.

    Raises:
        DataError: not the name of a NIfTI file, a folder, or an empty file.
        MissingError: no such file, or the other half of a pair is missing.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise DataError(
            f"{path}: not a NIfTI name ({', '.join(SUFFIXES)}); convert the scan to NIfTI"
        )
    found = (path, path)
    if name.endswith((".hdr", ".img")):
        found = (path.with_suffix(".hdr"), path.with_suffix(".img"))
        _check_halves(found)
    for each in found:
        _check(each)
    return found


def _check_halves(pair: tuple[Path, Path]) -> None:
    there = [half for half in pair if half.exists()]
    if len(there) == 1:
        raise MissingError(
            f"{there[0]}: its other half {there[0].with_suffix(_PAIR[there[0].suffix]).name} is "
            "missing (.hdr holds the header, .img the voxels); put it beside this file"
        )


def _check(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give one NIfTI file")
    if not path.exists():
        raise MissingError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; copy or download it again")


def with_stream(path: Path, read: Callable[[BufferedIOBase], T]) -> T:
    """What ``read`` makes of the bytes of a file, unpacked where they are packed."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return read(gzip.GzipFile(fileobj=file) if packed else file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: gzip stream damaged or cut off ({error}); copy or download it again"
            ) from error


def header_block(stream: BufferedIOBase, path: Path, sizes: Collection[int]) -> bytes:
    """The header at the start of a stream; its own first number says how long it is."""
    block = stream.read(max(sizes))
    claimed = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    size = next((each for each in claimed if each in sizes), None)
    if size is None or len(block) < size:
        raise DataError(
            f"{path}: not a NIfTI file (no header of 348 or 540 bytes at its start); "
            "convert the scan to NIfTI"
        )
    return block[:size]


def raw_values(
    stream: BufferedIOBase, path: Path, *, dtype: np.dtype, offset: float, count: int
) -> np.ndarray:
    """Voxels as they are stored; reads to the end, so that checksums are compared.

    Args:
        stream: the unpacked file, from its start.
        path: the file, for errors.
        dtype: of one voxel.
        offset: byte at which the voxels begin.
        count: number of voxels.
    """
    if not 0 <= offset < 2**31:
        raise DataError(f"{path}: the voxels begin at byte {offset:g}; correct the header")
    needed = int(offset) + count * dtype.itemsize
    content = _at_most(stream, needed)
    gate.checked_bytes(str(path), needed, len(content))
    if len(stream.read(_MOST_EXTRA_BYTES)) == _MOST_EXTRA_BYTES:
        raise DataError(f"{path}: much longer than its header says; export the scan again")
    return np.frombuffer(content, dtype=dtype, count=count, offset=int(offset))


def _at_most(stream: BufferedIOBase, count: int) -> bytes:
    """Bytes up to a number, in pieces: a damaged header may promise more than there is memory."""
    found = bytearray()
    while len(found) < count and (piece := stream.read(min(2**24, count - len(found)))):
        found += piece
    return bytes(found)
