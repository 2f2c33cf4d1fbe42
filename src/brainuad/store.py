"""Prepared scans on disk: built once, resumable, read by slice without loading a scan whole.

A store is a zarr 3 group with one array per subject, (k, i, j), see :mod:`brainuad.shard`;
:mod:`brainuad.encoding` says what its numbers mean.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
import zarr.errors

from brainuad.encoding import Codes, decode, encode
from brainuad.manifest import atomic_folder
from brainuad.method import Batch, Batches
from brainuad.scan import Scan
from brainuad.shard import Shard, write_shard
from brainuad.slices import REACH, check_view, image_key
from brainuad.types import Affine, DataError, MissingError, UsageError

VERSION = 1
_OPEN_SCANS = 4096


class Store:
    """A folder of prepared scans of one modality on one grid.

    Use :meth:`create` to build or go on building, :meth:`open` to read.

    Attributes:
        path: the folder.
        recipe_hash: of the preparation that made the scans.
        affine: voxel indices to RAS+ millimetres, for every scan.
        shape: voxels along i, j, k, for every scan.
        modality: of every scan.
    """

    def __init__(self, path: Path, attributes: dict[str, Any]):
        self.path = path
        self.recipe_hash: str = attributes["recipe_hash"]
        self.affine: Affine = np.array(attributes["affine"], dtype=np.float64)
        self.shape: tuple[int, ...] = tuple(attributes["shape"])
        self.modality: str = attributes["modality"]
        self.shard = lru_cache(_OPEN_SCANS)(self._shard)

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        recipe_hash: str,
        affine: Affine,
        shape: Sequence[int],
        modality: str,
    ) -> "Store":
        """An empty store, or the one that a stopped build of the same kind left there.

        Raises:
            UsageError: something else, or a store of another kind, is there already.
        """
        path = Path(path)
        attributes = {
            "brainuad_store": VERSION,
            "recipe_hash": recipe_hash,
            "affine": np.asarray(affine, dtype=np.float64).tolist(),
            "shape": [int(n) for n in shape],
            "spacing": np.linalg.norm(np.asarray(affine)[:3, :3], axis=0).tolist(),
            "modality": modality,
        }
        if (path / "zarr.json").exists():
            _check_same(path, _attributes(path), attributes)
        else:
            with atomic_folder(path) as temporary:
                zarr.create_group(temporary, attributes=attributes)
        return cls(path, attributes)

    @classmethod
    def open(cls, path: Path | str, *, recipe_hash: str | None = None) -> "Store":
        """A store that was built before.

        Raises:
            MissingError: no such folder.
            DataError: not a store, or a damaged one.
            UsageError: its recipe is not ``recipe_hash``, where one is given.
        """
        path = Path(path)
        attributes = _attributes(path)
        if recipe_hash is not None:
            _check_same(path, attributes, {"recipe_hash": recipe_hash})
        return cls(path, attributes)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects whose scan is stored, sorted."""
        found = (p.name for p in self.path.iterdir() if p.is_dir())
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def has(self, subject: str) -> bool:
        """Whether the scan of a subject is stored, whole."""
        return (self.path / subject / "zarr.json").exists()

    def add(self, scan: Scan, *, input_hash: str = "") -> None:
        """Store a prepared scan, whole or not at all.

        Args:
            scan: voxels in [0, 1] inside its brain and 0 outside, on the grid of the store.
            input_hash: SHA-256 of the file that it was prepared from.

        Raises:
            UsageError: the subject is there already, or its name cannot be a file name.
            DataError: grid, modality or intensities are not those of the store.
        """
        self._check(scan)
        codes = encode(scan)
        attributes = {"subject": scan.subject, "input_sha256": input_hash}
        write_shard(self.path / scan.subject, codes, attributes)

    def _check(self, scan: Scan) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", scan.subject):
            raise UsageError(
                f"subject {scan.subject!r}: cannot name a folder; use letters, digits, - _ . +"
            )
        if self.has(scan.subject):
            raise UsageError(
                f"{scan.subject}: is in {self.path} already; give each scan its own name"
            )
        check_fits(scan, self)

    def scan(self, subject: str) -> Scan:
        """The stored scan of a subject, with its brain."""
        voxels, brain = decode(np.moveaxis(self.codes(subject), 0, 2))
        return Scan(
            voxels=np.ascontiguousarray(voxels),
            affine=self.affine.copy(),
            modality=self.modality,
            subject=subject,
            brain=np.ascontiguousarray(brain),
        )

    def codes(self, subject: str, k: int | None = None) -> Codes:
        """Stored numbers of one slice (i, j), or of the whole scan (k, i, j)."""
        shard = self.shard(subject)
        return shard.read_all() if k is None else shard.read(k)

    def input_hash(self, subject: str) -> str:
        """SHA-256 of the file that a scan was prepared from."""
        return str(self.shard(subject).attributes["input_sha256"])

    def brain_voxels(self, subject: str) -> tuple[int, ...]:
        """Number of brain voxels in each axial slice."""
        return self.shard(subject).inside

    def _shard(self, subject: str) -> Shard:
        if not self.has(subject):
            raise MissingError(
                f"{self.path}: holds no {subject}; choose one of its {len(self.subjects)} subjects"
            )
        shard = Shard(self.path / subject)
        if shard.shape != (self.shape[2], *self.shape[:2]):
            raise shard.damaged(f"its shape is {shard.shape}")
        return shard

    def batches(
        self,
        view: str = "axial",
        *,
        subjects: Sequence[str] | None = None,
        minimum_brain: int | float = 0.02,
        memory_mb: int | float = 1024,
    ) -> "StoredImages":
        """The images of all or some scans, with random access.

        Args:
            view: ``axial`` slices, ``axial3`` slices between their neighbours, or ``volume``.
            subjects: whose; everyone when not given.
            minimum_brain: least share of brain pixels in a slice, in [0, 1]; others are left out.
            memory_mb: keep scans in memory once read if all of them fit into so many megabytes.
        """
        names = self.subjects if subjects is None else tuple(subjects)
        return StoredImages(self, view, names, minimum_brain=minimum_brain, memory_mb=memory_mb)


def check_fits(scan: Scan, store: Store) -> None:
    """Refuse a scan of another modality or on another grid."""
    if scan.modality != store.modality:
        raise DataError(
            f"{scan.subject}: is {scan.modality}, {store.path} holds {store.modality}; "
            "use one store per modality"
        )
    shape = scan.voxels.shape
    if shape != store.shape or not np.allclose(scan.affine, store.affine, atol=1e-4):
        raise DataError(
            f"{scan.subject}: its grid {shape} is not that of {store.path}, "
            f"{store.shape}, or lies elsewhere; prepare it with the store's recipe"
        )


def _attributes(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise MissingError(f"{path}: no such store; prepare scans into it first")
    try:
        attributes = dict(zarr.open_group(path, mode="r", zarr_format=3).attrs)
    except (ValueError, KeyError, TypeError, OSError, zarr.errors.BaseZarrError) as error:
        raise DataError(f"{path}: not a store of scans ({error}); prepare scans into it") from error
    version = attributes.get("brainuad_store")
    if version != VERSION:
        raise DataError(
            f"{path}: is a store of version {version}, not {VERSION}; prepare the scans again"
        )
    return attributes


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UsageError(
                f"{path}: was built with {name} {found.get(name)}, not {value}; "
                "choose another folder or prepare the scans again"
            )


class StoredImages(Batches):
    """Slices or volumes of the scans in a store; the same whether read from memory or from disk."""

    def __init__(
        self,
        store: Store,
        view: str,
        subjects: Sequence[str],
        *,
        minimum_brain: int | float,
        memory_mb: int | float,
    ):
        check_view(view)
        self.store, self.reach = store, REACH.get(view, 0)
        self.items = [
            (subject, k) for subject in subjects for k in _kept(store, subject, view, minimum_brain)
        ]
        if not self.items:
            raise DataError(
                f"{store.path}: holds no image to learn from; prepare scans into it first"
            )
        megabytes = len(subjects) * float(np.prod(store.shape)) * 2 / 2**20
        self.in_memory = megabytes <= memory_mb
        self.scans: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def all_keys(self) -> list[str]:
        """Names of the random streams of all images, without reading them."""
        return [image_key(subject, k) for subject, k in self.items]

    def get(self, indices: Sequence[int]) -> Batch:
        """The images with these numbers, in this order."""
        items = [self.items[i] for i in indices]
        x, brain = decode(np.stack([self._codes(subject, k) for subject, k in items]))
        return Batch(
            x=torch.from_numpy(x),
            brain=torch.from_numpy(brain[:, self.reach : self.reach + 1].copy()),
            keys=tuple(image_key(subject, k) for subject, k in items),
        )

    def _codes(self, subject: str, k: int | None) -> np.ndarray:
        """Stored numbers of an image, with its channels first."""
        if k is None:
            return np.moveaxis(self._whole(subject), 0, 2)[None]
        near = range(k - self.reach, k + self.reach + 1)
        return np.stack([self._slice(subject, n) for n in near])

    def _slice(self, subject: str, k: int) -> np.ndarray:
        if not 0 <= k < self.store.shape[2]:
            return np.zeros(self.store.shape[:2], np.uint16)
        return self._whole(subject)[k] if self.in_memory else self.store.codes(subject, k)

    def _whole(self, subject: str) -> np.ndarray:
        if not self.in_memory:
            return self.store.codes(subject)
        if subject not in self.scans:
            self.scans[subject] = self.store.codes(subject)
        return self.scans[subject]


def _kept(store: Store, subject: str, view: str, minimum_brain: int | float) -> list[int | None]:
    if view == "volume":
        store.shard(subject)
        return [None]
    least = max(1.0, minimum_brain * store.shape[0] * store.shape[1])
    return [k for k, n in enumerate(store.brain_voxels(subject)) if n >= least]
