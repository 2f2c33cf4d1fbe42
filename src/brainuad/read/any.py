"""One scan from a file or folder of any kind that is read."""

from dataclasses import replace
from pathlib import Path

from brainuad.nifti import read_mask, read_scan
from brainuad.read import sidecar
from brainuad.read.dicom import read_dicom
from brainuad.read.picture import is_picture, read_picture
from brainuad.scan import Scan
from brainuad.scan_file import SUFFIXES


def is_nifti(path: str | Path) -> bool:
    """Whether a name is that of a NIfTI file."""
    return Path(path).name.lower().endswith(SUFFIXES)


def read_any(
    path: str | Path,
    *,
    modality: str | None = None,
    subject: str | None = None,
    brain: str | Path | None = None,
    series: str | None = None,
) -> Scan:
    """A scan from a NIfTI file, a picture, or a folder, an archive or a file of DICOM.

    Args:
        path: what is there.
        modality: T1w, T1ce, T2w, FLAIR, PD or CT; None takes it from name or header.
        subject: None takes it from the name.
        brain: file with the brain mask on the grid of the scan.
        series: number or UID of the DICOM series, where there are several.

    Raises:
        MissingError: there is nothing.
        DataError: what is there is no scan.
        UsageError: several scans could be meant, or the modality is contradicted.
    """
    if is_nifti(path):
        scan = read_scan(path, modality=modality, subject=subject, brain=brain)
        return replace(scan, modality=sidecar.checked_modality(Path(path), scan.modality))
    if is_picture(path):
        scan = read_picture(path, modality=modality, subject=subject)
    else:
        scan = read_dicom(path, series=series, modality=modality, subject=subject)
    return scan if brain is None else replace(scan, brain=read_mask(brain, like=scan))
