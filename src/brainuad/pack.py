"""A store of prepared scans as one small file: 8 bits a voxel, to take along to where it is fitted.

A store keeps 16 bits, of which the last hardly compress. Eight are half a grey step of 1/255 off at
most, as fine as many scanners' own files, and a third of the size.
"""

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.encoding import brain_of
from brainuad.manifest import atomic_folder, atomic_path, file_errors
from brainuad.pool import Pool
from brainuad.scan import Scan
from brainuad.store import Store
from brainuad.types import DataError, MissingError, UsageError

FORMAT = 1
HEAD = "head.json"
LEVELS = 255
DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


def write_pack(store: Store, path: Path, *, progress: bool = False) -> Path:
    """Write all scans of a store into one file, whole or not at all.

    Each voxel inside the brain is rounded to the nearest of 256 grey values from 0 to 1.

    Args:
        store: prepared scans.
        path: the file; an older one there is replaced.
        progress: show a bar.
    """
    head = {
        "brainuad_pack": FORMAT,
        "recipe_hash": store.recipe_hash,
        "affine": store.affine.tolist(),
        "shape": list(store.shape),
        "modality": store.modality,
        "inputs": {subject: store.input_hash(subject) for subject in store.subjects},
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as file:
        file.writestr(HEAD, json.dumps(head, indent=1))

        def add(subject: str) -> None:
            file.writestr(f"{subject}.npz", packed(store.scan(subject)))

        for _ in Pool(1, progress=progress).map(add, list(store.subjects), f"pack {path.name}"):
            pass
    return path


def packed(scan: Scan) -> bytes:
    """Grey values inside the brain, slice by slice, and the brain as bits."""
    brain = np.moveaxis(brain_of(scan), 2, 0)
    grey = np.moveaxis(np.rint(scan.voxels * LEVELS).astype(np.uint8), 2, 0)
    # Steps between neighbours are smaller numbers than grey values, so they pack better.
    steps = np.diff(grey[brain], prepend=np.uint8(0))
    buffer = io.BytesIO()
    np.savez(buffer, brain=np.packbits(brain), steps=steps)
    return buffer.getvalue()


def read_pack(path: Path, folder: Path, *, progress: bool = False) -> Store:
    """The store that a packed file holds, built in ``folder``, or found there from before.

    Args:
        path: what :func:`write_pack` wrote.
        folder: where the store is built.
        progress: show a bar.

    Raises:
        MissingError: no such file.
        DataError: not a packed store, or a damaged one.
        UsageError: ``folder`` holds other scans.
    """
    check_there(path)
    try:
        with file_errors(path), zipfile.ZipFile(path) as file:
            head = json.loads(file.read(HEAD))
            if head.get("brainuad_pack") != FORMAT:
                raise ValueError(f"format {head.get('brainuad_pack')!r}")
            inputs = dict(head["inputs"])
            if not folder.exists():
                with atomic_folder(folder) as temporary:
                    fill(temporary, head, file, progress=progress)
    except DAMAGE as error:
        raise DataError(
            f"{path}: not a packed store, or damaged ({error}); copy it anew"
        ) from error
    return same(Store.open(folder), inputs, path)


def check_there(path: Path) -> None:
    """Raise unless the packed file exists."""
    if not path.is_file():
        raise MissingError(f"{path}: no such file; give one made by `make pack-data`")


def same(store: Store, inputs: Mapping[str, str], path: Path) -> Store:
    """The store, if it holds exactly these scans."""
    if {subject: store.input_hash(subject) for subject in store.subjects} != inputs:
        raise UsageError(
            f"{store.path}: holds other scans than {path}; choose another folder, or add --fresh"
        )
    return store


def fill(folder: Path, head: dict[str, Any], file: zipfile.ZipFile, *, progress: bool) -> None:
    """Build a store from the scans of an open file."""
    store = Store.create(
        folder,
        recipe_hash=head["recipe_hash"],
        affine=np.array(head["affine"]),
        shape=head["shape"],
        modality=head["modality"],
    )

    def add(subject: str) -> None:
        store.add(unpacked(head, file, subject), input_hash=head["inputs"][subject])

    for _ in Pool(1, progress=progress).map(add, list(head["inputs"]), f"unpack {file.filename}"):
        pass


def unpacked(head: dict[str, Any], file: zipfile.ZipFile, subject: str) -> Scan:
    """One scan of an open file."""
    i, j, k = head["shape"]
    with np.load(io.BytesIO(file.read(f"{subject}.npz")), allow_pickle=False) as arrays:
        brain = np.unpackbits(arrays["brain"], count=i * j * k).reshape(k, i, j) > 0
        grey = np.zeros((k, i, j), np.float32)
        grey[brain] = np.cumsum(arrays["steps"], dtype=np.uint8) / np.float32(LEVELS)
    return Scan(
        voxels=np.ascontiguousarray(np.moveaxis(grey, 0, 2)),
        affine=np.array(head["affine"]),
        modality=head["modality"],
        subject=subject,
        brain=np.ascontiguousarray(np.moveaxis(brain, 0, 2)),
    )
