"""Anatomical scans of a BIDS data set, by participant, session, run and modality.

Names alone are read, as the standard defines them (Gorgolewski et al. 2016, Scientific Data 3);
derivatives and work folders inside the data set are left alone.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from brainuad.read.source import Source
from brainuad.types import MissingError, UsageError

SUFFIXES = {"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "PDw": "PD", "PD": "PD", "ct": "CT"}
"""Ends of names to modalities; ``ct`` is not in the standard yet."""
_NAME = re.compile(
    r"(?P<entities>(?:[a-z]+-[A-Za-z0-9+]+_)+)(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?"
)
_DERIVED = ("desc", "space", "res", "label")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which scans of a data set; empty means all."""

    participants: Collection[str] = ()
    """Labels with or without ``sub-``."""
    sessions: Collection[str] = ()
    """Labels with or without ``ses-``."""
    runs: Collection[str] = ()
    """Numbers as they stand in the names, or without leading zeros."""
    modality: str | None = None


@dataclass(frozen=True, kw_only=True)
class Name:
    """A file name taken apart."""

    path: Path
    entities: dict[str, str] = field(default_factory=dict)
    suffix: str = ""

    @classmethod
    def of(cls, path: Path) -> "Name | None":
        """The parts of a name, or None when it is not one of the standard."""
        found = _NAME.fullmatch(path.name)
        if found is None:
            return None
        pairs = (part.split("-", 1) for part in found["entities"].rstrip("_").split("_"))
        return cls(path=path, entities=dict(pairs), suffix=found["suffix"])

    @property
    def modality(self) -> str | None:
        """What the suffix says, ``T1ce`` with a contrast agent; None for other images."""
        found = SUFFIXES.get(self.suffix)
        return "T1ce" if found == "T1w" and "ce" in self.entities else found

    def fits(self, wanted: Wanted) -> bool:
        """Whether it is one of the scans that are asked for."""
        e = self.entities
        return (
            self.modality is not None
            and not any(name in e for name in _DERIVED)
            and wanted.modality in (None, self.modality)
            and _among(e.get("sub"), wanted.participants, "sub-")
            and _among(e.get("ses"), wanted.sessions, "ses-")
            and _among(e.get("run"), wanted.runs, "run-")
        )


def _among(label: str | None, wanted: Collection[str], prefix: str) -> bool:
    if not wanted:
        return True
    labels = {w.removeprefix(prefix) for w in wanted}
    if prefix != "run-" or label is None:
        return label in labels
    return label.lstrip("0") in {w.lstrip("0") for w in labels}


def is_bids(folder: Path) -> bool:
    """Whether a folder is a data set: it describes itself, or holds participants with images."""
    if (folder / "dataset_description.json").is_file():
        return True
    return any(folder.glob("sub-*/anat")) or any(folder.glob("sub-*/ses-*/anat"))


def find_bids(folder: Path, wanted: Wanted | None = None) -> list[Source]:
    """The scans of a data set that are asked for, by name.

    Raises:
        MissingError: none, or not a data set; says what there is.
        UsageError: a participant that the data set does not have.
    """
    wanted = wanted or Wanted()
    if not is_bids(folder):
        raise MissingError(
            f"{folder}: not a BIDS data set (no dataset_description.json, no sub-*/anat); "
            "check the path"
        )
    files = sorted({*folder.glob("sub-*/anat/*.nii*"), *folder.glob("sub-*/ses-*/anat/*.nii*")})
    names = [name for name in map(Name.of, files) if name is not None]
    have = {p.name.removeprefix("sub-") for p in folder.glob("sub-*")}
    absent = sorted({p.removeprefix("sub-") for p in wanted.participants} - have)
    if absent:
        raise UsageError(f"{folder}: has no participant {', '.join(absent)}; check the labels")
    found = [name for name in names if name.fits(wanted)]
    if not found:
        kinds = sorted({name.modality or name.suffix for name in names})
        raise MissingError(
            f"{folder}: no scan fits what is asked for ({_words(wanted)}); there are "
            f"{len(names)} images of {', '.join(kinds) or 'no kind'}; ask for another one"
        )
    return [
        Source(path=name.path, subject=f"sub-{name.entities['sub']}", modality=name.modality)
        for name in found
    ]


def misnamed(folder: Path) -> list[Path]:
    """Images of a data set that are no scans of it by their names or places."""
    named = {*folder.glob("sub-*/anat/*.nii*"), *folder.glob("sub-*/ses-*/anat/*.nii*")}
    stray = {
        *folder.glob("*.nii*"),
        *folder.glob("sub-*/*.nii*"),
        *folder.glob("sub-*/ses-*/*.nii*"),
    }
    return sorted({path for path in named if Name.of(path) is None} | stray)


def _words(wanted: Wanted) -> str:
    parts = {
        "participant": ", ".join(sorted(wanted.participants)),
        "session": ", ".join(sorted(wanted.sessions)),
        "run": ", ".join(sorted(wanted.runs)),
        "modality": wanted.modality or "",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value) or "any scan"
