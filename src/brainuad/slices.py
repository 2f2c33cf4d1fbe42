"""Scan <-> images: what a network sees of a prepared scan, and the exact way back.

An axial image is ``voxels[:, :, k]``: (1, i, j), rows grow to the right and columns to the front.
With neighbours it has more channels: the slices from below to above, itself in the middle. What is
judged is the middle one: brain, map and healthy counterpart have one channel in every view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainuad.rng import Rng
from brainuad.scan import Scan
from brainuad.types import Brain, DataError, Images, UsageError, Volume

Slices = Float[Tensor, "batch 1 *space"]
REACH = {"axial": 0, "axial3": 1}
"""Neighbours on either side of a slice, for the views that consist of slices."""
VIEWS = (*REACH, "volume")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pieces:
    """Images of one scan, in order, with what is needed to put them back.

    Attributes:
        x: the images.
        brain: where they (the middle slice, if there are neighbours) show brain.
        keys: names of their random streams.
        indices: position of each axial image along k; empty for a whole volume.
        shape: voxels of the scan along i, j, k.
    """

    x: Images
    brain: Brain
    keys: tuple[str, ...]
    indices: tuple[int, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, start: int, stop: int) -> "Pieces":
        """The images from ``start`` up to, not including, ``stop``."""
        part = slice(start, stop)
        return replace(
            self,
            x=self.x[part],
            brain=self.brain[part],
            keys=self.keys[part],
            indices=self.indices[part],
        )

    def to(self, device: torch.device | str) -> "Pieces":
        """The same images on another device."""
        return replace(self, x=self.x.to(device), brain=self.brain.to(device))

    def rng(self, seed: int, *words: object) -> Rng:
        """The random streams of these images in the run with this seed."""
        return Rng.named(seed, self.keys, *words)


def check_view(view: str) -> None:
    """Refuse an unknown way of looking at a scan."""
    if view not in VIEWS:
        raise UsageError(f"view {view!r}: unknown; choose from {', '.join(VIEWS)}")


def image_key(subject: str, k: int | None = None) -> str:
    """Name of the random stream of an axial slice, or of the whole volume."""
    return f"{subject}/volume" if k is None else f"{subject}/axial-{k:03d}"


def split(scan: Scan, view: str = "axial", *, only_brain: bool = True) -> Pieces:
    """Images of a prepared scan.

    Args:
        scan: a scan with its brain mask.
        view: ``axial`` for slices (n, 1, i, j), ``axial3`` for slices between their neighbours
            (n, 3, i, j), ``volume`` for one image (1, 1, i, j, k).
        only_brain: leave out slices without any brain.

    Raises:
        DataError: no brain mask, or an empty one.
    """
    check_view(view)
    if scan.brain is None or not scan.brain.any():
        raise DataError(
            f"{scan.subject}: has no brain mask, or an empty one; prepare the scan first"
        )
    if view == "volume":
        return _pieces(scan, scan.voxels[None, None], scan.brain[None], ())
    kept = (
        np.flatnonzero(scan.brain.any(axis=(0, 1)))
        if only_brain
        else np.arange(scan.voxels.shape[2])
    )
    voxels, brain = (np.moveaxis(volume, 2, 0) for volume in (scan.voxels, scan.brain))
    indices = tuple(kept.tolist())
    return _pieces(scan, _around(voxels, indices, REACH[view]), brain[kept], indices)


def _around(slices: np.ndarray, indices: Sequence[int], reach: int) -> np.ndarray:
    """Each slice with its neighbours as channels; 0 beyond the first and the last slice."""
    beyond = np.zeros((reach, *slices.shape[1:]), slices.dtype)
    filled = np.concatenate([beyond, slices, beyond])
    return np.stack([filled[k : k + 2 * reach + 1] for k in indices])


def middle(x: Images) -> Slices:
    """The slices themselves, without their neighbours; in a view without any, the images."""
    channel = x.shape[1] // 2
    return x[:, channel : channel + 1]


def _pieces(scan: Scan, x: np.ndarray, brain: np.ndarray, indices: tuple[int, ...]) -> Pieces:
    keys = [image_key(scan.subject, k) for k in indices] or [image_key(scan.subject)]
    i, j, k = scan.voxels.shape
    return Pieces(
        x=torch.from_numpy(x.astype(np.float32, order="C")),
        brain=torch.from_numpy(brain.astype(bool, order="C"))[:, None],
        keys=tuple(keys),
        indices=indices,
        shape=(i, j, k),
    )


def join(images: Images, pieces: Pieces) -> Volume:
    """The volume that these images are the slices of; 0 where slices were left out.

    Args:
        images: one channel, in the order of ``pieces``: maps or healthy counterparts.
        pieces: where they come from.
    """
    _check_fits(images.shape, pieces)
    values = images[:, 0].detach().float().cpu().numpy()
    if not pieces.indices:
        return values[0].copy()
    volume = np.zeros(pieces.shape, np.float32)
    volume[:, :, list(pieces.indices)] = np.moveaxis(values, 0, 2)
    return volume


def _check_fits(shape: Sequence[int], pieces: Pieces) -> None:
    if tuple(shape) != tuple(pieces.brain.shape):
        raise DataError(
            f"{pieces.keys[0]}: images have shape {tuple(shape)}, the scan was split into "
            f"{tuple(pieces.brain.shape)}; give one channel and every piece"
        )
