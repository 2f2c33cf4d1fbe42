"""Random slices of prepared scans from the store and from other formats: time and size.

Scans are prepared to the detector's grid and written in each format; slices of random scans are
then read in random order, each file opened anew, as fitting on a cohort does. Prints a table.

Usage: python benchmarks/random_slices.py [--data FOLDER] [--scans 24] [--reads 600]

blosc2 takes part where it is installed (pip install blosc2).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import zarr

from brainuad.nifti import read_scan, write_volume
from brainuad.phantom import phantom
from brainuad.prepare import prepare_scan, recipe
from brainuad.scan import Scan
from brainuad.store import Store

Reader = Callable[[str, int], np.ndarray]


def scans(data: Path, count: int) -> list[Scan]:
    """Real scans cropped to the grid of detectors, or phantoms where there are none."""
    files = sorted((data / "healthy_t1_ixi_2mm").glob("*.nii.gz"))[:count]
    if not files:
        print("no real scans: phantoms take their place")
        made = recipe("phantom")
        return [prepare_scan(phantom(f"sub-{n:02d}"), made).scan for n in range(count)]
    made = recipe("native")
    return [prepare_scan(read_scan(f, modality="T1w"), made).scan for f in files]


def nifti(found: list[Scan], folder: Path, ending: str) -> Reader:
    """Float NIfTI files, packed or not."""
    for scan in found:
        write_volume(folder / f"{scan.subject}{ending}", scan.voxels, like=scan, kind="image")
    return lambda name, k: np.asarray(nib.load(folder / f"{name}{ending}").dataobj[:, :, k])


def stored(found: list[Scan], folder: Path) -> tuple[Reader, Reader]:
    """The store, by its own reader and by zarr."""
    one = found[0]
    store = Store.create(
        folder / "store", recipe_hash="", affine=one.affine, shape=one.voxels.shape, modality="T1w"
    )
    for scan in found:
        store.add(Scan(**{**vars(scan), "affine": one.affine}))
    return store.codes, lambda name, k: np.asarray(zarr.open_array(store.path / name, mode="r")[k])


def blosc(found: list[Scan], folder: Path) -> Reader:
    """blosc2 arrays of the store's numbers, one block per slice."""
    import blosc2

    for scan in found:
        codes = np.moveaxis(np.rint(scan.voxels * 4094).astype(np.uint16), 2, 0)
        made = {"chunks": codes.shape, "blocks": (1, *codes.shape[1:]), "mode": "w"}
        code = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.BITSHUFFLE]}
        path = str(folder / f"{scan.subject}.b2nd")
        blosc2.asarray(np.ascontiguousarray(codes), urlpath=path, cparams=code, **made)
    return lambda name, k: blosc2.open(str(folder / f"{name}.b2nd"), mode="r")[k]


def milliseconds(read: Reader, wanted: list[tuple[str, int]]) -> float:
    """Median time of one slice."""
    times = []
    for name, k in wanted:
        began = time.perf_counter()
        read(name, k)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[len(times) // 10 :])


def megabytes(folder: Path) -> float:
    """Bytes of all files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--reads", type=int, default=600)
    given = parser.parse_args()
    found = scans(given.data, given.scans)
    draw = np.random.default_rng(0)
    names = [found[n].subject for n in draw.integers(0, len(found), given.reads)]
    wanted = list(zip(names, draw.integers(0, found[0].voxels.shape[2], given.reads), strict=True))
    with tempfile.TemporaryDirectory() as name:
        places = {n: Path(name) / n for n in ("packed", "plain", "store", "blosc2")}
        for place in places.values():
            place.mkdir()
        own, through_zarr = stored(found, places["store"])
        ways: dict[str, tuple[Reader, Path]] = {
            ".nii.gz": (nifti(found, places["packed"], ".nii.gz"), places["packed"]),
            ".nii": (nifti(found, places["plain"], ".nii"), places["plain"]),
            "store": (own, places["store"]),
            "store, read by zarr": (through_zarr, places["store"]),
        }
        if find_spec("blosc2"):
            ways["blosc2"] = (blosc(found, places["blosc2"]), places["blosc2"])
        times = {way: milliseconds(read, wanted) for way, (read, _) in ways.items()}
        sizes = {way: megabytes(place) for way, (_, place) in ways.items()}
    print(
        "| format | ms for a slice | times as fast | MB | times the size |\n|---|---|---|---|---|"
    )
    for way, took in times.items():
        speed, size = times[".nii.gz"] / took, sizes[way] / sizes[".nii.gz"]
        print(f"| {way} | {took:.3f} | {speed:.1f} | {sizes[way]:.1f} | {size:.2f} |")


if __name__ == "__main__":
    main()
