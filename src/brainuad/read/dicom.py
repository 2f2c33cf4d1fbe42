"""A scan from the slices of a DICOM series: sorted, checked for gaps, put on one grid."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from brainuad import gate
from brainuad.nifti import scan_from_voxels
from brainuad.read.dicom_file import Frame, read_pixels
from brainuad.read.dicom_series import Series, choose, find_series
from brainuad.scan import Scan
from brainuad.scan_file import first_names
from brainuad.types import Affine, DataError

UNEVEN, SIDEWAYS_MM = 0.03, 0.1
"""Largest difference of a distance between slices from the usual one, as a share; and how far a
slice may lie beside the straight line through the others."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_dicom(
    path: str | Path,
    *,
    series: str | None = None,
    modality: str | None = None,
    subject: str | None = None,
) -> Scan:
    """A scan from a folder, a zip archive or a file of DICOM, in RAS+ order and checked.

    Args:
        path: where the files are; subfolders are searched.
        series: number or UID of the series; None takes the only one that can be meant.
        modality: T1w, T1ce, T2w, FLAIR, PD or CT; None takes it from the header.
        subject: None takes the name of the folder or archive.

    Raises:
        MissingError: no DICOM image there.
        UsageError: several series could be meant, or a modality that the header contradicts.
        DataError: slices that do not make one volume.
        UnavailableError: a package is missing.
    """
    path = Path(path)
    wanted = None if modality is None else gate.known_modality(modality)
    chosen = choose(find_series(path), number=series, modality=wanted)
    who = f"{path}, series {chosen.number}"
    lost = f" (left out: {first_names(chosen.left_out)})" if chosen.left_out else ""
    if wanted not in (None, gate.UNKNOWN, chosen.modality) and chosen.modality != gate.UNKNOWN:
        raise DataError(
            f"{who}: the header says {chosen.modality}, the modality given is {wanted}; correct one"
        )
    frames = ordered(chosen, who)
    affine = affine_of(frames, who + lost)
    voxels = gate.checked_voxels(who, volume(frames))
    return scan_from_voxels(
        voxels,
        affine,
        who=who,
        modality=chosen.modality if wanted in (None, gate.UNKNOWN) else str(wanted),
        subject=subject or path.stem.replace(" ", "_") or "dicom",
        path=path,
        left_out=chosen.left_out,
    )


def ordered(series: Series, who: str) -> list[Frame]:
    """The frames of a series from its first slice to its last, all of one shape and direction."""
    frames = list(series.frames)
    lost = [f.name for f in frames if None in (f.position, f.orientation, f.spacing)]
    if lost:
        raise DataError(
            f"{who}: {first_names(lost)} {'does' if len(lost) == 1 else 'do'} not say where the "
            "slice lies; export it again, or leave the file out if it is no slice"
        )
    _check_alike(frames, who)
    if len(frames) < 2:
        raise DataError(f"{who}: has one slice; give a series of at least two")
    heights = [_height(frame) for frame in frames]
    order = np.argsort(heights, kind="stable")
    return [frames[n] for n in order]


def _check_alike(frames: list[Frame], who: str) -> None:
    shapes = [(f.columns, f.rows) for f in frames]
    turns = [tuple(np.round(f.orientation, 3)) for f in frames]  # type: ignore[arg-type]
    edges = [tuple(np.round(f.spacing, 4)) for f in frames]  # type: ignore[arg-type]
    for what, each in (("sizes", shapes), ("orientations", turns), ("pixel spacings", edges)):
        kinds = Counter(each).most_common()
        if len(kinds) > 1:
            counts = ", ".join(f"{n} of {_numbers(kind)}" for kind, n in kinds[:4])
            odd = [f.name for f, kind in zip(frames, each, strict=True) if kind != kinds[0][0]]
            raise DataError(
                f"{who}: its slices have {len(kinds)} {what} ({counts}), unlike most are "
                f"{first_names(odd)}; give a folder with the slices of one scan"
            )


def _numbers(values: Iterable[float | int]) -> str:
    return "(" + " ".join(f"{value:g}" for value in values) + ")"


def normal(frame: Frame) -> np.ndarray:
    """Unit vector across a slice."""
    row, column = np.reshape(frame.orientation, (2, 3))  # type: ignore[arg-type]
    across = np.cross(row, column)
    length = np.linalg.norm(across)
    return across / length if length > 0 else across


def _height(frame: Frame) -> float:
    return float(normal(frame) @ np.array(frame.position))


def affine_of(frames: list[Frame], who: str) -> Affine:
    """Voxel indices (column, row, slice) to RAS+ mm, from slices in order.

    Raises:
        DataError: slices that are missing, doubled or shifted against each other.
    """
    first = frames[0]
    row, column = np.reshape(first.orientation, (2, 3))  # type: ignore[arg-type]
    between_rows, between_columns = first.spacing or (0.0, 0.0)
    places = np.array([f.position for f in frames])
    _check_gaps(frames, who)
    step = (places[-1] - places[0]) / (len(frames) - 1)
    aside = np.abs(places - places[0] - np.arange(len(frames))[:, None] * step).max()
    limit = max(SIDEWAYS_MM, UNEVEN * float(np.linalg.norm(step)))
    if aside > limit:
        odd = first_names(frames[n].name for n in _beside(places, limit))
        raise DataError(
            f"{who}: a slice lies {aside:.3g} mm beside its place ({odd}); export it again"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * between_columns, column * between_rows, step])
    affine[:3, 3] = places[0]
    return gate.checked_affine(who, LPS_TO_RAS @ affine, 0, name="DICOM")


def _beside(places: np.ndarray, limit: float) -> list[int]:
    """Slices beside the line that most lie on; the farthest where none is alone to blame."""
    steps = np.median(np.diff(places, axis=0), axis=0)
    away = places - np.arange(len(places))[:, None] * steps
    away = np.abs(away - np.median(away, axis=0)).max(axis=1)
    return np.flatnonzero(away > limit).tolist() or [int(away.argmax())]


def _check_gaps(frames: list[Frame], who: str) -> None:
    gaps = np.diff([_height(frame) for frame in frames])
    usual = float(np.median(gaps))
    doubled = np.flatnonzero(gaps < 1e-3)
    if doubled.size:
        same = [frames[n].name for n in sorted({*doubled.tolist(), *(doubled + 1).tolist()})]
        raise DataError(
            f"{who}: {len(same)} slices lie where another one lies ({first_names(same)}); "
            "give one echo, time point or copy"
        )
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(UNEVEN * usual, 0.02)).tolist()
    if wrong:
        where = first_names(
            f"{gaps[n]:.4g} mm between {frames[n].name} and {frames[n + 1].name}" for n in wrong
        )
        raise DataError(
            f"{who}: slices are {usual:.4g} mm apart, but {where}; a slice is missing, copy the "
            "series again"
        )


def volume(frames: list[Frame]) -> np.ndarray:
    """Voxels (column, row, slice) of slices in order; each file is opened once."""
    files: dict[int, list[int]] = defaultdict(list)
    for n, frame in enumerate(frames):
        files[id(frame.entry)].append(n)
    first = frames[0]
    voxels = np.empty((first.columns, first.rows, len(frames)), np.float32)
    for numbers in files.values():
        wanted = [frames[n] for n in numbers]
        for n, pixels in zip(numbers, read_pixels(wanted[0].entry, wanted), strict=True):
            voxels[:, :, n] = pixels
    return voxels
