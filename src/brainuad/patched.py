"""Patched diffusion: noise in one box of the image, the rest of it as context."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from brainuad.boxes import Boxes, Grid, grid, inside
from brainuad.diffusion import Steps
from brainuad.method import Batch
from brainuad.restoration import Drawn, DrawnOptions
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchedOptions(DrawnOptions):
    """Options of the patched methods."""

    patches: Annotated[int, Field(ge=1)] = 2
    """Boxes along each axis; 2 gives the four quadrants, 1 is noise on the whole image."""
    overlap: bool = False
    """Spread as few boxes as cover the image evenly, so that the last ends at the border, with
    means where they overlap: nowhere, where they fit exactly. The published configuration has
    none."""
    stride: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest distance from box to box as a share of their side; 0.5 lets each overlap
    half of the next, and what is restored is a mean: fainter seams, at over twice the cost."""
    random_boxes: bool = False
    """Train on boxes anywhere in the image instead of the boxes of the grid."""


class PatchedDiffusion(Drawn):
    """Base of the methods that noise one box at a time (Behrendt et al., MIDL 2023)."""

    Options: Any = PatchedOptions

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each box and level."""
        return super().passes(size) * len(self.boxes(torch.empty(1, 1, *size)))

    def patch_px(self, x: Images) -> int:
        """Side of a box, so that ``patches`` of them cover the longer side of the image."""
        return -(-max(x.shape[2:]) // self.options.patches)

    def boxes(self, x: Images) -> Grid:
        """Every box of the grid over images of this size."""
        rows, columns = x.shape[2:]
        patch = self.patch_px(x)
        if patch >= max(rows, columns):
            return torch.tensor([[0, 0, columns, rows]])
        patch = min(patch, rows, columns)
        stride = max(1, int(self.options.stride * patch))
        return grid(rows, columns, patch, overlap=self.options.overlap, stride=stride)

    def drawn_boxes(self, x: Images, rng: Rng) -> Boxes:
        """One box per image: of the grid, or anywhere inside the image."""
        every = self.boxes(x)
        if not self.options.random_boxes:
            return every[rng.integers(0, len(every))]
        size = every[0, 2:] - every[0, :2]
        room = torch.tensor([x.shape[3], x.shape[2]]) - size + 1
        corner = (rng.uniforms(2) * room).long()
        return torch.cat([corner, corner + size], dim=1)

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Error inside a random box at a random step of each image."""
        x, brain = self.augmented(batch, rng)
        t, eps = self.drawn(x, rng)
        shown = self.shown(x, brain, rng.fork("sick"))
        context = 2 * self.context(shown, brain, rng=rng.fork("context")) - 1
        return self.patch_loss(2 * x - 1, context, t, eps, self.drawn_boxes(x, rng.fork("box")))

    def context(self, x: Images, brain: Brain, *, rng: Rng) -> Images:
        """What the net sees outside the box, in [0, 1]: the image itself."""
        return x

    def patch_loss(
        self, x0: Images, context: Images, t: Steps, eps: Images, boxes: Boxes
    ) -> PerItem:
        """Error inside the box as a share of the whole image, as published.

        Args:
            x0: clean images in [-1, 1], the target.
            context: what is noised inside the box and shown outside it, in [-1, 1].
            t: step of each image.
            eps: noise.
            boxes: one per image.
        """
        chosen = inside(boxes, x0)
        output = self.net(self.noised_in(context, t, eps, boxes), t)
        return self.distance((output - self.target(x0, eps, t)) * chosen)

    def noised_in(self, x0: Images, t: Steps, eps: Images, boxes: Boxes) -> Images:
        """Images with noise of step ``t`` inside their box and none outside."""
        return torch.where(inside(boxes, x0), self.schedule.add_noise(x0, eps, t), x0)

    def restored(self, x: Images, brain: Brain, level: int, eps: Images) -> Images:
        """Every box restored from its noised self and clean surroundings, then put together.

        All boxes share the image's noise, and go through the net as one batch.
        """
        boxes = self.boxes(x)
        n, count = len(x), len(boxes)
        per_image = boxes.repeat(n, 1)
        many, noise = (a.repeat_interleave(count, 0) for a in (x, eps))
        t = torch.full((n * count,), level - 1, device=x.device)
        guess = self.clean(self.noised_in(2 * many - 1, t, noise, per_image), t)
        chosen = inside(per_image, many).unflatten(0, (n, count))
        pieces = guess.unflatten(0, (n, count)) * chosen
        return (pieces.sum(1) / chosen.sum(1) + 1) / 2
