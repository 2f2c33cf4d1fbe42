"""One stored scan: a zarr 3 array with one chunk per axial slice, all chunks in one file.

Any zarr library reads it. Single slices are read here straight from the file, by the index that
the zarr sharding codec keeps at its end: 30 times faster than through zarr, whose reader is made
for a few large reads (``benchmarks/store.py``).

References:
    Zarr v3 specification, "sharding_indexed" codec, section "Binary shard format".
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors
from jaxtyping import UInt16, UInt64
from numcodecs import Blosc
from zarr.codecs import BloscCodec

from brainuad.manifest import atomic_folder, file_errors
from brainuad.types import DataError

_CHECKSUM = 4
_EMPTY = 2**64 - 1
"""Offset of a chunk that holds nothing but 0 and was not written."""
_FILE = Path("c", "0", "0", "0")
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    FileNotFoundError,
    zarr.errors.BaseZarrError,
)


def write_shard(
    path: Path, codes: UInt16[np.ndarray, "k i j"], attributes: Mapping[str, Any]
) -> None:
    """Write one scan into a new folder, whole or not at all."""
    with atomic_folder(path) as temporary:
        array = zarr.create_array(
            temporary,
            shape=codes.shape,
            dtype=codes.dtype,
            chunks=(1, *codes.shape[1:]),
            shards=codes.shape,
            # Level 5 is where more effort stops paying for these images.
            compressors=BloscCodec(typesize=2, cname="zstd", clevel=5, shuffle="bitshuffle"),
            dimension_names=("k", "i", "j"),
            # So that a file that is not there is always damage, never an empty scan.
            config={"write_empty_chunks": True},
            attributes={**attributes, "inside": _inside(codes)},
        )
        array[:] = codes


def _inside(codes: UInt16[np.ndarray, "k i j"]) -> list[int]:
    return np.count_nonzero(codes, axis=(1, 2)).tolist()


class Shard:
    """A stored scan, open for reading.

    Attributes:
        attributes: what was stored beside the numbers.
        inside: how many numbers of each slice are not 0.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._damage():
            array = zarr.open_array(path, mode="r", zarr_format=3)
            self.shape = tuple(array.shape)
            self.attributes = dict(array.attrs)
            self.inside = tuple(int(n) for n in self.attributes["inside"])  # type: ignore[union-attr]
            self.index = self._index()

    def _index(self) -> UInt64[np.ndarray, "k 2"]:
        """Offset and length in bytes of every slice."""
        size = 16 * self.shape[0]
        with (self.path / _FILE).open("rb") as file:
            start = file.seek(0, os.SEEK_END) - size - _CHECKSUM
            file.seek(max(start, 0))
            index = np.frombuffer(file.read(size), "<u8").reshape(self.shape[0], 2)
        written = index[index[:, 0] != _EMPTY]
        if len(written) and written.sum(axis=1).max() > start:
            raise ValueError("its index points behind its end")
        return index.astype(np.uint64)

    def read(self, k: int) -> UInt16[np.ndarray, "i j"]:
        """Numbers of one slice."""
        start, length = (int(n) for n in self.index[k])
        codes = np.zeros(self.shape[1:], np.uint16)
        if start != _EMPTY:
            # Not mapped into memory: a file cut short under a mapping kills the process.
            with self._damage(), (self.path / _FILE).open("rb") as file:
                file.seek(start)
                data = Blosc().decode(file.read(length))
                codes = np.frombuffer(data, "<u2").reshape(codes.shape)
        if np.count_nonzero(codes) != self.inside[k]:
            raise self.damaged(f"slice {k} is not what was stored")
        return codes

    def read_all(self) -> UInt16[np.ndarray, "k i j"]:
        """Numbers of all slices."""
        return np.stack([self.read(k) for k in range(self.shape[0])])

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            with file_errors(self.path):
                yield
        except _DAMAGE as error:
            raise self.damaged(error) from error

    def damaged(self, why: object) -> DataError:
        """The error that says what is wrong with this folder and what to do."""
        return DataError(
            f"{self.path}: damaged ({why}); delete this folder and prepare the scan again"
        )
