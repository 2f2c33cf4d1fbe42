"""Scans that a benchmark reads: files as they are, thinned ones, slices out of an archive."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.io import imread

from brainuad.benchmark.cases import program
from brainuad.manifest import sha256_file
from brainuad.nifti import read_scan
from brainuad.scan import Scan
from brainuad.types import DataError, MissingError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scan to be read.

    Attributes:
        subject: who it is of.
        path: NIfTI file.
        modality: T1w, T2w or FLAIR.
        thinned_by: the benchmark's program whose ``to_2mm`` the scan goes through, or None.
        without: lesion mask whose voxels do not count as healthy, or None.
    """

    subject: str
    path: Path
    modality: str
    thinned_by: Path | None = None
    without: Path | None = None

    def hash(self) -> str:
        """SHA-256 of what is read."""
        return sha256_file(self.path)

    def read(self) -> Scan:
        """The scan as the benchmark says that it is to be read."""
        scan = read_scan(self.path, modality=self.modality, subject=self.subject)
        if self.thinned_by is None:
            return scan
        voxels, affine = program(self.thinned_by).to_2mm(scan.voxels, scan.affine)
        return Scan(
            voxels=np.asarray(voxels, np.float32),
            affine=np.asarray(affine, np.float64),
            modality=scan.modality,
            subject=scan.subject,
        )


@dataclass(frozen=True, kw_only=True)
class SliceSource(Source):
    """A grey image inside a zip archive (``path``), as a scan of one slice with 1 mm pixels.

    Attributes:
        member: its name in the archive.
    """

    member: str

    def _bytes(self) -> bytes:
        if not self.path.is_file():
            raise MissingError(f"{self.path}: no such archive; give the folder that holds data")
        with zipfile.ZipFile(self.path) as archive:
            try:
                return archive.read(self.member)
            except KeyError as error:
                raise MissingError(
                    f"{self.path}: holds no {self.member}; check that list and data belong together"
                ) from error

    def hash(self) -> str:
        """SHA-256 of the image's file."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def read(self) -> Scan:
        """The image: rows along the first axis, columns along the second."""
        image = np.asarray(imread(io.BytesIO(self._bytes())))
        if image.ndim != 2:
            raise DataError(f"{self.member}: has shape {image.shape}; give a grey image")
        return Scan(
            voxels=image[..., None].astype(np.float32),
            affine=np.eye(4),
            modality=self.modality,
            subject=self.subject,
        )
