"""What ran, and how its files are written: whole or not at all.

Every file of brainuad goes through :func:`atomic_path`, so a name that exists holds a complete
file. :func:`hash_of` names a piece of settings; two runs with equal hashes did the same thing.
"""

import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brainuad import __version__
from brainuad.types import AccessError, MissingError, SpaceError, UsageError

LIBRARIES = ("torch", "numpy", "scipy", "lightning", "monai", "nibabel", "simpleitk", "zarr")
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRONG_KIND = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def file_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn "no space" and "not allowed" of the operating system into errors with a remedy."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (SpaceError, AccessError)):
            raise
        if error.errno in _FULL:
            raise SpaceError(
                f"{path}: no space left to write it; free some space or choose another folder"
            ) from error
        if error.errno in _REFUSED:
            raise AccessError(
                f"{path}: may not be read or written ({error.strerror}); "
                "change the permissions or choose another folder"
            ) from error
        if error.errno in _WRONG_KIND:
            raise UsageError(
                f"{path}: something else stands there or above it; choose another name"
            ) from error
        raise


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` when the block succeeds.

    The temporary name has the same suffixes, missing parent folders are made, and nothing is
    left behind when the block fails or is interrupted.

    Raises:
        SpaceError: the disk is full.
        AccessError: the folder may not be written to.
    """
    path = Path(path)
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _fresh_name(path)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


def _fresh_name(path: Path) -> Path:
    suffixes = "".join(path.suffixes)
    handle, name = tempfile.mkstemp(prefix=f".{os.getpid()}-", suffix=suffixes, dir=path.parent)
    with os.fdopen(handle, "wb"):
        _as_an_ordinary_file(handle)
    return Path(name)


def _as_an_ordinary_file(handle: int) -> None:
    """Give the permissions that ``open`` would have given: mkstemp hides its files from others."""
    # File systems without permissions refuse this, and then there is nothing to correct.
    with suppress(PermissionError):
        os.fchmod(handle, 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside ``path``; renamed to ``path`` when the block succeeds.

    ``path`` must not exist yet, or be an empty folder. The temporary name starts with a dot.

    Raises:
        UsageError: something stands at ``path`` already.
    """
    path = Path(path)
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=path.parent))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            for found in [*temporary.rglob("*"), temporary]:
                _sync(found)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync(path.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write readable JSON, whole or not at all; takes what :func:`plain` takes.

    NaN and infinity become null, because JSON has no words for them.
    """
    write_text(path, json.dumps(plain(obj, finite=True), indent=2, allow_nan=False) + "\n")


def plain(obj: Any, *, finite: bool = False) -> Any:
    """The same value in the types of JSON.

    Takes mappings, sequences, sets (sorted), dataclasses, paths and numpy values.

    Args:
        obj: what to translate.
        finite: replace NaN and infinity by None.
    """
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        obj = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj)}
    if isinstance(obj, (np.generic, np.ndarray)):
        obj = obj.tolist()
    if isinstance(obj, Mapping):
        return {str(key): plain(value, finite=finite) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value, finite=finite) for value in obj]
    if isinstance(obj, (set, frozenset)):
        return sorted(plain(value, finite=finite) for value in obj)
    return _scalar(obj, finite=finite)


def _scalar(obj: Any, *, finite: bool) -> Any:
    if isinstance(obj, float) and finite and not np.isfinite(obj):
        return None
    if obj is None or isinstance(obj, (str, bool, int, float)):
        return obj
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    raise TypeError(
        f"{type(obj).__name__}: has no plain form; turn it into numbers and words first"
    )


def hash_of(obj: Any) -> str:
    """16 hex digits that depend on the value alone, not on key order or container type.

    Takes what :func:`plain` takes; a dataclass and the dictionary of its fields hash alike.
    """
    text = json.dumps(plain(obj), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: no such file; check the path")
    with file_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hash of a file, or of all files in a folder with their names."""
    if not (folder := Path(path)).is_dir():
        return sha256_file(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hash_of([[p.relative_to(folder).as_posix(), sha256_file(p)] for p in files])


def run_manifest(
    *,
    command: str,
    config: Any = None,
    seed: int | None = None,
    inputs: Iterable[str | os.PathLike[str]] | Mapping[str, str] = (),
    device: str = "cpu",
) -> dict[str, Any]:
    """What is needed to do the run again: code, libraries, machine, settings, inputs.

    Args:
        command: what was asked for, as a person would type it.
        config: resolved settings; stored whole and as a hash.
        seed: seed of every random stream of the run.
        inputs: files to hash, or hashes that are known already, by path.
        device: where the networks ran.
    """
    config = plain(config, finite=True)
    known = isinstance(inputs, Mapping)
    return {
        "command": command,
        "brainuad": __version__,
        "git": git_state(),
        "versions": versions(),
        "machine": machine(device),
        "config": config,
        "config_hash": hash_of(config),
        "seed": seed,
        "inputs": dict(inputs) if known else {str(p): sha256_file(p) for p in inputs},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the libraries that shape results; None where not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(device: str = "cpu") -> dict[str, Any]:
    """Operating system, processor, number of cores and the device that was used."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "device": device,
        "device_name": _device_name(device),
    }


def _device_name(device: str) -> str | None:
    # Torch is not imported for its sake: whoever used a CUDA device has loaded it.
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(device)


def git_state(folder: str | os.PathLike[str] | None = None) -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a checkout of brainuad itself."""
    folder = Path(folder) if folder is not None else Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "changed": bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
