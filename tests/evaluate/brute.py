"""Published evaluations in the plainest words: loops over voxels, slices and thresholds.

Nothing here uses brainuad's own metrics or steps.
"""

import itertools
import math

import numpy as np
from skimage.measure import label, regionprops
from sklearn import metrics

from brainuad.evaluate.case import Case

SPACING = (1.0, 1.0, 1.0)


def cohort(shape, *, power=1, levels=8, seed=0):
    """Scans with ties; one is missed, one has a dead map, one no lesion, one a lesion outside.

    Scores are k / levels to a power, so that no two of them share a bin.
    """
    cases = []
    for number in range(6):
        rng = np.random.default_rng([seed, number])
        region = np.zeros(shape, bool)
        region[1:-1, 1:-1, 1:-1] = True
        region[1] &= rng.random(shape[1:]) < 0.8  # a frayed edge
        lesion = np.zeros(shape, bool)
        i, j = shape[0] // 3, shape[1] // 3
        lesion[i : i + 4 + number % 2, j : j + 5] = rng.random(shape[2]) < 0.8
        lesion[i, j] = True
        top = levels // 2
        score = rng.integers(0, top, shape) * (rng.random(shape) < 0.6)
        score = score + lesion * rng.integers(top // 2, top, shape) * (1 + number % 3) // 3
        if number == 1:
            lesion[:2] = True  # partly outside the brain
        if number == 2:
            score = np.where(lesion, 0, score)  # missed
        if number == 3:
            score = np.zeros(shape)
        if number == 4:
            lesion[:] = False
        score = np.where(region, score, 0)
        cases.append(
            Case(
                subject=f"sub-{number}", kind="lesion",
                anomaly=((score / levels) ** power).astype(np.float32),
                lesion=lesion, region=region, spacing=SPACING,
            )
        )  # fmt: skip
    return cases


def dice(mask, truth):
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else math.nan


def pooled_dice(maps, truths, threshold):
    marked = [m.astype(float) > threshold for m in maps]
    both = sum(int((m & t).sum()) for m, t in zip(marked, truths, strict=True))
    total = sum(int(m.sum()) + int(t.sum()) for m, t in zip(marked, truths, strict=True))
    return 2 * both / total


def ap(scores, truth):
    return metrics.average_precision_score(np.ravel(truth), np.ravel(scores))


def pooled_ap(maps, truths):
    return ap(
        np.concatenate([m.ravel() for m in maps]), np.concatenate([t.ravel() for t in truths])
    )


def neighbours(volume, offsets, *, mirrored):
    """Values around every voxel: (voxel, neighbour)."""
    reach = 3
    widths = [(reach, reach) if n > 1 or not mirrored else (0, 0) for n in volume.shape]
    padded = np.pad(volume, widths, mode="symmetric" if mirrored else "constant")
    found = []
    for offset in offsets:
        part = tuple(
            slice(w[0] + o, w[0] + o + n) if w[0] else slice(None)
            for w, o, n in zip(widths, offset, volume.shape, strict=True)
        )
        found.append(padded[part])
    return np.stack(found, -1)


def cube_median(volume, size):
    """The element after the middle of the sorted cube, where its size is even."""
    span = range(-(size // 2), size - size // 2)
    values = neighbours(volume, list(itertools.product(span, repeat=3)), mirrored=True)
    return np.sort(values, -1)[..., size**3 // 2]


def slice_median(volume, size):
    span = range(-(size // 2), size // 2 + 1)
    offsets = [(i, j, 0) for i in span for j in span]
    return np.sort(neighbours(volume, offsets, mirrored=True), -1)[..., size**2 // 2]


def eroded(brain, times):
    cross = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)]
    for _ in range(times):
        brain = neighbours(brain, cross, mirrored=False).all(-1)
    return brain


def foreground(brain):
    span = range(-2, 3)
    square = [(i, j, 0) for i in span for j in span]
    return neighbours(brain.astype(float), square, mirrored=False).mean(-1) > 0.95


def without_small(mask, largest):
    labels = np.asarray(label(mask, connectivity=3))
    kept = mask.copy()
    for part in regionprops(labels):
        if part.area_filled <= largest:
            kept &= labels != part.label
    return kept


def yen(volume):
    """Yen's criterion, bin by bin."""
    counts, edges = np.histogram(volume.ravel(), 256)
    p = counts / counts.sum()
    best, at = -math.inf, 0
    for t in range(255):
        low, high = p[: t + 1], p[t + 1 :]
        inside = low.sum() * high.sum()
        value = 2 * math.log(inside) - math.log((low**2).sum() * (high**2).sum())
        if value > best + 1e-12:
            best, at = value, t
    return (edges[at] + edges[at + 1]) / 2


def bisected(maps, truths):
    """The published search by halving, on all voxels together."""
    low, high = 0.0, max(float(m.max()) for m in maps)
    best, chosen = 0.0, 0.0
    for _ in range(10):
        points = (low + (high - low) / 4, high - (high - low) / 4)
        found = [pooled_dice(maps, truths, t) for t in points]
        upper = found[1] > found[0]
        if found[upper] >= best:
            best, chosen = found[upper], points[upper]
        low, high = ((low + high) / 2, high) if upper else (low, (low + high) / 2)
    return best, chosen
