"""One DICOM file: its header as plain facts, its pixels as numbers. The only user of pydicom."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brainuad.read.bundle import Entry, stream
from brainuad.types import DataError, UnavailableError

PREAMBLE = 132


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One slice as its header describes it; lengths in mm, places in DICOM's LPS+ axes."""

    entry: Entry
    """The file that it is in."""
    number: int | None
    """Which frame of the file; None where the file holds one."""
    uid: str
    """Name of the instance; two files with one name are copies."""
    rows: int
    columns: int
    position: tuple[float, ...] | None
    """Centre of the first voxel, or None where the header does not say."""
    orientation: tuple[float, ...] | None
    """Directions along a row and along a column, six numbers."""
    spacing: tuple[float, float] | None
    """Distances between rows and between columns."""
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """Its file, and which frame of it where it holds several."""
        return self.entry.short + ("" if self.number is None else f" (frame {self.number + 1})")


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """What one file says of itself and of its series."""

    series: str
    """SeriesInstanceUID."""
    facts: dict[str, Any] = field(repr=False)
    """SeriesNumber, SeriesDescription and others as plain values."""
    frames: tuple[Frame, ...]
    """Empty for files without an image."""


FACTS = (
    "Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "ImageType", "EchoTime",
    "RepetitionTime", "InversionTime", "ContrastBolusAgent", "SequenceName", "ScanningSequence",
    "Manufacturer",
)  # fmt: skip


def read_header(entry: Entry) -> Header | None:
    """What a file says, or None when it is not DICOM.

    Raises:
        DataError: DICOM, but damaged.
    """
    start = entry.read(PREAMBLE)
    marked = start[128:132] == b"DICM"
    if not marked and not _looks_bare(start):
        return None
    with _parsing(entry.name):
        dataset = _pydicom().dcmread(stream(entry), stop_before_pixels=True, force=not marked)
        if "SOPClassUID" not in dataset and "Modality" not in dataset:
            return None
        return Header(
            series=str(dataset.get("SeriesInstanceUID", "")),
            facts={name: _plain(dataset.get(name)) for name in FACTS},
            frames=tuple(_frames(dataset, entry)),
        )


def _looks_bare(start: bytes) -> bool:
    """Whether a file begins with a DICOM element at once, as some old archives write them."""
    group = int.from_bytes(start[:2], "little")
    return len(start) >= 16 and group in (0x0002, 0x0008)


def _frames(dataset: Any, entry: Entry) -> Iterator[Frame]:
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns:
        return
    count = int(dataset.get("NumberOfFrames") or 1)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    for n in range(count):
        own = per_frame[n] if per_frame is not None and n < len(per_frame) else None
        look = _Lookup(dataset, shared, own)
        yield Frame(
            entry=entry,
            number=n if count > 1 else None,
            uid=f"{dataset.get('SOPInstanceUID', entry.name)}/{n}",
            rows=int(rows),
            columns=int(columns),
            position=_floats(look("PlanePositionSequence", "ImagePositionPatient"), 3),
            orientation=_floats(look("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
            spacing=_pair(look("PixelMeasuresSequence", "PixelSpacing")),
            slope=_float(look("PixelValueTransformationSequence", "RescaleSlope"), 1.0),
            intercept=_float(look("PixelValueTransformationSequence", "RescaleIntercept"), 0.0),
        )


@dataclass(frozen=True)
class _Lookup:
    """An element of a frame: from its own group, the shared one, or the file as a whole."""

    dataset: Any
    shared: Any
    own: Any

    def __call__(self, group: str, name: str) -> Any:
        for source in (self.own, self.shared):
            items = None if source is None else source.get(group)
            if items and name in items[0]:
                return items[0].get(name)
        return self.dataset.get(name)


def read_pixels(entry: Entry, wanted: list[Frame]) -> list[np.ndarray]:
    """The frames of a file as float32 in the unit of the scanner, (columns, rows) each.

    Raises:
        DataError: no pixels, fewer than promised, or in colour.
        UnavailableError: compressed in a way that needs a package that is not installed.
    """
    with _parsing(entry.name):
        dataset = _pydicom().dcmread(stream(entry), force=True)
        if "PixelData" not in dataset:
            raise DataError(f"{entry.name}: holds no image (no PixelData); remove it, or export it")
        pixels = _decoded(dataset, entry.name)
        if dataset.get("SamplesPerPixel", 1) != 1 or pixels.ndim > 3:
            raise DataError(f"{entry.name}: is a colour picture, not a scan; leave it out")
        stack = pixels if pixels.ndim == 3 else pixels[None]
        return [_scaled(stack[f.number or 0], f) for f in wanted]


def _decoded(dataset: Any, name: str) -> np.ndarray:
    if str(dataset.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
        raise DataError(f"{name}: bright means low (MONOCHROME1); export it as MONOCHROME2")
    try:
        return np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError) as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed:
            raise UnavailableError(
                f"{name}: {syntax.name} cannot be decoded here; "
                "install it with `pip install 'brainuad[dicom]'`, or export it uncompressed"
            ) from error
        raise


def _scaled(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    if pixels.shape != (frame.rows, frame.columns):
        raise DataError(
            f"{frame.entry.name}: {pixels.shape} pixels, the header says "
            f"{frame.rows} x {frame.columns}; export it again"
        )
    values = pixels.astype(np.float64) * frame.slope + frame.intercept
    return values.T.astype(np.float32)


def _pydicom() -> Any:
    import pydicom  # takes a while, and most scans are NIfTI

    return pydicom


@contextmanager
def _parsing(name: str) -> Iterator[None]:
    """Errors of the parser become one of ours that names the file; its warnings are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (DataError, UnavailableError):
            raise
        # On bytes that only look like DICOM a parser may raise anything.
        except Exception as error:
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise DataError(
                f"{name}: damaged DICOM file ({what[:150]}); export it again"
            ) from error


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return [str(v) for v in value] if hasattr(value, "__iter__") else str(value)


def _float(value: Any, default: float) -> float:
    found = default if value in (None, "") else float(value)
    return found if np.isfinite(found) else default


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or len(value) != count:
        return None
    found = tuple(float(v) for v in value)
    return found if np.isfinite(found).all() else None


def _pair(value: Any) -> tuple[float, float] | None:
    found = _floats(value, 2)
    return None if found is None or min(found) <= 0 else (found[0], found[1])
