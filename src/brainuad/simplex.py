"""Fractal simplex noise: the 2-D OpenSimplex noise of 2014, in octaves, for many seeds at once.

Wyatt et al., CVPRW 2022 introduced it to anomaly detection; the sums here are those of the pDDPM
family (Behrendt et al., MIDL 2023).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from brainuad.rng import Rng
from brainuad.types import Images, UsageError

STRETCH, SQUISH, NORMALISER = (1 / 3**0.5 - 1) / 2, (3**0.5 - 1) / 2, 47
GRADIENTS = torch.tensor(
    [[5, 2], [2, 5], [-5, 2], [-2, 5], [5, -2], [2, -5], [-5, -2], [-2, -5]], dtype=torch.float64
)
MULTIPLIER, INCREMENT = np.int64(6364136223846793005), np.int64(1442695040888963407)

Places = Float[Tensor, " places"]
Vertex = tuple[Int[Tensor, " places"], Int[Tensor, " places"]]
Near = tuple[Int[Tensor, " places"], Int[Tensor, " places"], Places, Places]
"""One vertex of each place: its row and column in the lattice, weighted offsets along x and y."""


def simplex(
    x: Images,
    *,
    rng: Rng,
    octaves: int = 6,
    persistence: float = 0.8,
    wavelength_px: float = 64.0,
    normalise: bool = False,
) -> Images:
    """Smooth noise with power at all scales; as published neither of unit variance nor of mean 0.

    Args:
        x: 2-D images whose shape the noise gets; channels share their noise.
        rng: one stream per image; images with the same stream share one noise image.
        octaves: number of scales; each has half the wavelength of the one before.
        persistence: factor on the amplitude from octave to octave.
        wavelength_px: wavelength of the first octave, in pixels.
        normalise: mean 0 and standard deviation 1 in each image.
    """
    if x.ndim != 4 or octaves < 1 or wavelength_px <= 0:
        raise UsageError(
            f"simplex noise: images of {x.ndim - 2} space axes, {octaves} octaves of "
            f"{wavelength_px} px; use 2-D images, at least one octave and a wavelength above 0"
        )
    seeds, images = rng.integers(0, 2**62).unique(return_inverse=True)
    drawn = permutations(seeds.tolist())
    noise = fractal(drawn, (x.shape[2], x.shape[3]), octaves, persistence, wavelength_px)
    if normalise:
        noise = (noise - noise.mean((1, 2), keepdim=True)) / noise.std((1, 2), keepdim=True)
    return noise[images, None].expand(x.shape).to(x)


def permutations(seeds: Sequence[int]) -> Int[Tensor, "seeds 256"]:
    """The shuffled table of each seed, by the generator of the original (64 bits, wrapping)."""
    state = np.array(seeds, dtype=np.int64)
    rows = np.arange(len(state))
    source = np.tile(np.arange(256), (len(state), 1))
    table = np.empty_like(source)
    for _ in range(3):
        state = state * MULTIPLIER + INCREMENT
    for i in range(255, -1, -1):
        state = state * MULTIPLIER + INCREMENT
        r = (state + 31) % (i + 1)
        table[:, i] = source[rows, r]
        source[rows, r] = source[:, i]
    return torch.from_numpy(table)


def fractal(
    tables: Int[Tensor, "seeds 256"],
    size: tuple[int, int],
    octaves: int,
    persistence: float,
    wavelength_px: float,
) -> Float[Tensor, "seeds rows columns"]:
    """Sum of octaves at every pixel of an image."""
    total = torch.zeros(len(tables), size[0] * size[1], dtype=torch.float64)
    for octave in range(octaves):
        near = image_vertices(size, 2**octave / wavelength_px)
        total += persistence**octave * gradients(tables, near)
    return total.reshape(len(tables), *size)


@lru_cache(maxsize=64)
def image_vertices(size: tuple[int, int], scale: float) -> list[Near]:
    """What every pixel of an image of this size gets from the lattice; the same for all seeds."""
    y, x = (n.flatten() for n in torch.meshgrid(*map(steps, size), indexing="ij"))
    return nearby(x * scale, y * scale)


def steps(count: int) -> Places:
    """0, 1, 2 ... in float64."""
    return torch.arange(count, dtype=torch.float64)


def opensimplex(
    tables: Int[Tensor, "seeds 256"], x: Places, y: Places
) -> Float[Tensor, "seeds places"]:
    """One octave at the places (x, y), about -0.87 to 0.87."""
    return gradients(tables, nearby(x, y))


def nearby(x: Places, y: Places) -> list[Near]:
    """The four lattice vertices of each place: where they are, and their weighted offsets."""
    skew = (x + y) * STRETCH
    xs, ys = x + skew, y + skew
    i, j = xs.floor(), ys.floor()
    base = (i + j) * SQUISH
    found = []
    for a, b in lattice(xs - i, ys - j):
        back = (a + b).to(x) * SQUISH
        dx, dy = x - (i + base) - a - back, y - (j + base) - b - back
        weight = (2 - dx**2 - dy**2).clamp(min=0) ** 4 / NORMALISER
        found.append(((i.long() + a) & 255, j.long() + b, weight * dx, weight * dy))
    return found


def gradients(tables: Int[Tensor, "seeds 256"], near: list[Near]) -> Float[Tensor, "seeds places"]:
    """Sum over the vertices of the products of their gradients and weighted offsets."""
    total = torch.zeros(len(tables), len(near[0][0]), dtype=torch.float64)
    gx, gy = GRADIENTS[(tables & 14) // 2].unbind(-1)
    for row, column, dx, dy in near:
        chosen = (tables[:, row] + column) & 255
        total.addcmul_(gx.gather(1, chosen), dx).addcmul_(gy.gather(1, chosen), dy)
    return total


def lattice(xin: Places, yin: Places) -> list[Vertex]:
    """The four lattice vertices that count at places inside a unit cell."""
    q = xin + yin
    lower = q <= 1
    right = torch.where(xin > yin, 1, 0)
    zero, one = torch.zeros_like(right), torch.ones_like(right)
    z = torch.where(lower, 1 - q, 2 - q)
    near = torch.where(lower, (z > xin) | (z > yin), (z < xin) | (z < yin))
    # Beyond the edge that is nearer: (1, -1) or (-1, 1) below the diagonal, (2, 0) or (0, 2) above.
    beyond_x = torch.where(lower, 2 * right - 1, 2 * right)
    beyond_y = torch.where(lower, 1 - 2 * right, 2 - 2 * right)
    own, other = torch.where(lower, 0, 1), torch.where(lower, 1, 0)
    extra = torch.where(near, beyond_x, other), torch.where(near, beyond_y, other)
    return [(one, zero), (zero, one), (own, own), extra]
