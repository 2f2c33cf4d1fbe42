"""Boxes of an image: the published grids, and that a grid covers every pixel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.boxes import grid, inside
from brainuad.types import UsageError


@pytest.mark.golden
def test_grids_equal_the_published_ones(golden):
    arrays = golden("patch_reconstruction")
    cases = [name.removesuffix("_config") for name in arrays if name.endswith("_config")]
    assert cases
    for case in cases:
        rows, columns, patch, overlap = arrays[f"{case}_config"].tolist()
        found = grid(rows, columns, patch, overlap=bool(overlap))
        assert torch.equal(found, torch.from_numpy(arrays[f"{case}_boxes_xyxy"]))


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), patch=st.integers(1, 40),
    overlap=st.booleans(),
)  # fmt: skip
def test_a_grid_covers_every_pixel_and_without_overlap_only_once(rows, columns, patch, overlap):
    patch = min(patch, rows, columns)
    boxes = grid(rows, columns, patch, overlap=overlap)
    image = torch.zeros(len(boxes), 1, rows, columns)
    count = inside(boxes, image).sum(0)
    assert (count >= 1).all()
    assert overlap or (count == 1).all()


@given(
    rows=st.integers(8, 60), columns=st.integers(8, 60), half=st.integers(1, 15),
)  # fmt: skip
def test_with_half_a_box_as_stride_all_but_the_border_lies_in_two_boxes_along_each_axis(
    rows, columns, half
):
    patch = 2 * min(half, rows // 2, columns // 2)
    boxes = grid(rows, columns, patch, stride=patch // 2)
    assert boxes.min() == 0
    assert boxes[:, 2].max() == columns
    assert boxes[:, 3].max() == rows
    count = inside(boxes, torch.zeros(len(boxes), 1, rows, columns)).sum(0)[0]
    assert (count >= 1).all()
    edge = patch // 2
    assert (count[edge : rows - edge, edge : columns - edge] >= 4).all()


def test_a_box_is_columns_first_with_its_end_left_out():
    chosen = inside(torch.tensor([[1, 2, 3, 5]]), torch.zeros(1, 1, 6, 4))[0, 0]
    assert chosen.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2], [4, 1], [4, 2]]


@pytest.mark.parametrize("patch", [0, 9])
def test_a_patch_that_does_not_fit_is_refused(patch):
    with pytest.raises(UsageError, match=rf"patch: {patch} px on an image of 8 px; use 1 to 8"):
        grid(8, 12, patch)
