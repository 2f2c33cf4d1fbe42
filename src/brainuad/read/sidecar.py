"""What a JSON file beside a NIfTI file tells of its contrast, as BIDS and dcm2niix write it."""

import json
from pathlib import Path
from typing import Any

from brainuad import gate
from brainuad.manifest import file_errors
from brainuad.read.dicom_series import by_words, modality_of
from brainuad.scan_file import scan_stem
from brainuad.types import DataError, UsageError

_SECONDS = ("EchoTime", "RepetitionTime", "InversionTime")
_PLAIN = {"T1ce": "T1w"}


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a scan would lie."""
    return path.with_name(f"{scan_stem(path)}.json")


def read_sidecar(path: Path) -> dict[str, Any]:
    """Facts by their DICOM names, times in milliseconds; empty without a sidecar.

    Raises:
        DataError: the file beside the scan is not JSON with names and values.
    """
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return {}
    with file_errors(sidecar):
        text = sidecar.read_bytes()
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise DataError(f"{sidecar}: not JSON ({error}); correct or remove it") from error
    if not isinstance(facts, dict):
        raise DataError(f"{sidecar}: holds no names and values; correct or remove it")
    for name in _SECONDS:
        value = facts.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            facts[name] = 1000 * value
    return facts


def checked_modality(path: Path, modality: str) -> str:
    """The modality of a NIfTI file, with what its sidecar says.

    Args:
        path: the NIfTI file.
        modality: by its name or by a person; ``unknown`` takes that of the sidecar.

    Raises:
        UsageError: the sidecar's description, or its device, says another one.
    """
    facts = read_sidecar(path)
    if not facts:
        return modality
    if modality == gate.UNKNOWN:
        return modality_of(facts)
    said = "CT" if facts.get("Modality") == "CT" else by_words(facts)
    if facts.get("Modality") == "MR" and modality == "CT":
        said = said or "MR"
    if said and _PLAIN.get(said, said) != _PLAIN.get(modality, modality):
        raise UsageError(
            f"{path}: {sidecar_of(path).name} says {said}, the name or the modality given says "
            f"{modality}; correct one"
        )
    return modality
