"""A single slice from a picture file (PNG, JPEG), as slice benchmarks hold them."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from brainuad import gate
from brainuad.manifest import file_errors
from brainuad.nifti import scan_from_voxels
from brainuad.scan import Scan
from brainuad.scan_file import PICTURES, scan_stem, subject_of
from brainuad.types import DataError, MissingError

ALMOST_GREY = 8
"""Channels of a grey JPEG in colours differ by a few steps."""
_GREY = ("L", "I", "I;16", "I;16B", "F")


def is_picture(path: str | Path) -> bool:
    """Whether a name is that of a picture."""
    return Path(path).name.lower().endswith(PICTURES)


def read_picture(
    path: str | Path, *, modality: str | None = None, subject: str | None = None
) -> Scan:
    """A scan of one slice: i to the right of the picture, j to its top, voxels of 1 mm.

    Grey values stay as they are stored (0 to 255, or 16 bits).

    Args:
        path: a grey PNG or JPEG file; one in colours whose channels are equal counts as grey.
        modality: T1w, T1ce, T2w, FLAIR, PD or CT; None takes it from the name.
        subject: None takes it from the name.

    Raises:
        MissingError: no such file.
        DataError: not a picture, damaged, in colours, or of one grey throughout.
        UsageError: the name says another modality.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: no such file; check the path")
    values = _grey(path)
    words = scan_stem(path).replace(".", "_").split("_")
    return scan_from_voxels(
        np.ascontiguousarray(values[::-1].T[:, :, None]),
        np.eye(4),
        who=str(path),
        modality=gate.checked_modality(str(path), words, modality),
        subject=subject or subject_of(path),
        path=path,
    )


def _grey(path: Path) -> np.ndarray:
    """Rows and columns of grey values."""
    with file_errors(path):
        content = path.read_bytes()
    with warnings.catch_warnings():
        # Pillow only warns of pictures that unpack to far more than they seem.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(BytesIO(content)) as picture:
                return _values(picture, path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: too large for a slice ({error}); crop it") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(
                f"{path}: not a readable picture ({error}); export or copy it again"
            ) from error


def _values(picture: Image.Image, path: Path) -> np.ndarray:
    if picture.mode in _GREY:
        return gate.checked_voxels(str(path), np.asarray(picture))
    pixels = np.asarray(picture.convert("RGBA")).astype(np.float32)
    colours, opacity = pixels[..., :3], pixels[..., 3]
    if np.ptp(colours, axis=-1).max() > ALMOST_GREY:
        raise DataError(f"{path}: is in colours; give a grey picture")
    if (opacity < opacity.max()).any():
        raise DataError(f"{path}: is partly transparent; give a grey picture")
    return colours[..., 0]
