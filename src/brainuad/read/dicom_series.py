"""Which series of a DICOM study is the scan: grouped by header, chosen by rule, or listed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad import gate
from brainuad.read.bundle import entries
from brainuad.read.dicom_file import Frame, Header, read_header
from brainuad.types import DataError, MissingError, UsageError

LEAST_SLICES = 8
"""A series with fewer slices is a localiser, a scout or a single picture."""
_SCOUT = re.compile(r"locali[sz]er|scout|survey|loc\b|3[- ]?plane", re.IGNORECASE)
_T1 = re.compile(r"t1|mp-?rage|mp2rage|spgr|bravo|tfl|fspgr|vibe", re.IGNORECASE)
_T2 = re.compile(r"t2|space(?!.*flair)|cube(?!.*flair)", re.IGNORECASE)
_FLAIR = re.compile(r"flair|tirm|dark[- _]?fluid", re.IGNORECASE)
_PD = re.compile(r"(?<![a-z])pdw?(?![a-z])|proton", re.IGNORECASE)
_CONTRAST = re.compile(r"gad|gd\b|\+c\b|post|contrast|\bce\b|_ce_|k[mM]$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The files of one series."""

    path: Path
    """Folder, archive or file that it lies in."""
    uid: str
    facts: dict[str, Any]
    """Of its first file; see :data:`brainuad.read.dicom_file.FACTS`."""
    frames: tuple[Frame, ...]
    damaged: tuple[str, ...] = ()
    """Files beside it that are DICOM, but cannot be read; they may belong to it."""
    others: tuple[str, ...] = ()
    """Files beside it that are not DICOM."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files that were not read, the damaged ones first, with the reason."""
        return (
            *(f"{n} (damaged)" for n in self.damaged),
            *(f"{n} (no DICOM)" for n in self.others),
        )

    @property
    def number(self) -> str:
        """SeriesNumber, by which a person asks for it."""
        given = self.facts.get("SeriesNumber")
        return "?" if given in (None, "") else str(given)

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName."""
        return str(self.facts.get("SeriesDescription") or self.facts.get("ProtocolName") or "")

    @property
    def modality(self) -> str:
        """T1w, T1ce, T2w, FLAIR, PD, CT, or unknown: from the words, then from the timing."""
        return modality_of(self.facts)

    @property
    def is_scout(self) -> bool:
        """Whether it only served to plan the others, or holds too few slices for a scan."""
        kind = " ".join(map(str, self.facts.get("ImageType") or []))
        named = _SCOUT.search(f"{self.description} {kind}") is not None
        return named or len(self.frames) < LEAST_SLICES

    @property
    def line(self) -> str:
        """What a list of series says of it."""
        one, count = self.frames[0], len(self.frames)
        what = "scout or part" if self.is_scout else self.modality
        size = f"{count} slice{'s' * (count > 1)} of {one.columns} x {one.rows}"
        name = self.description or "no description"
        return f"  {self.number}: {name} ({what}, {size}; UID {self.uid})"


def modality_of(facts: dict[str, Any]) -> str:
    """What a header tells about the contrast; ``unknown`` where it does not."""
    if facts.get("Modality") == "CT":
        return "CT"
    if facts.get("Modality") not in ("MR", None):
        return gate.UNKNOWN
    found = by_words(facts) or _by_timing(facts)
    if found == "T1w" and (facts.get("ContrastBolusAgent") or _CONTRAST.search(_words(facts))):
        return "T1ce"
    return found


def _words(facts: dict[str, Any]) -> str:
    return f"{facts.get('SeriesDescription') or ''} {facts.get('ProtocolName') or ''}"


def by_words(facts: dict[str, Any]) -> str:
    """T1w, T2w, FLAIR or PD by the description of a series; empty where it names none."""
    words = _words(facts)
    for pattern, name in ((_FLAIR, "FLAIR"), (_PD, "PD"), (_T1, "T1w"), (_T2, "T2w")):
        if pattern.search(words):
            return name
    return ""


def _by_timing(facts: dict[str, Any]) -> str:
    """Long echo: T2 weighting, with a long inversion FLAIR; short echo and repetition: T1."""
    echo, repetition, inversion = (
        _number(facts.get(name)) for name in ("EchoTime", "RepetitionTime", "InversionTime")
    )
    if echo is None or repetition is None:
        return gate.UNKNOWN
    if echo >= 60:
        return "FLAIR" if inversion is not None and inversion >= 1500 else "T2w"
    if echo <= 20 and (repetition <= 1000 or (inversion is not None and inversion <= 1300)):
        return "T1w"
    return gate.UNKNOWN


def _number(value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def find_series(path: str | Path) -> list[Series]:
    """The series with images below a path, by their numbers.

    Args:
        path: a folder, a zip archive, or one DICOM file.

    Raises:
        MissingError: there is none.
        DataError: a damaged archive.
    """
    path = Path(path)
    groups: dict[str, list[Header]] = {}
    damaged: dict[str, str] = {}
    others: list[str] = []
    for entry in entries(path):
        try:
            header = read_header(entry)
        except DataError as error:
            damaged[entry.short] = str(error)
            continue
        if header is None:
            others.append(entry.short)
        elif header.frames:
            groups.setdefault(header.series, []).append(header)
    if not groups:
        why = f" ({next(iter(damaged.values()))})" if damaged else ""
        raise MissingError(
            f"{path}: no scan in it{why}; NIfTI, DICOM, PNG and JPEG are read, and subfolders are "
            "searched for DICOM alone"
        )
    beside = {"damaged": tuple(damaged), "others": tuple(others)}
    found = [replace(_series(path, uid, headers), **beside) for uid, headers in groups.items()]
    return sorted(found, key=lambda s: (_number(s.facts.get("SeriesNumber")) or 0, s.uid))


def _series(path: Path, uid: str, headers: list[Header]) -> Series:
    kept = {frame.uid: frame for header in headers for frame in header.frames}
    return Series(path=path, uid=uid, facts=headers[0].facts, frames=tuple(kept.values()))


def choose(found: Iterable[Series], *, number: str | None, modality: str | None) -> Series:
    """The series that is meant.

    By its number or UID where one is given. Else scouts are left out, then what is not of the
    wanted modality; what is left must be one.

    Raises:
        UsageError: there is no such series, or several could be meant; all are listed.
    """
    every = list(found)
    listed = "\n".join(series.line for series in every)
    path = every[0].path
    if number is not None:
        named = [s for s in every if number in (s.number, s.uid)]
        if not named:
            raise UsageError(
                f"{path}: no series with the number or UID {number}; choose from\n{listed}"
            )
        if len(named) > 1:
            same = "\n".join(series.line for series in named)
            raise UsageError(
                f"{path}: {len(named)} series have the number {number}; give the UID of one in "
                f"its place\n{same}"
            )
        return named[0]
    candidates = [s for s in every if not s.is_scout]
    if modality is not None and modality != gate.UNKNOWN:
        fitting = [s for s in candidates if s.modality == modality]
        unknown = [s for s in candidates if s.modality == gate.UNKNOWN]
        candidates = fitting or unknown
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        wanted = f" of modality {modality}" if modality else ""
        raise UsageError(f"{path}: no series{wanted} that is a whole scan; there are\n{listed}")
    raise UsageError(
        f"{path}: {len(candidates)} series could be meant; give the number or UID of one with "
        f"--series, or the modality\n{listed}"
    )
