"""Templates: the MNI152 T1 (ICBM 2009a symmetric, brain only) that nilearn ships, or a file."""

from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from brainuad.manifest import sha256_file
from brainuad.nifti import read_scan
from brainuad.prepare.brain import from_background, is_stripped
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import resample
from brainuad.scan import Scan
from brainuad.types import Affine, DataError, Mask, MissingError, UnavailableError, Volume

MNI152 = "mni152"
FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def template_path() -> Path:
    """Where the template lies; nilearn is found, not imported, because importing it is slow."""
    spec = find_spec("nilearn")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    raise UnavailableError(
        "MNI152 template: not found, it comes with nilearn; install it with `pip install nilearn`"
    )


@lru_cache(maxsize=2)
def template(name: str = MNI152) -> Scan:
    """A template with its brain mask.

    Args:
        name: ``mni152`` at 1 mm (Fonov et al. 2011, NeuroImage 54, 313-327), or the path of a
            stripped NIfTI file, such as the T1 of SRI24 (Rohlfing et al. 2010, Human Brain
            Mapping 31, 798-819).

    Raises:
        UnavailableError: nilearn, which ships MNI152, is not installed.
        MissingError: there is no such file.
        DataError: the file is no stripped brain.
    """
    if name == MNI152:
        scan = read_scan(template_path(), modality="T1w", subject="MNI152")
        return replace(scan, brain=scan.voxels > 0, source=None)
    content(name)
    scan = read_scan(name, subject=f"template {name}")
    if not is_stripped(scan):
        raise DataError(f"template {name}: is no brain in empty surroundings; strip it first")
    return replace(scan, brain=from_background(scan), source=None)


def content(name: str) -> str:
    """Hash of the file of a template."""
    if not Path(name).is_file():
        raise MissingError(f"template {name}: no such file; give {MNI152} or a NIfTI file")
    return sha256_file(name)


@lru_cache(maxsize=4)
def _brain(name: str, shape: tuple[int, int, int], place: tuple[float, ...]) -> Mask:
    whole = template(name)
    affine = np.array(place).reshape(4, 4)
    return resample(known_brain(whole).astype(np.float32), whole.affine, shape, affine) > 0.5


@lru_cache(maxsize=4)
def _values(name: str, shape: tuple[int, int, int], place: tuple[float, ...]) -> Volume:
    whole = template(name)
    return resample(whole.voxels, whole.affine, shape, np.array(place).reshape(4, 4))


def template_values(shape: tuple[int, int, int], affine: Affine, *, name: str = MNI152) -> Volume:
    """A template on a grid in its own millimetres; not to be written to."""
    return _values(name, tuple(shape), tuple(affine.ravel().tolist()))


def template_brain(shape: tuple[int, int, int], affine: Affine, *, name: str = MNI152) -> Mask:
    """The brain of a template on a grid in its own millimetres; not to be written to."""
    return _brain(name, tuple(shape), tuple(affine.ravel().tolist()))
