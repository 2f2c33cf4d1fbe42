"""Synthetic anomalies in slabs of healthy scans: tissue that is mixed with another level."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from brainuad.difference import Sign
from brainuad.rng import Rng
from brainuad.types import Brain, Images, UsageError

Slab = Float[Tensor, "slices rows columns"]
Inside = Bool[Tensor, "slices rows columns"]
DRAWN = 12
"""Random numbers of each object; as many whatever becomes of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomalyLaw:
    """Law of synthetic anomalies: how many, where, how large, and what becomes of the tissue."""

    most: int = 3
    """Most objects in a slab; their number is uniform from 1."""
    radius_min: float = 1.3
    """Smallest radius, in voxels."""
    radius_max: float = 16.0
    """Largest radius, in voxels; logarithmically uniform between."""
    level: float = 0.35
    """Dark anomalies mix tissue with a level from 0 to this, bright ones with 1 minus such."""
    share_min: float = 0.15
    """Smallest share of the other level."""
    share_max: float = 0.9
    """Largest share of the other level."""
    fade: float = 0.4
    """Largest share by which borders between tissues fade inside, in half of the objects."""
    grain: float = 0.01
    """Largest standard deviation of noise added to the whole brain, so that grain tells nothing."""

    def __post_init__(self) -> None:
        """Refuse a law that is none."""
        radii = 0 < self.radius_min <= self.radius_max
        shares = 0 < self.share_min <= self.share_max <= 1
        if not (radii and shares and self.most >= 1 and 0 <= self.fade <= 1 and self.grain >= 0):
            raise UsageError(
                f"anomaly law: {self}; use rising radii above 0, rising shares in (0, 1], at least "
                "one object, a fade in [0, 1] and a grain of at least 0"
            )
        if not 0 < self.level < 0.5:
            raise UsageError(f"anomaly law: level {self.level}; give one between 0 and 0.5")


def slices_with_anomalies(
    law: AnomalyLaw, x: Images, brain: Brain, sign: Sign, *, rng: Rng
) -> Images:
    """Slices of one channel with anomalies, each from its own stream (:func:`with_anomalies`)."""
    pairs = zip(x[:, 0].cpu(), brain[:, 0].cpu(), rng.seeds, strict=True)
    made = [with_anomalies(law, a[None], b[None], sign, rng=Rng([s])) for a, b, s in pairs]
    return torch.stack(made).to(x)


def with_anomalies(law: AnomalyLaw, x: Slab, inside: Inside, sign: Sign, *, rng: Rng) -> Slab:
    """A slab with anomalies around places of its middle slice, in [0, 1].

    Args:
        law: of the anomalies.
        x: healthy tissue in [0, 1].
        inside: the brain.
        sign: whether they are darker, brighter, or either.
        rng: one stream.
    """
    number = 1 + int(rng.fork("number").uniform() * law.most)
    y = x
    for n in range(number):
        y = with_one(law, y, inside, sign, rng=rng.fork("object", n))
    grain = law.grain * float(rng.fork("grain").uniform())
    noise = grain * rng.fork("noise").normal(*x.shape)[0]
    return ((y + noise.to(y)) * inside).clamp(0, 1)


def with_one(law: AnomalyLaw, x: Slab, inside: Inside, sign: Sign, *, rng: Rng) -> Slab:
    """A slab with one more anomaly."""
    u = rng.uniforms(DRAWN)[0].tolist()
    where = soft_ball(law, inside, u[:8], rng=rng.fork("shape")).to(x) * inside
    dark = sign == "dark" or (sign == "absolute" and u[8] < 0.5)
    level = law.level * u[9] if dark else 1 - law.level * u[9]
    share = law.share_min + (law.share_max - law.share_min) * u[10]
    uneven = share * (1 + 0.25 * smooth_field(x.shape, 5.0, rng=rng.fork("share")).to(x))
    tissue = x
    if u[11] < 0.5:
        mean = (x * where).sum() / where.sum().clamp(min=1e-3)
        tissue = x + 2 * u[11] * law.fade * where * (mean - x)
    mixed = tissue + (uneven * where).clamp(0, 1) * (level - tissue)
    return torch.minimum(mixed, x) if dark else torch.maximum(mixed, x)


def soft_ball(law: AnomalyLaw, inside: Inside, u: list[float], *, rng: Rng) -> Slab:
    """A rough ellipsoid with a soft border whose middle lies near the slab; weights in [0, 1]."""
    radius = law.radius_min * (law.radius_max / law.radius_min) ** u[0]
    row, column = place_in(inside[len(inside) // 2], u[1])
    middle = len(inside) // 2 + radius * (2 * u[2] - 1)
    axes = [torch.arange(n, dtype=torch.float32) for n in inside.shape]
    height = (axes[0] - middle)[:, None, None]
    rows, columns = (axes[1] - row)[None, :, None], (axes[2] - column)[None, None, :]
    angle = math.pi * u[3]
    along = math.cos(angle) * rows + math.sin(angle) * columns
    across = math.cos(angle) * columns - math.sin(angle) * rows
    widths = [math.exp(0.4 * (2 * v - 1)) for v in u[4:7]]
    parts = [(along * widths[0]) ** 2, (across * widths[1]) ** 2, (height * widths[2]) ** 2]
    distance = (parts[0] + parts[1] + parts[2]).sqrt() / radius
    rough = 0.5 * u[7] * smooth_field(inside.shape, max(2.0, radius / 1.5), rng=rng)
    return torch.sigmoid(2 * radius * (1 - distance - rough))


def place_in(inside: Bool[Tensor, "rows columns"], u: float) -> tuple[int, int]:
    """A place of a slice's brain, all equally likely; the middle where there is none."""
    places = inside.nonzero()
    if not len(places):
        return inside.shape[0] // 2, inside.shape[1] // 2
    row, column = places[min(int(u * len(places)), len(places) - 1)].tolist()
    return row, column


def smooth_field(shape: tuple[int, ...], cell: float, *, rng: Rng) -> Slab:
    """Noise of standard deviation about 1 at nodes ``cell`` voxels apart, linear between."""
    nodes = [max(2, math.ceil(n / cell) + 1) for n in shape]
    noise = rng.normal(1, *nodes)
    return F.interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
