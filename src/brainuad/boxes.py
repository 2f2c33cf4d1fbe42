"""Rectangles of an image, one per image of a batch: noise inside, context outside."""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from brainuad.types import Images, UsageError

Boxes = Int[Tensor, "batch 4"]
"""(first column, first row, end column, end row) of each image's box, in pixels, ends excluded."""
Grid = Int[Tensor, "patches 4"]
"""Every box of a grid over an image, in the same numbers."""
Inside = Bool[Tensor, "batch 1 rows columns"]


def starts(size: int, patch: int, *, overlap: bool, stride: int | None = None) -> list[int]:
    """Where the patches of an axis begin.

    Without overlap one follows the other (the last may reach beyond the border); with overlap
    just as many are spread evenly so that the last ends at the border. With a ``stride`` below the
    patch as many are spread as lie at most so far apart.
    """
    if not 0 < patch <= size:
        raise UsageError(f"patch: {patch} px on an image of {size} px; use 1 to {size}")
    stride = min(stride or patch, patch)
    count = math.ceil((size - patch) / stride) + 1
    if (overlap or stride < patch) and count > 1:
        return [int(i * (size - patch) / (count - 1)) for i in range(count)]
    return [i * patch for i in range(count)]


def grid(
    rows: int, columns: int, patch: int, *, overlap: bool = False, stride: int | None = None
) -> Grid:
    """Every box of a regular grid over an image, columns fastest (Behrendt et al., MIDL 2023)."""
    return torch.tensor(
        [
            (column, row, column + patch, row + patch)
            for row in starts(rows, patch, overlap=overlap, stride=stride)
            for column in starts(columns, patch, overlap=overlap, stride=stride)
        ]
    )


def inside(boxes: Boxes, x: Images) -> Inside:
    """Pixels of ``x`` that lie in the box of their image."""
    rows = torch.arange(x.shape[2], device=x.device)[None, :, None]
    columns = torch.arange(x.shape[3], device=x.device)[None, None, :]
    left, top, right, bottom = (side[:, None, None] for side in boxes.to(x.device).unbind(1))
    chosen = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return chosen[:, None]
