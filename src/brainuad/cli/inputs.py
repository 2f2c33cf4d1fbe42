"""From what a person names - files, folders, tables - to scans."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from brainuad.cli.basics import remark
from brainuad.read.bids import Wanted, find_bids, is_bids, misnamed
from brainuad.read.picture import is_picture
from brainuad.read.sidecar import sidecar_of
from brainuad.read.source import Source
from brainuad.scan_file import first_names, scan_stem
from brainuad.types import DataError, MissingError, UsageError

TABLES = {".tsv": "\t", ".csv": ","}
COLUMNS = ("path", "brain", "subject", "series", "modality")


def sources(
    given: Sequence[Path],
    *,
    brains: Sequence[Path] = (),
    series: str | None = None,
    wanted: Wanted | None = None,
) -> list[Source]:
    """The scans that are meant, in the order given; within folders sorted by name.

    Files of a folder that are left out are told on standard error.

    Args:
        given: NIfTI files, pictures of slices, folders or archives of one DICOM study each, tables
            (.tsv, .csv) with a column ``path`` and perhaps ``brain`` and ``subject``, and folders
            of NIfTI files or pictures.
        brains: brain masks, one for each scan in order, or none.
        series: number or UID of the DICOM series in every study that has several.
        wanted: which scans of BIDS data sets; None for all.
    """
    if wanted and (wanted.participants or wanted.sessions):
        others = [path for path in given if not (path.is_dir() and is_bids(path))]
        if others:
            raise UsageError(
                f"{others[0]}: is no BIDS data set, so --participant and --session have no "
                "meaning; leave them out"
            )
    found = [source for path in given for source in _sources_of(Path(path), wanted)]
    if not found:
        raise UsageError("-i: no scan is given; name at least one")
    if brains:
        found = _with_brains(found, brains)
    if series is not None:
        found = [replace(source, series=series) for source in found]
    _check_names(found)
    return found


def _sources_of(path: Path, wanted: Wanted | None) -> list[Source]:
    if path.is_dir() and is_bids(path):
        found = find_bids(path, wanted)
        left_out = [file.relative_to(path) for file in misnamed(path)]
        _tell(path, left_out, "their names or places are not those that BIDS has for scans")
        return found
    if path.is_dir():
        return _of_folder(path)
    if path.suffix in TABLES:
        return _from_table(path)
    return [Source(path=path)]


def _of_folder(folder: Path) -> list[Source]:
    """Every NIfTI file of a folder, else every picture, else the DICOM study it is taken for.

    What of a study is not DICOM is told with the scan, by its reader.
    """
    there = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    nifti = [p for p in there if p.is_file() and _is_whole_nifti(p)]
    pictures = [p for p in there if p.is_file() and is_picture(p)]
    taken = nifti or pictures
    if not taken:
        return [Source(path=folder)]
    parts = {part for p in nifti for part in (sidecar_of(p), p.with_suffix(".img"))}
    left_out = [f"{p.name}/" if p.is_dir() else p.name for p in there if p not in {*taken, *parts}]
    kind = "NIfTI files" if nifti else "pictures"
    _tell(folder, left_out, f"of a folder with {kind} these alone are scans")
    return [Source(path=p) for p in taken]


def _is_whole_nifti(path: Path) -> bool:
    """Whether a name is that of a NIfTI file, or of the header of a pair that is complete."""
    name = path.name.lower()
    pair = path.suffix == ".hdr" and path.with_suffix(".img").is_file()
    return name.endswith((".nii", ".nii.gz")) or pair


def _tell(folder: Path, left_out: Sequence[Path | str], why: str) -> None:
    if left_out:
        what = "1 is" if len(left_out) == 1 else f"{len(left_out)} are"
        remark(f"{folder}: {what} left out ({first_names(left_out)}); {why}")


def _from_table(path: Path) -> list[Source]:
    return [
        Source(
            path=path.parent / row["path"],
            brain=path.parent / row["brain"] if row.get("brain") else None,
            subject=row.get("subject") or None,
            series=row.get("series") or None,
            modality=row.get("modality") or None,
        )
        for row in table(path, needed=("path",), known=COLUMNS)
    ]


def table(path: Path, *, needed: Sequence[str], known: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table with a header; tabs between the cells of a .tsv, commas in a .csv.

    Raises:
        MissingError: no such file.
        UsageError: another kind of file.
        DataError: no rows, a column that is missing, or rows longer than the header.
    """
    if not path.is_file():
        raise MissingError(f"{path}: no such file; check the path")
    if path.suffix not in TABLES:
        raise UsageError(f"{path}: not a table; give a .tsv or .csv file")
    text, sign = _text(path), TABLES[path.suffix]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=sign, restval="")
    have, rows = list(reader.fieldnames or ()), list(reader)
    _check_columns(path, have, needed=needed, known=known)
    if not rows:
        raise DataError(f"{path}: holds no rows under its header; list at least one")
    if any(None in row for row in rows):
        raise DataError(f"{path}: has rows with more cells than its header; mend them")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _check_columns(
    path: Path, have: Sequence[str], *, needed: Sequence[str], known: Sequence[str]
) -> None:
    """Refuse a table without a needed column, or with one that is misspelt."""
    cells = {"\t": "tabs", ",": "commas"}[TABLES[path.suffix]]
    for name in needed:
        if name not in have:
            raise DataError(
                f"{path}: no column {name!r} among {', '.join(have) or 'none'} ({cells} between "
                f"cells); known columns: {', '.join(known)}"
            )
    for name in have:
        meant = get_close_matches(name.lower(), known, n=1, cutoff=0.75)
        if name not in known and meant:
            raise DataError(f"{path}: column {name!r} is unknown; is it {meant[0]!r}?")


def _with_brains(found: list[Source], brains: Sequence[Path]) -> list[Source]:
    if len(brains) != len(found):
        raise UsageError(
            f"--brain: {len(brains)} masks for {len(found)} scans; give one for each, in order"
        )
    return [replace(source, brain=Path(brain)) for source, brain in zip(found, brains, strict=True)]


def _check_names(found: list[Source]) -> None:
    seen: dict[str, Path] = {}
    for source in found:
        stem = scan_stem(source.path)
        if stem in seen:
            raise UsageError(
                f"{source.path}: has the same name as {seen[stem]}, their outputs would overwrite "
                "each other; rename one or run them apart"
            )
        seen[stem] = source.path
