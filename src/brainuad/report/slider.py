"""The slices of a scan as layers that a page can leaf through and lay over each other."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from skimage.measure import find_contours

from brainuad.report import planes
from brainuad.report.figures import ANOMALY, data_uri
from brainuad.report.planes import Grey, Outline, Volumes, Window

LONGEST = 320
"""Most pixels along the longer edge of a picture; of finer scans every second one is shown."""


def layers(volumes: Volumes, *, count: int = 48) -> dict[str, Any]:
    """Pictures for the slider, from the lowest slice to the highest.

    Args:
        volumes: what to show.
        count: at most this many slices, evenly spread over the brain.

    Returns:
        ``width``, ``height`` in pixels, ``shape`` (height over width in mm), ``start``
        (the slice to open with) and ``slices``: for each a ``name``, images as data URIs
        (``scan``, ``healthy``, ``anomaly``) and outlines as SVG paths (``mask``, ``lesion``).
    """
    window = planes.window(volumes)
    numbers = planes.spread(planes.brain_slices(volumes), count)
    top = planes.chosen_slices(volumes, 1)[0]
    rows, columns = window.pixels
    return {
        "width": columns,
        "height": rows,
        "shape": window.shape,
        "start": int(np.argmin([abs(k - top) for k in numbers])),
        "slices": [_layers_of(volumes, window, k) for k in numbers],
    }


def _layers_of(volumes: Volumes, window: Window, k: int) -> dict[str, str]:
    found = {"name": f"slice {k}, z = {planes.height_mm(volumes, k):+.0f} mm"}
    grey = planes.grey_range(volumes)
    for name, limits in (
        ("scan", grey), ("healthy", grey), ("anomaly", (0.0, planes.anomaly_top(volumes)))
    ):  # fmt: skip
        volume = getattr(volumes, name)
        if volume is not None:
            image = planes.to_unit(window.cut(volume, k), *limits)
            found[name] = _image(image, coloured=name == "anomaly")
    for name in ("mask", "lesion"):
        outline = getattr(volumes, name)
        if outline is not None:
            found[name] = svg_path(window.cut(outline, k))
    return found


def _image(image: Grey, *, coloured: bool) -> str:
    step = -(-max(image.shape) // LONGEST)
    small = (image[::step, ::step] * 255).round().astype(np.uint8)
    picture = Image.fromarray(small)
    if coloured:
        picture = picture.convert("P")
        picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue())


def _palette() -> bytes:
    colours = mpl.colormaps[ANOMALY](np.linspace(0, 1, 256))[:, :3]
    return (colours * 255).round().astype(np.uint8).tobytes()


def svg_path(outline: Outline) -> str:
    """Border of a set of pixels as an SVG path, in pixels from the upper left corner."""
    lines = find_contours(np.pad(outline.astype(float), 1), 0.5)
    # One pixel of padding, and half a pixel from centres to corners.
    return "".join(_path(line - 0.5) for line in lines)


def _path(line: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line) + "Z"
