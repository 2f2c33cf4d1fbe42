"""How far planted spheres move, and how much they shrink, from a scan to the template and home.

For every grid that scanners write and every radius, spheres are planted into the brain of a
phantom of the template, written to a file, read, brought to the detector's grid by an affine of a
head, and back. Prints the worst and the median error of each; exit code 1 where a limit is passed.

Usage: python benchmarks/round_trip.py [--spheres 40]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy.spatial.transform import Rotation

from brainuad.nifti import read_scan
from brainuad.prepare.grid import MNI_2MM
from brainuad.prepare.pipeline import Prepared
from brainuad.prepare.resample import resample_mask
from brainuad.scan import Scan

EXTENT_MM = 190.0
RADII_MM = (4.0, 8.0, 16.0)
REACH_MM = 35.0
"""Middles of spheres lie within this of the middle of the brain."""
MOST_MM, MOST_SHARE = 0.5, 0.03
GRIDS = {
    "1 mm, RAS": ((1.0, 1.0, 1.0), (0, 0, 0), "RAS"),
    "1 mm, LAS": ((1.0, 1.0, 1.0), (0, 0, 0), "LAS"),
    "1 mm, PSR": ((1.0, 1.0, 1.0), (0, 0, 0), "PSR"),
    "1 mm, oblique, flipped (LPI)": ((1.0, 1.0, 1.0), (20, -15, 10), "LPI"),
    "0.9 x 0.9 x 5 mm, RAS": ((0.9, 0.9, 5.0), (0, 0, 0), "RAS"),
    "0.9 x 0.9 x 5 mm, LAS, oblique": ((0.9, 0.9, 5.0), (12, 8, -20), "LAS"),
    "0.9 x 5 x 0.9 mm, PSR": ((0.9, 5.0, 0.9), (0, 0, 0), "PSR"),
    "2 mm, oblique, PSR": ((2.0, 2.0, 2.0), (-8, 25, 5), "PSR"),
}


def grid(spacing: tuple[float, ...], degrees: tuple[float, ...]) -> tuple[tuple, np.ndarray]:
    """Shape and affine of a grid about the origin."""
    shape = tuple(int(np.ceil(EXTENT_MM / edge)) for edge in spacing)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return shape, affine


def in_file(shape: tuple, affine: np.ndarray, axes: str, folder: Path) -> Scan:
    """A scan that was stored with its axes in another order, as it is read."""
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes)
    )
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)
    stored = orientations.apply_orientation(voxels, turn)
    to = affine @ orientations.inv_ornt_aff(turn, shape)
    path = folder / "sub-01_T1w.nii"
    nib.save(nib.Nifti1Image(stored, to), path)
    return read_scan(path)


def spheres(scan: Scan, radius: float, count: int) -> Iterator[np.ndarray]:
    """Masks of spheres at random places, in the voxels of a scan."""
    draw = np.random.default_rng(int(radius))
    index = np.indices(scan.voxels.shape).reshape(3, -1)
    places = (scan.affine[:3, :3] @ index).T + scan.affine[:3, 3]
    for _ in range(count):
        centre = draw.uniform(-1, 1, 3) * REACH_MM
        inside = np.linalg.norm(places - centre, axis=1) <= radius
        yield inside.reshape(scan.voxels.shape)


def errors(scan: Scan, planted: np.ndarray) -> tuple[float, float]:
    """Millimetres that a mask moves and the share of its volume that it gains or loses."""
    head = np.eye(4)
    head[:3, :3] = Rotation.from_euler("xyz", (9, -4, 6), degrees=True).as_matrix()
    head[:3, :3] *= (0.96, 1.04, 1.08)
    head[:3, 3] = (1.3, -17.2, 8.6)
    placed, there = head @ scan.affine, MNI_2MM
    found = resample_mask(planted, placed, there.shape, there.affine)
    brain = np.ones(scan.voxels.shape, bool)
    original = Scan(**{**vars(scan), "brain": brain})
    moved = Scan(
        voxels=found.astype(np.float32),
        affine=there.affine,
        modality="T1w",
        subject="x",
        brain=found,
    )
    prepared = Prepared(scan=moved, original=original, placed=placed, report={})
    home = prepared.mask_to_original(found)
    middles = [scan.affine[:3, :3] @ np.argwhere(m).mean(0) for m in (planted, home)]
    share = home.sum() / planted.sum() - 1
    return float(np.linalg.norm(middles[0] - middles[1])), float(abs(share))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spheres", type=int, default=40, help="of each radius on each grid")
    count, bad = parser.parse_args().spheres, 0
    print("| grid | radius, mm | worst shift, mm | median | worst volume, % | median |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (spacing, degrees, axes) in GRIDS.items():
            scan = in_file(*grid(spacing, degrees), axes, Path(folder))
            for radius in RADII_MM:
                found = np.array([errors(scan, s) for s in spheres(scan, radius, count)])
                (shift, share), (shifts, shares) = found.max(0), np.median(found, 0)
                bad += int(shift > MOST_MM) + int(share > MOST_SHARE)
                row = (f"{shift:.3f}", f"{shifts:.3f}", f"{100 * share:.2f}", f"{100 * shares:.2f}")
                print(f"| {name} | {radius:g} | {' | '.join(row)} |", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
