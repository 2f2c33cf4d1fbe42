"""Whether a folder holds what a data set should hold."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainuad.datasets.catalogue import Dataset, Pattern, filled, values
from brainuad.datasets.fetch import RECORD, UNFINISHED
from brainuad.types import MissingError, UsageError

_TOKENS = re.compile(r"\*\*/|\*|\{id\}")


@dataclass(frozen=True, kw_only=True)
class Count:
    """What was found for one pattern."""

    what: str
    glob: str
    expected: int | None
    """How many there should be; None where that is not known."""
    found: int
    missing: int
    superfluous: int
    named: tuple[str, ...] = ()
    """Subjects or files that are missing, where their names are known."""
    optional: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that must be there."""
        return not self.missing


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a folder holds, compared with the layout of a data set."""

    name: str
    folder: Path
    complete: bool
    """Whether everything is there; superfluous files do not matter."""
    counts: tuple[Count, ...]
    empty: tuple[str, ...]
    """Files of the data set without a single byte; they count as missing."""
    superfluous: tuple[str, ...]
    """Files that belong to no pattern."""
    unfinished: bool
    """Whether a download has broken off."""


def check(data: Dataset, folder: Path) -> Check:
    """Compare a folder with the layout of a data set. Hidden files are not looked at.

    Raises:
        MissingError: no such folder.
        UsageError: the path is a file.
    """
    if not folder.exists():
        raise MissingError(f"{folder}: no such folder; check the path")
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give the folder of the data set")
    sizes = dict(files(folder))
    empty = {path for path, size in sizes.items() if not size}
    matches = [matching(pattern, sizes) for pattern in data.layout]
    counts = tuple(
        counted(pattern, [path for path in found if path not in empty])
        for pattern, found in zip(data.layout, matches, strict=True)
    )
    known = {path for found in matches for path in found} | {each.path for each in data.downloads()}
    unfinished = (folder / UNFINISHED).is_dir()
    return Check(
        name=data.name,
        folder=folder,
        complete=not unfinished and all(each.complete for each in counts),
        counts=counts,
        empty=tuple(sorted(empty & known)),
        superfluous=tuple(sorted(set(sizes) - known - {RECORD})),
        unfinished=unfinished,
    )


def files(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file that is not hidden: its path within the folder, and its size in bytes."""
    for place, below, found in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(found):
            path = Path(place) / name
            # Links into nowhere, as unfinished DataLad copies hold them, have no size.
            size = path.stat().st_size if path.exists() else 0
            if not name.startswith("."):
                yield path.relative_to(folder).as_posix(), size


def expression(glob: str) -> re.Pattern[str]:
    """A pattern of a recipe as a regular expression; the group ``id`` is the subject."""
    text, place, seen = "", 0, False
    for token in _TOKENS.finditer(glob):
        text += re.escape(glob[place : token.start()])
        place = token.end()
        if token[0] == "{id}":
            text, seen = text + ("(?P=id)" if seen else "(?P<id>[^/]+?)"), True
        else:
            text += "(?:.*/)?" if token[0] == "**/" else "[^/]*"
    return re.compile(text + re.escape(glob[place:]))


def matching(pattern: Pattern, paths: Sequence[str] | dict[str, int]) -> list[str]:
    """The paths that a pattern describes."""
    wanted = expression(pattern.glob)
    return [path for path in paths if wanted.fullmatch(path)]


def subject(pattern: Pattern, path: str) -> str:
    """The subject in a path that a pattern describes."""
    match = expression(pattern.glob).fullmatch(path)
    return match["id"] if match else ""


def counted(pattern: Pattern, found: Sequence[str]) -> Count:
    """Compare what was found with what a pattern wants."""
    ids = values(pattern.ids) if pattern.ids else ()
    expected = len(ids) or pattern.count
    absent, surplus = (), max(0, len(found) - (pattern.most or expected or len(found)))
    if ids:
        seen = [subject(pattern, path) for path in found]
        absent = tuple(filled(pattern.glob, {"id": each}) for each in ids if each not in seen)
        surplus = len(seen) - len(set(seen) & set(ids))
    missing = len(absent) if ids else max(0, (expected or 1) - len(found))
    if pattern.optional and not found:
        missing, absent = 0, ()
    return Count(
        what=pattern.what,
        glob=pattern.glob,
        expected=expected,
        found=len(found),
        missing=missing,
        superfluous=surplus,
        named=absent,
        optional=pattern.optional,
    )
