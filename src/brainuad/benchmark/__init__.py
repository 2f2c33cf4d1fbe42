"""Methods compared on local benchmarks: one table, one page, resumable."""

from brainuad.benchmark.data import LOADERS, BenchmarkData, load_benchmark
from brainuad.benchmark.entries import Entry
from brainuad.benchmark.run import METHODS, RunSettings, run_benchmark

__all__ = [
    "LOADERS",
    "METHODS",
    "BenchmarkData",
    "Entry",
    "RunSettings",
    "load_benchmark",
    "run_benchmark",
]
