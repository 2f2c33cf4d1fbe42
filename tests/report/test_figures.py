"""Figures hold the pictures that the data allow, in the same bytes each time."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from tests.report.made import SHAPE, ball, full, made

from brainuad.report import figures, planes


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def images_of(figure: figures.Figure) -> int:
    """Pictures of a montage, without the colour bar (whose aspect is free)."""
    return sum(1 for axes in figure.axes if axes.images and axes.get_aspect() != "auto")


@pytest.mark.parametrize(
    ("absent", "titles"),
    [
        ((), ["scan", "healthy", "anomaly map", "anomaly mask", "truth"]),
        (("lesion",), ["scan", "healthy", "anomaly map", "anomaly mask"]),
        (("healthy", "lesion", "mask"), ["scan", "anomaly map"]),
        (("healthy", "anomaly", "lesion", "mask"), ["scan"]),
    ],
)
def test_only_what_is_known_is_shown(absent: tuple[str, ...], titles: list[str]):
    volumes = full(**dict.fromkeys(absent))
    assert [p.title for p in figures.panels_of(volumes)] == titles
    assert images_of(figures.montage(volumes, count=3)) == 3 * len(titles)


@pytest.mark.parametrize("across", ["slices", "panels"])
def test_both_layouts_name_slices_and_panels(across: str):
    figure = figures.montage(full(), count=2, across=across)
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"scan", "healthy", "anomaly map", "anomaly mask", "truth", "R", "L"} <= words
    assert sum(word.startswith("z = ") for word in words) == 2


def test_panels_across_is_wider_than_slices_across():
    tall = figures.montage(full(), count=1).get_size_inches()
    wide = figures.montage(full(), count=1, across="panels").get_size_inches()
    assert wide[0] / wide[1] > tall[0] / tall[1]


def test_chosen_slices_may_be_given():
    figure = figures.montage(full(), slices=[4, 9])
    heights = {t.get_text() for axes in figure.axes for t in axes.texts if "mm" in t.get_text()}
    assert heights == {"z = +8 mm", "z = +18 mm"}


def test_the_truth_is_drawn_on_the_person_s_right_side_of_the_picture():
    """A lesion at large i (the person's right) lights up the left half of the picture."""
    volumes = made(lesion=ball((14, 11, 9), 2.0))
    figure = figures.montage(volumes, slices=[9])
    picture = pixels(figures.png(figure))
    cyan = (picture[..., 1] - picture[..., 0] > 80) & (picture[..., 2] - picture[..., 0] > 60)
    columns = np.flatnonzero(cyan.any(0))
    left, right = 0.34 * 130, picture.shape[1] - 0.12 * 130
    assert columns.size > 0
    assert columns.max() < (left + right) / 2


def test_a_mask_without_voxels_draws_no_contour():
    volumes = full(mask=np.zeros(SHAPE, dtype=bool), lesion=None)
    figure = figures.montage(volumes, count=2)
    assert not any(axes.collections for axes in figure.axes)


def test_contours_lie_on_the_border_between_pixels():
    axes = figures.Figure().add_subplot()
    outline = np.zeros((6, 7), dtype=bool)
    outline[2:4, 3:5] = True
    figures.contour(axes, outline, colour="red")
    path = np.concatenate([p.vertices for c in axes.collections for p in c.get_paths()])
    assert path[:, 0].min() == pytest.approx(2.5)
    assert path[:, 0].max() == pytest.approx(4.5)
    assert path[:, 1].min() == pytest.approx(1.5)
    assert path[:, 1].max() == pytest.approx(3.5)


def test_colour_scale_is_told_in_thresholds():
    places, words = figures.colour_ticks(full())
    assert words == ["0", "threshold", "3 x"]
    assert places == pytest.approx([0.0, 1 / 3, 1.0])
    places, words = figures.colour_ticks(full(threshold=0.009))
    assert words == ["threshold", "100 x"]
    assert places == pytest.approx([0.01, 1.0])
    places, words = figures.colour_ticks(full(threshold=None))
    assert places == [0.0, 1.0]
    assert float(words[1]) == pytest.approx(planes.anomaly_top(full(threshold=None)), rel=0.05)


def test_brain_outline_shows_three_planes_at_one_scale():
    figure = figures.brain_outline(made((1.0, 2.0, 3.0)))
    width, height = figure.get_size_inches()
    scales = []
    for axes, size in zip(figure.axes, ((48, 54), (20, 54), (20, 48)), strict=True):
        box = axes.get_position()
        scales += [box.width * width / size[0], box.height * height / size[1]]
    assert scales == pytest.approx([scales[0]] * 6)
    assert figure.axes[0].get_position().y0 >= 0


@pytest.mark.parametrize("write", [figures.png, figures.svg])
def test_the_same_figure_gives_the_same_bytes(write):
    first, second = (write(figures.montage(full(), count=2)) for _ in range(2))
    assert first == second


def test_data_uri_holds_the_file():
    kind, content = figures.data_uri(b"abc", "image/png").split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == b"abc"
