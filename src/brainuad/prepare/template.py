"""The MNI152 T1 template (ICBM 2009a symmetric, brain only) that nilearn ships."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from brainuad.nifti import read_scan
from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import resample
from brainuad.scan import Scan
from brainuad.types import Affine, Mask, UnavailableError, Volume

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


@lru_cache(maxsize=1)
def template() -> Scan:
    """The template at 1 mm with its brain mask; Fonov et al. 2011, NeuroImage 54, 313-327."""
    scan = read_scan(template_path(), modality="T1w", subject="MNI152")
    return Scan(**{**vars(scan), "brain": scan.voxels > 0, "source": None})


@lru_cache(maxsize=4)
def _brain(shape: tuple[int, int, int], place: tuple[float, ...]) -> Mask:
    whole = template()
    affine = np.array(place).reshape(4, 4)
    return resample(known_brain(whole).astype(np.float32), whole.affine, shape, affine) > 0.5


@lru_cache(maxsize=4)
def _values(shape: tuple[int, int, int], place: tuple[float, ...]) -> Volume:
    whole = template()
    return resample(whole.voxels, whole.affine, shape, np.array(place).reshape(4, 4))


def template_values(shape: tuple[int, int, int], affine: Affine) -> Volume:
    """The template on a grid in MNI152 millimetres; not to be written to."""
    return _values(tuple(shape), tuple(affine.ravel().tolist()))


def template_brain(shape: tuple[int, int, int], affine: Affine) -> Mask:
    """The brain of the template on a grid in MNI152 millimetres; not to be written to."""
    return _brain(tuple(shape), tuple(affine.ravel().tolist()))
