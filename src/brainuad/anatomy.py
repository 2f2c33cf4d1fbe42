"""Shapes of the mean brain as signed distances in MNI152 millimetres (positive inside).

The folded cortex follows the zero level sets of a smooth random field that is carried inwards
along the normals of the brain surface, so that sulci are thin sheets at right angles to it.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from brainuad.rng import seed_of
from brainuad.types import Affine

Points = Float[np.ndarray, "3 i j k"]
"""Positions in MNI152 mm: right, front, up."""
Field = Float[np.ndarray, "i j k"]
"""A distance in mm, or a share, at each position."""
Number = float | int
Box = Float[np.ndarray, "a b c"]
"""A random field at nodes that cover BOX."""
Place = tuple[Number, Number, Number]

BOX = np.array([[-110.0, -150.0, -110.0], [110.0, 115.0, 120.0]], np.float32)
"""Corners of the region in MNI mm that random fields cover."""
# Centres and radii of ellipsoids, or nodes and radii of tubes: the right half; the left mirrors it.
CEREBRUM = (
    ((0, -18, 20), (71, 89, 58)),
    ((0, 36, 4), (47, 36, 32)),
    ((0, -72, 8), (48, 36, 32)),
)
TEMPORAL = (((46, -12, -20), (22, 40, 22)), ((38, -38, -14), (24, 34, 16)))
CEREBELLUM = (((25, -62, -35), (29, 29, 23)), ((0, -60, -24), (17, 26, 25)))
STEM = (((0, -27, -33), (15, 12, 16)), ((0, -40, -52), (9, 8, 18)), ((0, -24, -13), (15, 11, 14)))
THALAMUS = ((11, -18, 8), (10, 15, 10))
CAUDATE_HEAD = ((12, 13, 6), (6, 10, 9))
PUTAMEN = ((25, 4, 1), (6, 15, 9))
THIRD_VENTRICLE = ((0, -14, 0), (2.2, 15, 11))
FOURTH_VENTRICLE = ((0, -45, -33), (6, 4, 9))
CAUDATE_TAIL = (((13, 14, 12), 5.0), ((17, -2, 19), 4.0), ((21, -20, 21), 3.0), ((27, -34, 13), 2))
HIPPOCAMPUS = (((23, -5, -19), 8.0), ((28, -20, -16), 6.0), ((24, -36, -5), 4.5))
LATERAL_VENTRICLE = (
    ((9, 32, 3), 2.5),
    ((8, 18, 11), 5.0),
    ((8, -2, 20), 5.0),
    ((13, -26, 20), 5.0),
    ((24, -42, 12), 6.0),
    ((25, -62, 6), 2.5),
)
TEMPORAL_HORN = (((24, -42, 10), 4.0), ((33, -28, -9), 1.7), ((32, -12, -17), 1.3))
CORE = ((0, -12, 6), (34, 46, 26))
"""Deep region that sulci do not enter."""


def stream(seed: int, *words: object) -> np.random.Generator:
    """Random numbers of one purpose of a phantom."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, "phantom", *words)))


def millimetres(shape: tuple[int, int, int], affine: Affine) -> Points:
    """Position of every voxel."""
    affine = affine.astype(np.float32)
    index = np.indices(shape, np.float32)
    return np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3, None, None, None]


def mirror(points: Points) -> Points:
    """The same positions on the right side."""
    return np.concatenate([np.abs(points[:1]), points[1:]])


def noise_box(rng: np.random.Generator, *, step: Number, smooth: Number) -> Box:
    """Smooth Gaussian field over BOX with nodes every ``step`` mm; mean 0, standard deviation 1."""
    nodes = np.ceil((BOX[1] - BOX[0]) / step).astype(int) + 1
    field = ndimage.gaussian_filter(rng.standard_normal(nodes, np.float32), smooth / step)
    return (field - field.mean()) / field.std()


def look_up(box: Box, step: Number, points: Points) -> Field:
    """Values of a field over BOX at the points."""
    where = (points - BOX[0, :, None, None, None]) / np.float32(step)
    return ndimage.map_coordinates(box, where, order=1, mode="nearest")


def random_field(
    rng: np.random.Generator, points: Points, *, step: Number, smooth: Number
) -> Field:
    """A random field of correlation length ``smooth`` mm; mean 0, standard deviation 1."""
    return look_up(noise_box(rng, step=step, smooth=smooth), step, points)


def displaced(
    rng: np.random.Generator, points: Points, *, by: Number, step: Number, smooth: Number
) -> Points:
    """Points moved by a smooth random displacement of standard deviation ``by`` mm an axis."""
    moves = [random_field(rng, points, step=step, smooth=smooth) for _ in range(3)]
    return points + np.float32(by) * np.stack(moves)


def ball(points: Points, shape: tuple[Place, Place]) -> Field:
    """Distance to the surface of an ellipsoid (centre, radii), exact to first order."""
    centre, radii = (np.asarray(v, np.float32)[:, None, None, None] for v in shape)
    scaled = (points - centre) / radii + np.float32(1e-5)  # so that the centre has a direction
    near = np.sqrt((scaled**2).sum(0))
    steep = np.sqrt(((scaled / radii) ** 2).sum(0))
    return near * (1 - near) / steep


def tube(points: Points, nodes: Sequence[tuple[Place, Number]]) -> Field:
    """Distance to the wall of a tube through the nodes (position, radius)."""
    best = np.full(points.shape[1:], -1e3, np.float32)
    for (start, first), (end, last) in pairwise(nodes):
        axis = np.asarray(np.subtract(end, start), np.float32)
        offset = points - np.asarray(start, np.float32)[:, None, None, None]
        along = np.clip(np.tensordot(axis, offset, 1) / (axis @ axis), 0, 1)
        gap = np.sqrt(((offset - axis[:, None, None, None] * along) ** 2).sum(0))
        np.maximum(best, first + (last - first) * along - gap, out=best)
    return best


def union(parts: Sequence[Field], blend: Number) -> Field:
    """Union of shapes, rounded over ``blend`` mm where they meet."""
    whole = parts[0]
    for part in parts[1:]:
        overlap = np.maximum(blend - np.abs(whole - part), 0) / blend
        whole = np.maximum(whole, part) + overlap**2 * (blend / 4)
    return whole


def balls(points: Points, shapes: Sequence[tuple[Place, Place]], blend: Number) -> Field:
    """Rounded union of ellipsoids."""
    return union([ball(points, shape) for shape in shapes], blend)


def filled(distance: Field, voxel: Number) -> Field:
    """Share of a voxel of this size that is inside, from the distance of its centre."""
    return np.clip(0.5 + distance / voxel, 0, 1)


def sheet(gap: Field, half: Number, voxel: Number) -> Field:
    """Share of a voxel filled by a sheet of half-width ``half`` whose middle is ``gap`` away."""
    return filled(half - gap, voxel) - filled(-half - gap, voxel)


def gradient(field: Field, affine: Affine) -> Points:
    """Slope to the right, front and up, per mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0).astype(np.float32)
    turn = (affine[:3, :3] / spacing).astype(np.float32)
    return np.tensordot(turn, np.stack([*np.gradient(field, *spacing)]), 1)


def cerebrum(points: Points) -> Field:
    """Depth under the smooth hull of the cerebrum."""
    x, y, z = right = mirror(points)
    narrow = np.stack([x * (1 + 0.0022 * np.maximum(y + 25, 0)), y, z])
    front, back = 1 / (1 + np.exp(-(y - 4) / 10)), 1 / (1 + np.exp((y + 38) / 5))
    bowl = (x / 45) ** 2
    tentorium = 1 + 14 * bowl - 0.15 * (y + 40)
    floor = z + back * tentorium + (1 - back) * (18 - 13 * front * bowl)
    upper = np.minimum(balls(narrow, CEREBRUM, 14), 0.9 * floor)
    return union([upper, balls(right, TEMPORAL, 10)], 8)


def fissures(points: Points) -> Field:
    """Distance to the interhemispheric and Sylvian fissures and the sulcus round the insula."""
    x, y, z = mirror(points)
    callosum = np.hypot((y + 6) / 38, (z - 6) / 20)
    middle = np.hypot(x, np.maximum(1 - callosum, 0) * 25)
    across = (z + 2 + 0.38 * y) / np.float32(np.hypot(1, 0.38))
    beyond = np.maximum(np.maximum(39 - x, y - 26), -42 - y)
    island = np.maximum(np.abs(across) - 13, np.abs(y - 2) - 20)
    lateral = np.hypot(across, np.maximum(beyond, 0))
    return np.minimum(middle, np.minimum(lateral, np.hypot(x - 41, np.maximum(island, 0))))


def sulci(rng: np.random.Generator, points: Points, depth: Field, affine: Affine) -> Field:
    """Distance to the nearest sulcal sheet; ``depth`` is that under hull and fissures.

    Half of the pattern is shared by all people, as the main sulci are, and half is a person's own.
    """
    step = 2.5
    shared = noise_box(stream(0, "shared folds"), step=step, smooth=3.4)
    pattern = 0.75 * shared + 0.25 * shared[::-1] + 0.8 * noise_box(rng, step=step, smooth=3.4)
    pattern -= ndimage.gaussian_filter(pattern, 3.5)  # sulci a finger's breadth apart everywhere
    normal = gradient(depth, affine)
    normal /= np.sqrt((normal**2).sum(0)) + 1e-3
    level = look_up(pattern, step, points - 0.75 * np.clip(depth, -5, 24) * normal)
    steep = np.sqrt((gradient(level, affine) ** 2).sum(0)) + 0.02
    reach = np.maximum(15 + 5 * random_field(rng, points, step=8, smooth=9), 10)
    end = np.maximum(np.maximum(depth - reach, 0), ball(points, CORE) + 2)
    return np.hypot(np.abs(level) / steep, end)


def folia(points: Points) -> Field:
    """Phase of the leaves of the cerebellum: 1 in the middle of a leaf, -1 between two."""
    x, y, z = mirror(points)
    return np.cos(20 * np.arctan2(z + 31, y + 38 - 0.12 * x))
