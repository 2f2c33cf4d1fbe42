"""Still pictures of scans as matplotlib figures, and figures as text that a page can hold."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image

from brainuad.report import planes
from brainuad.report.planes import Outline, Plane, Volumes, Window
from brainuad.types import Mask

BACKGROUND = "#000000"
PAPER = "#e6e9ef"
MASK = "#ff9f1c"
LESION = "#2ee6d6"
BRAIN = "#7ddc6f"
ANOMALY = "inferno"
INK: dict[Any, Any] = {"font.family": "sans-serif", "font.size": 9.0, "svg.hashsalt": "brainuad"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One kind of picture: what is under, and which outline is drawn on it."""

    title: str
    """Words beside the row or above the column."""
    layer: str = "scan"
    """Field of ``Volumes`` shown as an image."""
    outline: str = ""
    """Field of ``Volumes`` drawn as a contour; empty for none."""
    colour: str = MASK
    """Colour of the contour."""


PANELS = (
    Panel(title="scan"),
    Panel(title="healthy", layer="healthy"),
    Panel(title="anomaly map", layer="anomaly"),
    Panel(title="anomaly mask", outline="mask"),
    Panel(title="truth", outline="lesion", colour=LESION),
)


def panels_of(volumes: Volumes) -> list[Panel]:
    """The panels for which this scan has something to show."""
    return [
        p
        for p in PANELS
        if getattr(volumes, p.layer) is not None
        and (not p.outline or getattr(volumes, p.outline) is not None)
    ]


def montage(
    volumes: Volumes, *, count: int = 5, across: str = "slices", slices: Sequence[int] | None = None
) -> Figure:
    """Axial slices of a scan: itself, healthy counterpart, map, mask and truth where known.

    Args:
        volumes: what to show.
        count: number of slices, when ``slices`` is not given: the one with the largest lesion
            (or mask, or map) and others evenly spread.
        across: ``slices`` puts one slice in each column, ``panels`` one in each row.
        slices: numbers of the slices to show.

    Returns:
        A figure on a dark ground, right on the left, equal scale for all slices.
    """
    chosen = list(slices) if slices is not None else planes.chosen_slices(volumes, count)
    panels = panels_of(volumes)
    shape = (len(panels), len(chosen)) if across == "slices" else (len(chosen), len(panels))
    cells = _Cells.fitting(shape, planes.window(volumes), colourbar=volumes.anomaly is not None)
    for p, panel in enumerate(panels):
        for s, k in enumerate(chosen):
            row, column = (p, s) if across == "slices" else (s, p)
            axes = cells.add(row, column)
            _draw(axes, volumes, panel, cells.window, k)
            beside, above = panel.title, _slice_name(volumes, k)
            if across == "panels":
                beside, above = above, beside
            _name_cell(axes, (row, column), beside=beside, above=above)
    if volumes.anomaly is not None:
        _colourbar(cells, volumes)
    return cells.figure


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """A grid of equal pictures on one figure; lengths in inches."""

    figure: Figure
    window: Window
    size: tuple[float, float]
    margins: tuple[float, float, float, float]
    gap: float = 0.05

    @classmethod
    def fitting(
        cls, shape: tuple[int, int], window: Window, *, colourbar: bool, width: float = 1.55
    ) -> "_Cells":
        rows, columns = shape
        size = (width, width * window.shape)
        margins = (0.34, 0.9 if colourbar else 0.12, 0.3, 0.1)
        full = (
            margins[0] + margins[1] + columns * (size[0] + cls.gap),
            margins[2] + margins[3] + rows * (size[1] + cls.gap),
        )
        figure = Figure(figsize=full, facecolor=BACKGROUND)
        return cls(figure=figure, window=window, size=size, margins=margins)

    def add(self, row: int, column: int) -> Axes:
        width, height = self.figure.get_size_inches()
        left = self.margins[0] + column * (self.size[0] + self.gap)
        top = self.margins[2] + row * (self.size[1] + self.gap)
        bottom = height - top - self.size[1]
        return self.figure.add_axes(
            (left / width, bottom / height, self.size[0] / width, self.size[1] / height)
        )


def _draw(axes: Axes, volumes: Volumes, panel: Panel, window: Window, k: int) -> None:
    top = planes.anomaly_top(volumes)
    low, high = (0.0, top) if panel.layer == "anomaly" else planes.grey_range(volumes)
    image = window.cut(getattr(volumes, panel.layer), k)
    cmap = ANOMALY if panel.layer == "anomaly" else "gray"
    show(axes, planes.to_unit(image, low, high), aspect=window.aspect, cmap=cmap)
    if panel.outline:
        contour(axes, window.cut(getattr(volumes, panel.outline), k), colour=panel.colour)
    _sides(axes)


def show(axes: Axes, image: Plane, *, aspect: float, cmap: str | Colormap = "gray") -> None:
    """Draw an image with values in [0, 1], without ticks or frame."""
    axes.imshow(image, cmap=cmap, vmin=0, vmax=1, aspect=aspect, interpolation="bicubic")
    axes.set_axis_off()


def contour(axes: Axes, outline: Outline, *, colour: str, width: float = 1.1) -> None:
    """Draw the border of a set of pixels, if there are any."""
    padded = np.pad(outline.astype(float), 1)
    if padded.any():
        at = [np.arange(-1, n + 1) for n in outline.shape[::-1]]
        axes.contour(*at, padded, levels=[0.5], colors=[colour], linewidths=width)
        axes.set_xlim(-0.5, outline.shape[1] - 0.5)
        axes.set_ylim(outline.shape[0] - 0.5, -0.5)


def _sides(axes: Axes) -> None:
    for x, side, name in ((0.03, "left", "R"), (0.97, "right", "L")):
        axes.text(
            x, 0.5, name, transform=axes.transAxes, color=PAPER, alpha=0.75, fontsize=6.5,
            ha=side, va="center",
        )  # fmt: skip


def _slice_name(volumes: Volumes, k: int) -> str:
    return f"z = {planes.height_mm(volumes, k):+.0f} mm"


def _name_cell(axes: Axes, cell: tuple[int, int], *, beside: str, above: str) -> None:
    row, column = cell
    style = {"transform": axes.transAxes, "color": PAPER, "fontsize": 9.0}
    if column == 0:
        axes.text(-0.05, 0.5, beside, ha="right", va="center", rotation=90, **style)
    if row == 0:
        axes.text(0.5, 1.03, above, ha="center", va="bottom", **style)


def _colourbar(cells: _Cells, volumes: Volumes) -> None:
    width, height = cells.figure.get_size_inches()
    long = min(1.6, height - cells.margins[2] - cells.margins[3])
    centre = (height - cells.margins[2] + cells.margins[3]) / 2
    left = (width - cells.margins[1] + 0.1) / width
    box = (left, (centre - long / 2) / height, 0.09 / width, long / height)
    axes = cells.figure.add_axes(box)
    ramp = np.linspace(0, 1, 256)[:, None]
    axes.imshow(ramp, cmap=ANOMALY, aspect="auto", origin="lower", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(*colour_ticks(volumes))
    axes.tick_params(colors=PAPER, labelsize=7, length=2, color=PAPER)
    axes.spines[:].set_visible(False)


def colour_ticks(volumes: Volumes) -> tuple[list[float], list[str]]:
    """Places in [0, 1] on the colour scale of the map, and what stands there."""
    top, threshold = planes.anomaly_top(volumes), volumes.threshold
    if not threshold:
        return [0.0, 1.0], ["0", f"{top:.2g}"]
    at = threshold / top
    zero = ([0.0], ["0"]) if at > 0.08 else ([], [])
    return [*zero[0], at, 1.0], [*zero[1], "threshold", f"{1 / at:.3g} x"]


def brain_outline(volumes: Volumes) -> Figure:
    """The brain mask as a contour on the three middle planes: sagittal, coronal, axial."""
    inside = volumes.inside
    sizes = [_size_mm(volumes, axis) for axis in range(3)]
    scale = 7.2 / sum(width for width, _ in sizes)
    height = scale * max(height for _, height in sizes) + 0.28
    figure = Figure(figsize=(7.2, height), facecolor=BACKGROUND)
    left = 0.0
    for axis, (wide, high) in enumerate(sizes):
        shape = (scale * wide / 7.2, scale * high / height)
        axes = figure.add_axes((left, 1 - 0.24 / height - shape[1], *shape))
        _draw_outline(axes, volumes, inside, axis)
        left += shape[0]
    return figure


def stacked(rows: Sequence[Volumes]) -> bytes:
    """PNG of the three middle planes with the brain's outline, one row for each scan."""
    images = [np.asarray(Image.open(io.BytesIO(png(brain_outline(v), dpi=70)))) for v in rows]
    width = max(image.shape[1] for image in images)
    wide = [np.pad(i, ((0, 0), (0, width - i.shape[1]), (0, 0)), mode="edge") for i in images]
    whole = Image.fromarray(np.concatenate(wide)).convert("RGB").quantize(128)
    found = io.BytesIO()
    whole.save(found, format="PNG", optimize=True)
    return found.getvalue()


def _size_mm(volumes: Volumes, axis: int) -> tuple[float, float]:
    width, height = (
        n * s
        for a, (n, s) in enumerate(zip(volumes.scan.shape, volumes.spacing, strict=True))
        if a != axis
    )
    return width, height


def _draw_outline(axes: Axes, volumes: Volumes, inside: Mask, axis: int) -> None:
    middle = int(np.flatnonzero(inside.any(tuple(a for a in range(3) if a != axis))).mean())
    spacing = [s for a, s in enumerate(volumes.spacing) if a != axis]
    plane = planes.upright(volumes.scan.take(middle, axis))
    grey = planes.to_unit(plane, *planes.grey_range(volumes))
    show(axes, grey, aspect=spacing[1] / spacing[0])
    contour(axes, _plane(inside, middle, axis), colour=BRAIN, width=0.9)
    axes.set_title(("sagittal", "coronal", "axial")[axis], color=PAPER, fontsize=8, pad=3)
    if axis:
        _sides(axes)


def _plane(mask: Mask, index: int, axis: int) -> Outline:
    return planes.upright(mask.take(index, axis))


def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """The figure as a PNG file without anything that differs from run to run."""
    buffer = io.BytesIO()
    with mpl.rc_context(INK):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file without anything that differs from run to run."""
    buffer = io.BytesIO()
    with mpl.rc_context(INK):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address that a page can hold inside itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
