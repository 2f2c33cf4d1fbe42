"""NIfTI files: the only module that knows how they are read and written.

Readers of NIfTI accept a good deal of nonsense in silence: wrong checksums, spacings of zero,
singular matrices, voxels that are not numbers. Here each of these is an error with a remedy.
"""

import re
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.spatialimages import HeaderDataError

from brainuad import gate
from brainuad.manifest import atomic_path, file_errors
from brainuad.scan import FileGrid, Scan
from brainuad.scan_file import header_block, parts, raw_values, scan_stem, subject_of, with_stream
from brainuad.types import Affine, DataError, Mask, UsageError, Volume

_DTYPES = {"map": np.float32, "image": np.float32, "mask": np.uint8, "labels": np.uint16}
_HEADERS: dict[int, type[nib.Nifti1Header]] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_MAGIC = (b"n+1", b"ni1", b"n+2", b"ni2")

Kind = Literal["map", "image", "mask", "labels"]


def read_scan(
    path: str | Path,
    *,
    modality: str | None = None,
    subject: str | None = None,
    brain: str | Path | None = None,
    constant: bool = False,
) -> Scan:
    """A scan from a NIfTI file (.nii, .nii.gz, .hdr/.img), in RAS+ order and checked.

    Args:
        path: the file.
        modality: T1w, T2w, FLAIR, PD or CT; None takes it from the name, or says ``unknown``.
        subject: None takes it from the name: ``sub-XX``, else the whole stem.
        brain: file with the brain mask (0 and 1) on the grid of the scan.
        constant: whether all voxels may be the same, as in a map that finds nothing.

    Raises:
        MissingError: no such file.
        AccessError: the file may not be read.
        DataError: not a readable 3-D NIfTI file, or voxels or geometry that make no sense.
        UsageError: the modality is unknown, or the name of the file says another one.
    """
    path = Path(path)
    words = re.split(r"[_.\s]+", scan_stem(path))
    modality = gate.checked_modality(str(path), words, modality)
    voxels, affine, source = _read(path)
    if not constant and voxels.min() == voxels.max():
        raise DataError(f"{path}: every voxel is {voxels.flat[0]:g}; give a scan with an image")
    scan = Scan(
        voxels=voxels,
        affine=affine,
        modality=modality,
        subject=subject or subject_of(path),
        source=source,
    )
    if brain is None:
        return scan
    return Scan(**{**vars(scan), "brain": read_mask(brain, like=scan)})


def read_mask(path: str | Path, *, like: Scan, empty: bool = False) -> Mask:
    """A mask (brain, lesion) from a file with the values 0 and 1 on the grid of a scan.

    Args:
        path: NIfTI file; its axes may be stored in another order than those of the scan's file.
        like: the scan that the mask belongs to.
        empty: whether a mask without any voxel is allowed.

    Raises:
        DataError: another shape or place than the scan, other values than 0 and 1, or empty.
    """
    values, affine, _ = _read(Path(path))
    gate.check_same_grid(str(path), (values.shape, affine), (like.voxels.shape, like.affine))
    gate.check_mask(str(path), values, empty=empty)
    return values > 0


def write_volume(
    path: str | Path, volume: np.ndarray, *, like: Scan, kind: Kind = "map", code: int = 2
) -> None:
    """Write one value per voxel of a scan, on exactly the grid of the file that it came from.

    Shape, affine, sform, qform and their codes are those of the file; the write is atomic and two
    writes of the same values give the same bytes.

    Args:
        path: ends with .nii or .nii.gz.
        volume: (i, j, k) in RAS+ order.
        like: the scan.
        kind: ``map`` and ``image`` are stored as float32, ``mask`` as uint8, ``labels`` as uint16.
        code: NIfTI code of the space for a scan without a file (1 scanner, 2 aligned, 4 MNI152).
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path}: unknown kind of file; end the name with .nii.gz or .nii")
    if volume.shape != like.voxels.shape:
        raise DataError(
            f"{path}: the volume has shape {volume.shape}, the scan {like.subject} "
            f"{like.voxels.shape}; bring it onto the grid of the scan first"
        )
    if not np.isfinite(volume).all():
        raise DataError(f"{path}: the volume has voxels that are not finite; they cannot be stored")
    image = _image(np.asarray(volume, dtype=_DTYPES[kind]), like, code)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _read(path: Path) -> tuple[Volume, Affine, FileGrid]:
    """Voxels and affine in RAS+ order, and how they lie in the file."""
    with file_errors(path):
        header_path, data_path = parts(path)
        header = with_stream(header_path, lambda stream: _read_header(stream, path))
        shape = gate.checked_shape(str(path), header["dim"])
        affine = _affine(header, str(path), shape)
        values = with_stream(data_path, lambda stream: _read_values(stream, path, header))
    grid = _grid(path, affine, header)
    return *_upright(values.reshape(shape, order="F"), grid), grid


def _grid(
    path: Path, affine: Affine, header: nib.Nifti1Header, left_out: tuple[str, ...] = ()
) -> FileGrid:
    return FileGrid(
        path=str(path),
        shape=tuple(int(n) for n in header.get_data_shape()),
        affine=affine,
        orientation=orientations.io_orientation(affine),
        header=header.binaryblock,
        left_out=left_out,
    )


def _upright(values: np.ndarray, grid: FileGrid) -> tuple[Volume, Affine]:
    """Voxels and affine in RAS+ order."""
    voxels = orientations.apply_orientation(values, grid.orientation)
    to_file = orientations.inv_ornt_aff(grid.orientation, values.shape)
    return np.ascontiguousarray(voxels), grid.affine @ to_file


def scan_from_voxels(
    values: np.ndarray,
    affine: Affine,
    *,
    who: str,
    modality: str,
    subject: str,
    path: Path,
    left_out: tuple[str, ...] = (),
) -> Scan:
    """A scan from voxels that no NIfTI file holds; outputs lie on exactly this grid.

    Args:
        values: finite float32 voxels, (i, j, k).
        affine: their indices to RAS+ mm.
        who: what they are, for errors.
        modality: of the scan.
        subject: of the scan.
        path: where they come from; names the outputs.
        left_out: files there that are no part of it.

    Raises:
        DataError: every voxel is the same, or an affine that makes no sense.
    """
    if values.min() == values.max():
        raise DataError(f"{who}: every voxel is {values.flat[0]:g}; give a scan with an image")
    header = nib.Nifti1Image(values, gate.checked_affine(who, affine, 0, name=who)).header
    header.set_sform(affine, 1)
    header.set_qform(affine, 1, strip_shears=True)
    header.set_xyzt_units("mm")
    grid = _grid(path, affine, header, left_out)
    voxels, upright = _upright(values, grid)
    return Scan(voxels=voxels, affine=upright, modality=modality, subject=subject, source=grid)


def _read_header(stream: BufferedIOBase, path: Path) -> nib.Nifti1Header:
    """The header as it stands in the file, not silently repaired."""
    block = header_block(stream, path, _HEADERS)
    header = _HEADERS[len(block)](block, check=False)
    magic = bytes(header["magic"])[:3]
    if magic not in _MAGIC:
        raise DataError(
            f"{path}: the magic bytes are {magic!r}, a NIfTI file has one of "
            f"{', '.join(m.decode() for m in _MAGIC)}; convert the scan to NIfTI"
        )
    return header


def _affine(header: nib.Nifti1Header, who: str, shape: tuple[int, int, int]) -> Affine:
    """Voxel indices to RAS+ mm: the sform where it has a code, else the qform."""
    unit = int(header["xyzt_units"]) % 8
    gate.checked_spacing(who, np.asarray(header["pixdim"][1:4], dtype=float), unit)
    found = {}
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code > 0:
        sform = np.asarray(header.get_sform(), dtype=float)
        found["sform"] = gate.checked_affine(who, sform, unit, name="sform"), sform_code
    if qform_code > 0:
        found["qform"] = _qform(header, who, unit), qform_code
    if not found:
        raise DataError(
            f"{who}: sform and qform have the code 0, so left and right are not known; "
            "set the affine and its code, or convert the scan again"
        )
    if len(found) == 2:
        gate.check_agreement(who, shape, found["sform"], found["qform"])
    return next(iter(found.values()))[0]


def _qform(header: nib.Nifti1Header, who: str, unit: int) -> Affine:
    header = header.copy()
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # the NIfTI standard: a sign of 0 means 1
    try:
        affine = np.asarray(header.get_qform(), dtype=float)
    except (HeaderDataError, ValueError) as error:
        raise DataError(
            f"{who}: the qform is not a rotation ({error}); correct the header"
        ) from error
    return gate.checked_affine(who, affine, unit, name="qform")


def _read_values(stream: BufferedIOBase, path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """Scaled values in the order of the file."""
    raw = raw_values(
        stream,
        path,
        dtype=_data_type(header, path),
        offset=float(header["vox_offset"]),
        count=int(np.prod(header.get_data_shape())),
    )
    return gate.checked_voxels(str(path), _scaled(raw, header, path))


def _data_type(header: nib.Nifti1Header, path: Path) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise DataError(
            f"{path}: unknown data type (code {error}); store the scan as integers or floats"
        ) from error
    if dtype.kind not in "iuf":
        raise DataError(f"{path}: voxels of type {dtype}; give a scan with one number per voxel")
    return dtype


def _scaled(raw: np.ndarray, header: nib.Nifti1Header, path: Path) -> np.ndarray:
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"{path}: scl_slope and scl_inter make no sense; {error}") from error
    if slope is None or inter is None or (slope == 1 and inter == 0):
        return raw
    return raw * slope + inter


def _image(values: np.ndarray, like: Scan, code: int) -> nib.Nifti1Image | nib.Nifti2Image:
    if like.source is None:
        image = nib.Nifti1Image(values, like.affine)
        image.set_sform(like.affine, code)
        image.set_qform(like.affine, code)
        image.header.set_xyzt_units("mm")
        return image
    grid: FileGrid = like.source
    ras = orientations.axcodes2ornt("RAS")
    to_file = orientations.ornt_transform(ras, grid.orientation)
    stored = orientations.apply_orientation(values, to_file).reshape(grid.shape)
    return _with_header(stored, grid.header)


def _with_header(values: np.ndarray, block: bytes) -> nib.Nifti1Image | nib.Nifti2Image:
    """An image whose geometry fields are those of a header, bit for bit."""
    image_class = nib.Nifti1Image if len(block) == 348 else nib.Nifti2Image
    header = _HEADERS[len(block)](block, check=False).as_byteswapped("<")
    header["magic"] = b"n+1" if len(block) == 348 else header["magic"]
    header["vox_offset"] = 0
    header["cal_min"] = header["cal_max"] = 0
    header["intent_code"] = 0
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    return image_class(values, None, header)
