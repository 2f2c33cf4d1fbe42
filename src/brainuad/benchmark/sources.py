"""Scans that a benchmark reads: files as they are, thinned ones, slices of stacks or archives."""

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from skimage.io import imread

from brainuad.benchmark.cases import program
from brainuad.manifest import sha256_file
from brainuad.nifti import read_mask, read_scan
from brainuad.prepare import Prepared
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import resample
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, MissingError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scan to be read.

    Attributes:
        subject: who it is of.
        path: NIfTI file.
        modality: T1w, T2w or FLAIR.
        thinned_by: the benchmark's program whose ``to_2mm`` the scan goes through, or None.
        without: lesion mask whose voxels do not count as healthy, or None.
        brain: brain mask that the scan comes with, or None.
    """

    subject: str
    path: Path
    modality: str
    thinned_by: Path | None = None
    without: Path | None = None
    brain: Path | None = None

    def hash(self) -> str:
        """SHA-256 of what is read."""
        return sha256_file(self.path)

    def read(self) -> Scan:
        """The scan as the benchmark says that it is to be read."""
        scan = read_scan(self.path, modality=self.modality, subject=self.subject, brain=self.brain)
        if self.thinned_by is None:
            return scan
        voxels, affine = program(self.thinned_by).to_2mm(scan.voxels, scan.affine)
        return Scan(
            voxels=np.asarray(voxels, np.float32),
            affine=np.asarray(affine, np.float64),
            modality=scan.modality,
            subject=scan.subject,
        )

    def healthy(self, prepared: Prepared) -> Prepared:
        """The prepared scan with only that as its brain which counts as healthy."""
        if self.without is None:
            return prepared
        brain = known_brain(prepared.original)
        lesion = read_mask(self.without, like=prepared.original)
        return replace(prepared, original=replace(prepared.original, brain=brain & ~lesion))


@dataclass(frozen=True, kw_only=True)
class StackSource(Source):
    """Some axial slices of a stack that shows a whole head.

    The whole stack is read and prepared, so that its grey levels are those of a stack that is
    tested; the other slices are emptied before anyone sees them.

    Attributes:
        head_by: the benchmark's program whose ``head_region`` is taken for the brain.
        slices: numbers of the slices along the last axis of the file, from 0.
    """

    head_by: Path
    slices: tuple[int, ...]

    def read(self) -> Scan:
        """The stack, with its head as the brain."""
        scan = super().read()
        head = np.asarray(program(self.head_by).head_region(scan.voxels), bool)
        return replace(scan, brain=head)

    def healthy(self, prepared: Prepared) -> Prepared:
        """The listed slices alone, on both grids.

        Raises:
            DataError: a slice that the file does not have, or slices that are not axial.
        """
        wanted = self._wanted(prepared.original)
        scan, original = prepared.scan, prepared.original
        share = resample(wanted.astype(np.float32), prepared.placed, scan.voxels.shape, scan.affine)
        brain = known_brain(scan) & (share > 0.5)
        voxels = np.where(brain, scan.voxels, 0).astype(np.float32)
        return replace(
            prepared,
            scan=replace(scan, voxels=voxels, brain=brain),
            original=replace(original, brain=known_brain(original) & wanted),
        )

    def _wanted(self, scan: Scan) -> Mask:
        """The listed slices on the grid of the stack, whose order is RAS+, not the file's."""
        count = scan.voxels.shape[2]
        codes = "RAS" if scan.source is None else scan.source.codes
        if codes[2] not in "SI":
            raise DataError(f"{self.path}: its axes are {codes}; give a stack of axial slices")
        beyond = [k for k in self.slices if not 0 <= k < count]
        if beyond:
            raise DataError(f"{self.path}: has no slice {beyond[0]} of {count}; mend the list")
        numbers = np.array(self.slices, int)
        wanted = np.zeros(scan.voxels.shape, bool)
        wanted[:, :, numbers if codes[2] == "S" else count - 1 - numbers] = True
        return wanted


@lru_cache(maxsize=1)
def opened(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    """An archive, kept open: to read the list of its thousands of members takes longer than one.

    ``changed`` and ``process`` only keep an archive from being used after it was replaced, or in a
    process that inherited the file and its position.
    """
    return zipfile.ZipFile(path)


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
        try:
            return opened(self.path, self.path.stat().st_mtime_ns, os.getpid()).read(self.member)
        except KeyError as error:
            raise MissingError(
                f"{self.path}: holds no {self.member}; check that list and data belong together"
            ) from error
        except zipfile.BadZipFile as error:
            raise DataError(f"{self.path}: is damaged ({error}); fetch it again") from error

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
