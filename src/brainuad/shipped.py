"""Detectors that come with the package: their names and where they lie."""

import os
from pathlib import Path

from brainuad.config import load_yaml
from brainuad.types import MissingError

HOME = Path(__file__).parent / "detectors"
BEST = {"t1": "t1-fpi", "flair": "flair-marked-bright"}
"""Short names: the most accurate shipped detector for a modality."""


def shipped_names() -> tuple[str, ...]:
    """Names of all shipped detectors, sorted; short names are not among them."""
    return tuple(sorted(path.parent.name for path in HOME.glob("*/detector.yaml")))


def shipped_detectors() -> dict[str, str]:
    """What each name that can be asked for is: short names first."""
    said = {n: load_yaml(HOME / n / "detector.yaml")["detector"] for n in shipped_names()}
    best = {
        short: f"the most accurate for {said[name]['modality']}: {name}"
        for short, name in BEST.items()
        if name in said
    }
    return best | {name: f"{one['modality']}, method {one['method']}" for name, one in said.items()}


def find_detector(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a detector: ``name`` itself where it is one, else the shipped one."""
    path = Path(name)
    if (path / "detector.yaml").is_file():
        return path
    text = os.fspath(name)
    chosen = BEST.get(text, text)
    return HOME / chosen if chosen in shipped_names() else None


def detector_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a detector, shipped or one's own.

    Raises:
        MissingError: neither; the message lists the shipped ones.
    """
    found = find_detector(name)
    if found is not None or Path(name).exists():
        return found or Path(name)
    known = ", ".join([*(b for b, n in BEST.items() if n in shipped_names()), *shipped_names()])
    raise MissingError(
        f"{os.fspath(name)}: no such detector folder, and none of the shipped detectors"
        f" ({known or 'there are none'}); give one of these or a folder made by `brainuad fit`"
    )
