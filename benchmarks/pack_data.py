"""Prepare the healthy training scans of a local benchmark and pack them into one small file.

Usage: python benchmarks/pack_data.py [--data ../shared] [--benchmark ixi-stroke] [--out FILE]

`brainuad fit --packed FILE` fits on it, on a machine that need hold nothing else. `make pack-data`
does the same.
"""

import argparse
import time
from pathlib import Path

from brainuad.benchmark.run import RunSettings, prepare_benchmark
from brainuad.pack import write_pack
from brainuad.pool import Pool


def main() -> None:
    """Pack, and say how large it became."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--benchmark", default="ixi-stroke")
    parser.add_argument("--out", type=Path, default=Path("bench-out/packed.pack"))
    parser.add_argument("--common", type=Path, help="folder that keeps prepared scans")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    settings = RunSettings(common=args.common, workers=args.workers)
    work = args.out.with_name(args.out.name + ".work")
    with Pool(args.workers, progress=True) as pool:
        tasks, shelves = prepare_benchmark(args.benchmark, args.data, settings, pool, out=work)
    store = shelves[tasks[0].name].store
    if store is None:
        raise SystemExit(f"{args.benchmark}: has no healthy scans to fit on; choose another one")
    started = time.perf_counter()
    size = write_pack(store, args.out, progress=True).stat().st_size / 2**20
    seconds = time.perf_counter() - started
    print(f"{args.out}: {len(store.subjects)} scans, {size:.1f} MiB, packed in {seconds:.0f} s")


if __name__ == "__main__":
    main()
