"""Error, size and speed of ways to keep prepared scans; prints one JSON line.

Usage: python benchmarks/store.py [--data FOLDER]

With the folder of real scans (default ../shared/data) the first IXI scan is resampled off its
grid; without it a smooth random brain takes its place, and the line says so.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from scipy import ndimage
from zarr.codecs import BloscCodec

from brainuad.scan import Scan
from brainuad.store import Store

SHAPE = (80, 96, 80)
READS = 500
CODES: dict[str, tuple[Callable, Callable]] = {
    "uint8": (lambda v: np.rint(v * 255).astype(np.uint8), lambda c: c / 255),
    "uint12": (lambda v: np.rint(v * 4095).astype(np.uint16), lambda c: c / 4095),
    "uint16": (lambda v: np.rint(v * 65535).astype(np.uint16), lambda c: c / 65535),
    "float16": (lambda v: v.astype(np.float16), lambda c: c.astype(np.float32)),
    "float32": (lambda v: v, lambda c: c),
}


def real(folder: Path) -> np.ndarray | None:
    """An IXI scan, resampled linearly so that its values leave their 8-bit steps."""
    files = sorted((folder / "healthy_t1_ixi_2mm").glob("*.nii.gz"))
    if not files:
        return None
    from brainuad.nifti import read_scan

    voxels = read_scan(files[0]).voxels
    matrix, offset = np.diag([1.03, 0.98, 1.01]), (0.3, -0.4, 0.2)
    moved = ndimage.affine_transform(voxels, matrix, offset, output_shape=SHAPE, order=1)
    return np.clip(moved / np.percentile(moved[moved > 0], 99.5), 0, 1).astype(np.float32)


def smooth() -> np.ndarray:
    """A ball of smooth noise."""
    draw = np.random.default_rng(0)
    voxels = ndimage.gaussian_filter(draw.random(SHAPE), 2) + 0.02 * draw.standard_normal(SHAPE)
    grid = np.meshgrid(*[np.linspace(-1.3, 1.3, n) for n in SHAPE], indexing="ij")
    inside = sum(g**2 for g in grid) < 1
    return (np.clip(voxels, 0, 1) * inside).astype(np.float32)


def milliseconds(read: Callable[[int], object], slices: list[int]) -> dict[str, float]:
    """Median and spread (quartiles) of the time for one slice, after a warm-up."""
    times = []
    for k in slices:
        begin = time.perf_counter()
        read(k)
        times.append(1000 * (time.perf_counter() - begin))
    low, median, high = statistics.quantiles(times[10:], n=4)
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def code(voxels: np.ndarray, name: str, folder: Path) -> dict[str, float]:
    """Error and compressed bytes of one way to write intensities."""
    to, back = CODES[name]
    codes = to(np.moveaxis(voxels, 2, 0))
    array = zarr.create_array(
        folder / name,
        shape=codes.shape,
        dtype=codes.dtype,
        chunks=(1, *codes.shape[1:]),
        shards=codes.shape,
        compressors=BloscCodec(
            typesize=codes.dtype.itemsize, cname="zstd", clevel=5, shuffle="bitshuffle"
        ),
    )
    array[:] = codes
    error = np.abs(back(codes).astype(np.float64) - np.moveaxis(voxels, 2, 0))
    size = sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
    return {"largest_error": float(f"{error.max():.3g}"), "bytes": size}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    voxels = real(parser.parse_args().data)
    source = "IXI scan" if voxels is not None else "smooth noise"
    voxels = smooth() if voxels is None else voxels
    scan = Scan(voxels=voxels, affine=np.eye(4), modality="T1w", subject="sub-01", brain=voxels > 0)
    slices = np.random.default_rng(0).integers(0, SHAPE[2], READS).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes = {kind: code(voxels, kind, folder) for kind in CODES}
        store = Store.create(
            folder / "store", recipe_hash="", affine=np.eye(4), shape=SHAPE, modality="T1w"
        )
        store.add(scan)
        through_zarr = zarr.open_array(store.path / "sub-01", mode="r")
        disk, memory = store.batches(memory_mb=0), store.batches()
        inside = [k % len(disk) for k in slices]
        speed = {
            "zarr": milliseconds(lambda k: np.asarray(through_zarr[k]), slices),
            "store": milliseconds(lambda k: store.codes("sub-01", k), slices),
            "batch of one, from disk": milliseconds(lambda k: disk.get([k]), inside),
            "batch of one, from memory": milliseconds(lambda k: memory.get([k]), inside),
        }
    machine = {
        "python": platform.python_version(),
        "zarr": zarr.__version__,
        "numpy": np.__version__,
    }
    print(
        json.dumps(
            {"source": source, "codes": codes, "ms_per_slice": speed, "reads": READS, **machine}
        )
    )


if __name__ == "__main__":
    main()
