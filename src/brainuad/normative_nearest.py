"""What the healthy slices most like a slice show, in mean and standard deviation at each place.

For stacks whose slices lie at any height, and for single slices: nothing needs to be aligned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from brainuad import nearest
from brainuad.nearest import Around
from brainuad.normative_model import (
    Compared,
    Normative,
    NormativeOptions,
    Normer,
    along,
    correlation,
    slope_and_variance,
)
from brainuad.scan import Scan
from brainuad.slices import join, split
from brainuad.smooth import gaussian_blur
from brainuad.types import Brain, DataError, Images, Volume


def slices_of(scan: Scan, values: Compared) -> tuple[Images, Tensor, Brain]:
    """Slices of a scan, what is compared of them (channels), and their brains; all stretched."""
    pieces = split(scan)
    x, covered = nearest.stretched(pieces.x, pieces.brain)
    parts = torch.cat([split(replace(scan, voxels=value)).x for value in values], dim=1)
    return x, nearest.stretched(parts, pieces.brain)[0], covered


class NearestNormer(Normer):
    """Keeps the slices of healthy scans, and what is compared of them."""

    def __init__(self, options: NormativeOptions):
        self.options = options
        self.parts: list[tuple[Images, Tensor, Brain]] = []
        self.scans: list[int] = []

    def add(self, values: Compared, scan: Scan) -> None:
        """Keep the slices of one healthy scan; ``values`` is what is compared."""
        x, parts, covered = slices_of(scan, values)
        self.scans += [len(self.parts)] * len(x)
        self.parts.append((x.half(), parts.half(), covered))

    def finish(self) -> "NearestNormative":
        """The model of all slices so far.

        Raises:
            DataError: fewer slices than ``nearest``.
        """
        o = self.options
        assert o.nearest is not None
        if len(self.scans) < o.nearest:
            raise DataError(
                f"normative: made of {len(self.scans)} healthy slices, but nearest is {o.nearest}; "
                "give more scans or lower it"
            )
        images, values, covered = (torch.cat(part) for part in zip(*self.parts, strict=True))
        centre, axes = nearest.principal_axes(images.float(), o.components)
        made = NearestNormative(
            options=o,
            likeness=np.float32(0),
            images=images.numpy(),
            values=values.numpy(),
            covered=covered.numpy(),
            centre=centre.half().numpy(),
            axes=axes.half().numpy(),
        )
        return replace(made, likeness=np.float32(min(self._likenesses(made))))

    def _likenesses(self, made: "NearestNormative") -> Iterator[float]:
        """How like each scan's slices are to those of the others."""
        scans = np.array(self.scans)
        for number, (x, _, covered) in enumerate(self.parts):
            others = np.flatnonzero(scans != number)
            if len(others):
                yield made.likeness_in(x.float(), covered, torch.from_numpy(others))
        if len(self.parts) == 1:
            yield -1.0  # nobody to compare with: any scan is accepted


@dataclass(frozen=True, kw_only=True, eq=False)
class NearestNormative(Normative):
    """What the slices of healthy people show.

    Attributes:
        images: healthy slices, (slices, 1, i, j), the box around each brain stretched.
        values: what is compared of them, in the same place, (slices, values, i, j).
        covered: where they show brain.
        centre: their mean, flat; see :func:`~brainuad.nearest.principal_axes`.
        axes: their principal axes.
    """

    images: np.ndarray
    values: np.ndarray
    covered: np.ndarray
    centre: np.ndarray
    axes: np.ndarray

    @staticmethod
    def arrays(options: NormativeOptions) -> tuple[str, ...]:
        """The same for all options."""
        return ("images", "values", "covered", "centre", "axes", "likeness")

    @cached_property
    def places(self) -> Tensor:
        """Where the healthy slices lie along the axes."""
        images = torch.from_numpy(self.images).float()
        return nearest.coordinates(images, *self._frame)

    @property
    def _frame(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.centre).float(), torch.from_numpy(self.axes).float()

    def chosen(self, x: Images, among: Tensor) -> Iterator[Tensor]:
        """For each stretched slice the numbers of the healthy ones most like it, of those given."""
        assert self.options.nearest is not None
        for place in nearest.coordinates(x, *self._frame):
            found = nearest.closest(place, self.places[among], self.options.nearest)
            yield among[found]

    @property
    def everyone(self) -> Tensor:
        """The numbers of all healthy slices."""
        return torch.arange(len(self.images))

    def around(self, values: np.ndarray, numbers: Tensor) -> Around:
        """Mean and covariance of some of the healthy slices, where they show brain."""
        kept = numbers.numpy()
        covered = torch.from_numpy(self.covered[kept])
        return nearest.around(torch.from_numpy(values[kept]).float(), covered)

    def likeness_in(self, x: Images, covered: Brain, among: Tensor) -> float:
        """Median over stretched slices of the correlation with the mean of those most like each."""
        found = []
        for image, brain, numbers in zip(x, covered, self.chosen(x, among), strict=True):
            there = self.around(self.images, numbers)
            known = brain & (there.count >= self.options.minimum_count)
            found.append(correlation(image[known].numpy(), there.mean[known].numpy()))
        return float(np.median(found))

    def likeness_of(self, scan: Scan) -> float:
        """Median correlation of its slices with the mean of those most like each.

        Raises:
            DataError: slices of another size.
        """
        self._check_grid(scan)
        x, _, covered = slices_of(scan, scan.voxels[None])
        return self.likeness_in(x, covered, self.everyone)

    def _check_grid(self, scan: Scan) -> None:
        shape = self.images.shape[2:]
        if scan.voxels.shape[:2] != shape:
            raise DataError(
                f"{scan.subject}: has slices of {scan.voxels.shape[:2]}, those of healthy people "
                f"are {shape}; prepare it with the detector's recipe"
            )

    def map(self, scan: Scan, anomaly: Volume, healthy: Volume | None) -> Volume:
        """Deviations from the slices most like each; one slice does not depend on another."""
        self._check_grid(scan)
        pieces = split(scan)
        x, values, _ = slices_of(scan, self.options.compared(scan, anomaly, healthy))
        numbers = self.chosen(x, self.everyone)
        maps = [
            nearest.returned(self._deviations(value, close)[None], brain)
            for value, close, brain in zip(values, numbers, pieces.brain, strict=True)
        ]
        return join(torch.cat(maps) * pieces.brain, pieces)

    def _deviations(self, value: Tensor, close: Tensor) -> Tensor:
        """One stretched slice in healthy standard deviations of the wanted sign."""
        o, there = self.options, self.around(self.values, close)
        mean = gaussian_blur(there.mean[None], o.smooth_px)[0]
        covariance = gaussian_blur(there.covariance, o.smooth_px)
        slope, variance = slope_and_variance(covariance.numpy(), o.ridge)
        apart = (value - mean).numpy()
        found = o.deviations(along(apart, slope), np.sqrt(variance))
        if o.scan_weight:
            own = np.sqrt(covariance[0, 0].numpy())
            found = found + o.scan_weight * o.deviations(apart[0], own)
        return torch.where(there.count >= o.minimum_count, torch.from_numpy(found), 0)
