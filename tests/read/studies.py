"""DICOM series with known voxels and geometry, written by pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def voxels(shape: tuple[int, int, int] = (12, 10, 14), seed: int = 0) -> np.ndarray:
    """Whole numbers that are different everywhere."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.prod(shape)).reshape(shape).astype(np.int16)


def geometry(affine: np.ndarray, k: int) -> dict[str, Any]:
    """Position, orientation and spacing of slice k of a volume with this RAS+ affine."""
    lps = LPS @ affine
    edges = np.linalg.norm(lps[:3, :2], axis=0)
    place = lps[:3, 3] + k * lps[:3, 2]
    return {
        "ImagePositionPatient": [f"{v:.10g}" for v in place],
        "ImageOrientationPatient": [
            f"{v:.10g}" for v in (*(lps[:3, 0] / edges[0]), *(lps[:3, 1] / edges[1]))
        ],
        "PixelSpacing": [f"{edges[1]:.10g}", f"{edges[0]:.10g}"],
    }


def dataset(pixels: np.ndarray, series: str, **elements: Any) -> Dataset:
    """One instance; ``pixels`` (column, row) or (column, row, frame)."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = MR
    made.SOPInstanceUID = generate_uid()
    made.SeriesInstanceUID = series
    made.Modality, made.SeriesNumber, made.SeriesDescription = "MR", 3, "t1_mprage_sag"
    made.Columns, made.Rows = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.PixelData = np.ascontiguousarray(pixels.T).astype("<i2").tobytes()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def slices(volume: np.ndarray, affine: np.ndarray, **elements: Any) -> list[Dataset]:
    """A series of single-frame instances, slice k of ``volume`` in each."""
    series = elements.pop("series", None) or generate_uid()
    return [
        dataset(volume[:, :, k], series, **{**geometry(affine, k), "InstanceNumber": k, **elements})
        for k in range(volume.shape[2])
    ]


def multiframe(volume: np.ndarray, affine: np.ndarray) -> Dataset:
    """An enhanced instance with all slices as frames."""
    made = dataset(volume, generate_uid(), SOPClassUID=ENHANCED_MR)
    made.NumberOfFrames = volume.shape[2]
    shared, frames = Dataset(), []
    for k in range(volume.shape[2]):
        where = geometry(affine, k)
        frame, plane, turn, edges = Dataset(), Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = where["ImagePositionPatient"]
        turn.ImageOrientationPatient = where["ImageOrientationPatient"]
        edges.PixelSpacing = where["PixelSpacing"]
        frame.PlanePositionSequence = Sequence([plane])
        frames.append(frame)
        shared.PlaneOrientationSequence = Sequence([turn])
        shared.PixelMeasuresSequence = Sequence([edges])
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    return made


def write(datasets: list[Dataset], folder: Path, *, start: str = "im") -> Path:
    """The instances as files, in an order that is not that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, each in enumerate(datasets):
        name = f"{start}{(7 * n + 3) % 101:03d}.dcm"
        each.save_as(folder / name, enforce_file_format=True)
    return folder
