"""Layers of the slider: right images, right outlines, within size limits."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.report.made import full, made

from brainuad.report import slider


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def area(path: str) -> float:
    """Area inside the closed lines of an SVG path, by the shoelace formula."""
    total = 0.0
    for line in filter(None, path.split("M")):
        points = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", line), dtype=float)
        x, y = points.T
        total += 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
    return abs(total)


def test_every_slice_has_every_layer_that_is_known():
    found = slider.layers(full())
    names = {"name", "scan", "healthy", "anomaly", "mask", "lesion"}
    assert all(set(s) == names for s in found["slices"])
    assert all(set(s) == {"name", "scan"} for s in slider.layers(made())["slices"])


def test_slices_are_in_order_few_enough_and_open_at_the_lesion():
    found = slider.layers(full(), count=7)
    numbers = [int(re.findall(r"slice (\d+)", s["name"])[0]) for s in found["slices"]]
    assert numbers == sorted(numbers)
    assert len(numbers) == 7
    start = numbers[found["start"]]
    assert abs(start - 9) == min(abs(k - 9) for k in numbers)


def test_images_have_the_stated_size():
    found = slider.layers(full())
    assert decoded(found["slices"][0]["scan"]).shape[:2] == (found["height"], found["width"])


def test_scan_is_grey_and_map_is_coloured():
    found = slider.layers(full())
    middle = found["slices"][found["start"]]
    scan, anomaly = decoded(middle["scan"]), decoded(middle["anomaly"])
    assert (scan[..., 0] == scan[..., 2]).all()
    assert (anomaly[..., 0] != anomaly[..., 2]).any()


def test_fine_scans_are_shown_with_fewer_pixels():
    image = np.zeros((700, 500))
    assert max(decoded(slider._image(image, coloured=False)).shape) <= slider.LONGEST


def test_empty_outline_is_an_empty_path():
    assert slider.svg_path(np.zeros((4, 5), dtype=bool)) == ""


@given(arrays(bool, (6, 7)))
def test_outline_path_stays_within_the_picture(outline: np.ndarray):
    points = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", slider.svg_path(outline)), dtype=float)
    if len(points):
        assert (points >= 0).all()
        assert (points <= [7, 6]).all()
    assert (len(points) > 0) == outline.any()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (4, 4)])
def test_outline_encloses_the_pixels(size: tuple[int, int]):
    outline = np.zeros((8, 9), dtype=bool)
    outline[1 : 1 + size[0], 2 : 2 + size[1]] = True
    # Marching squares cut the four corners by an eighth of a pixel each.
    assert area(slider.svg_path(outline)) == pytest.approx(size[0] * size[1] - 0.5)
