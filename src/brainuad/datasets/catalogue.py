"""The recipes of data sets: one YAML file each, read strictly.

What stands in a recipe was checked against the pages in its ``sources``; a checksum or a number
that could not be checked is left out (``unknown``), never guessed.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from brainuad.config import build, load_yaml
from brainuad.types import UsageError

RECIPES = Path(__file__).parent / "recipes"
UNKNOWN = "unknown"
_CHECKSUM = re.compile(r"unknown|md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Licence:
    """What the publisher allows."""

    name: str
    commercial: Literal["yes", "no", "unclear"]
    """Whether commercial use is allowed; unclear: ask the publisher."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to fetch, or a family of files."""

    address: str
    path: str
    """Where it goes, relative to the folder of the data set; for archives their own name."""
    size: int | None = None
    """Bytes."""
    checksum: str = UNKNOWN
    """``sha256:...``, ``md5:...`` or ``unknown``."""
    part: str = "all"
    """Word by which a part of the data set can be fetched alone."""
    unpack: str = ""
    """Folder for the content of an archive (zip, tar); empty for files that are no archive."""
    inside: str = ""
    """Folder of the archive whose content is taken; empty for all of it."""
    each: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Values of the words in braces in address and path: a list, or a range like ``01..30``."""

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]+/", self.address):
            raise UsageError(f"{self.address!r}: not a web address; write https://...")
        if not _CHECKSUM.fullmatch(self.checksum):
            raise UsageError(f"{self.checksum!r}: write sha256:..., md5:... or unknown")
        for path in (self.path, self.unpack, self.inside):
            if not is_inside(path or "."):
                raise UsageError(f"{path!r}: leads out of the folder; write a path within it")

    def expanded(self) -> Iterator["Download"]:
        """The single files, in order."""
        words = {name: values(given) for name, given in self.each.items()}
        for chosen in itertools.product(*words.values()):
            word = dict(zip(words, chosen, strict=True))
            yield Download(
                address=filled(self.address, word),
                path=filled(self.path, word),
                size=self.size,
                checksum=self.checksum,
                part=self.part,
                unpack=self.unpack,
                inside=self.inside,
            )


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Files that a complete folder holds."""

    glob: str
    """``*`` within a name, ``**/`` for any folders, ``{id}`` for the name of a subject."""
    what: str
    count: int | None = None
    """How many there are; None where the number could not be checked: at least one."""
    most: int | None = None
    """How many there may be, where one release holds more than another."""
    ids: str | tuple[str, ...] = ()
    """Every subject, where the names are known: a list, or a range like ``01..30``."""
    optional: bool = False
    """The data set is of use without these: none of them, or all."""

    def __post_init__(self) -> None:
        if self.ids and "{id}" not in self.glob:
            raise UsageError(f"{self.glob!r}: has ids and no {{id}}; write it where they stand")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One public data set."""

    name: str
    title: str
    publisher: str
    """Address of the publisher's page."""
    licence: Licence
    citation: str
    modalities: tuple[str, ...]
    healthy: str
    """What healthy scans it holds."""
    lesions: str
    """What scans with lesions it holds, and whether they are outlined."""
    layout: tuple[Pattern, ...]
    files: tuple[Download, ...] = ()
    registration: bool = False
    """Whether the publisher gives the data only to persons who registered or signed."""
    steps: tuple[str, ...] = ()
    """How a person gets the data, where no program may or can."""
    sources: tuple[str, ...] = ()
    """Where addresses, numbers and checksums were looked up."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"name {self.name!r}: use small letters, digits and hyphens")
        if not self.files and not self.steps:
            raise UsageError("files: none, and no steps either; say how to get the data")
        if self.files and self.registration:
            raise UsageError("files: not to be fetched without registration; give steps instead")
        if not self.layout:
            raise UsageError("layout: empty; say what a complete folder holds")

    @property
    def parts(self) -> tuple[str, ...]:
        """Words by which parts can be fetched alone."""
        return tuple(dict.fromkeys(each.part for each in self.files))

    @property
    def access(self) -> str:
        """How one gets it: ``download``, ``by hand`` or ``registration``."""
        if self.files:
            return "download"
        return "registration" if self.registration else "by hand"

    def downloads(self, parts: tuple[str, ...] = ()) -> tuple[Download, ...]:
        """The single files to fetch; of these parts, or all.

        Raises:
            UsageError: a part that the data set does not have.
        """
        for part in parts:
            if part not in self.parts:
                known = ", ".join(self.parts) or "none"
                raise UsageError(f"{self.name}: has no part {part!r}; its parts: {known}")
        wanted = [each for each in self.files if not parts or each.part in parts]
        return tuple(one for each in wanted for one in each.expanded())


def names() -> tuple[str, ...]:
    """Names of the data sets that brainuad knows."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def dataset(name: str) -> Dataset:
    """The data set with this name, or that of a recipe of one's own.

    Args:
        name: one of :func:`names`, or the path of a YAML file.

    Raises:
        UsageError: no such data set, or a recipe with something wrong in it.
        MissingError: no such recipe file.
    """
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    if name not in names():
        raise UsageError(
            f"{name!r}: no such data set; known: {', '.join(names())}, or give a recipe (.yaml)"
        )
    return read(RECIPES / f"{name}.yaml")


def read(path: Path) -> Dataset:
    """A recipe from its file."""
    data = load_yaml(path)
    # Built one by one, so that an unknown key in any of them is an error that names it.
    for key, kind in (("layout", Pattern), ("files", Download)):
        rows = data.get(key, [])
        if isinstance(rows, list):
            for number, row in enumerate(rows):
                build(kind, row, where=f"{path.name}: {key}.{number}")
    return build(Dataset, data, where=path.name)


def values(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """A list as it is; a range like ``01..30`` written out, with its leading zeros."""
    if not isinstance(given, str):
        return tuple(given)
    first, dots, last = given.partition("..")
    if not (dots and first.isdecimal() and last.isdecimal()):
        return (given,)
    return tuple(str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))


def filled(text: str, words: Mapping[str, Any]) -> str:
    """The text with its words in braces replaced."""
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    return text


def is_inside(path: str) -> bool:
    """Whether a path, as archives and recipes write it, stays below the folder it starts from."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return bool(path) and not (
        parts.is_absolute() or ".." in parts.parts or ":" in "".join(parts.parts[:1])
    )
