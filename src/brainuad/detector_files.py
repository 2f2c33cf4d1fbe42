"""The folder that a detector is: settings, weights, calibration, card; checked when read."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from brainuad.config import dump_yaml, load_yaml
from brainuad.manifest import file_errors, plain
from brainuad.types import AccessError, BrainuadError, DataError, MissingError, UsageError

FORMAT = 1
CONFIG, WEIGHTS, CALIBRATION, CARD = (
    "detector.yaml",
    "weights.safetensors",
    "calibration.json",
    "card.md",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorParts:
    """What lies in a detector folder, read and checked but not yet put together."""

    config: dict[str, Any]
    state: dict[str, Tensor]
    weights_hash: str
    calibration: dict[str, Any] | None


def serialised(state: Mapping[str, Tensor]) -> bytes:
    """The weights as the bytes of a safetensors file; equal weights give equal bytes."""
    return save({name: value.detach().cpu().contiguous() for name, value in sorted(state.items())})


def hash_of_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights as they are stored."""
    return hashlib.sha256(serialised(state)).hexdigest()


def write_detector(
    folder: Path,
    *,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    calibration: Mapping[str, Any] | None,
    card: str,
) -> Path:
    """Write a detector folder whole: it is built beside ``folder`` and then takes its place."""
    weights = serialised(state)
    head = {"format": FORMAT, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    with file_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as name:
            new = Path(name) / "new"
            new.mkdir()
            (new / CONFIG).write_text(dump_yaml({**head, "detector": dict(config)}))
            (new / WEIGHTS).write_bytes(weights)
            (new / CARD).write_text(card)
            if calibration is not None:
                (new / CALIBRATION).write_text(json.dumps(calibration, indent=1))
            take_place(new, folder, spare=Path(name) / "old")
    return folder


def check_free(
    folder: Path, *, replace: bool = False, but: Mapping[str, Any] | None = None
) -> None:
    """Refuse a folder whose content a new detector would take the place of.

    Args:
        folder: where the detector shall go.
        replace: whether a detector there is not wanted any more.
        but: settings and hash of weights (``detector``, ``weights_sha256``) that may be there,
            since the new ones are the same.

    Raises:
        UsageError: it holds another detector.
        DataError: it holds something else.
    """
    with file_errors(folder):
        _check_ours(folder)
        if replace or not (folder / CONFIG).exists():
            return
        head = _settings_there(folder)
    if but is not None and {name: head.get(name) for name in but} == plain(but):
        return
    made = head.get("detector")
    known = made if isinstance(made, dict) else {}
    what = f"{known.get('method', 'unknown method')}, preset {known.get('preset', 'unknown')}"
    raise UsageError(
        f"{folder}: holds a detector already ({what}); choose another --out, or add --replace"
    )


def _settings_there(folder: Path) -> dict[str, Any]:
    """Settings of the detector in a folder; none where they cannot be read, which is no matter."""
    try:
        return load_yaml(folder / CONFIG)
    except BrainuadError:
        return {}


def _check_ours(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise DataError(f"{folder}: holds other files; choose an empty or new folder")


def take_place(new: Path, folder: Path, *, spare: Path) -> None:
    """Move ``new`` to ``folder``; what was there goes to ``spare``, unless it is no detector.

    Raises:
        DataError: ``folder`` holds something else than a detector, which is left alone.
    """
    _check_ours(folder)
    if folder.exists():
        for other in folder.iterdir():
            if other.name not in (CONFIG, WEIGHTS, CALIBRATION, CARD):
                shutil.move(other, new / other.name)
        folder.rename(spare)
    new.rename(folder)


def read_detector(folder: Path) -> DetectorParts:
    """Read a detector folder and check that its parts are whole and belong together.

    Raises:
        MissingError: the folder, its settings or its weights are not there.
        DataError: a part is damaged or of another detector.
    """
    if not folder.is_dir():
        raise MissingError(
            f"{folder}: no such detector folder; give a folder made by `brainuad fit`"
        )
    head = load_yaml(part(folder, CONFIG))
    if head.get("format") != FORMAT or not isinstance(head.get("detector"), dict):
        raise DataError(
            f"{folder / CONFIG}: not the settings of a detector of format {FORMAT} "
            f"(format {head.get('format')!r}); fit the detector again"
        )
    raw = read_bytes(part(folder, WEIGHTS))
    digest = hashlib.sha256(raw).hexdigest()
    if digest != head.get("weights_sha256"):
        raise DataError(
            f"{folder / WEIGHTS}: damaged, or of another detector (its hash {digest[:12]} is not "
            f"the {str(head.get('weights_sha256'))[:12]} of {CONFIG}); copy or fit it again"
        )
    return DetectorParts(
        config=head["detector"],
        state=parse_weights(raw, folder / WEIGHTS),
        weights_hash=digest,
        calibration=read_calibration(folder / CALIBRATION),
    )


def part(folder: Path, name: str) -> Path:
    """A file that every detector folder has."""
    if not (folder / name).is_file():
        raise MissingError(f"{folder}: {name} is missing; copy the whole folder or fit it again")
    return folder / name


def read_bytes(path: Path) -> bytes:
    """Content of a file."""
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise AccessError(f"{path}: may not be read; change its permissions") from error


def parse_weights(raw: bytes, path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    try:
        return load(raw)
    except SafetensorError as error:
        raise DataError(f"{path}: damaged ({error}); copy or fit the detector again") from error


def read_calibration(path: Path) -> dict[str, Any] | None:
    """The calibration, or None where the detector was never calibrated."""
    if not path.exists():
        return None
    try:
        data = json.loads(read_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged ({error}); calibrate the detector again") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: holds no calibration; calibrate the detector again")
    return data
