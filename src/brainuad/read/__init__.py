"""Whatever a person has - NIfTI, DICOM, BIDS - to checked scans."""

from brainuad.read.any import read_any
from brainuad.read.dicom import read_dicom

__all__ = ["read_any", "read_dicom"]
