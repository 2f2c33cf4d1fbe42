"""Many scans through one recipe, in worker processes, in the order they were given."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from brainuad.nifti import read_scan
from brainuad.prepare.pipeline import Prepared, prepare_scan
from brainuad.prepare.recipe import Recipe
from brainuad.scan import Scan
from brainuad.types import BrainuadError, SpaceError, UsageError

_AHEAD = 2
"""Scans under way per worker: enough to keep it busy, few enough to bound the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What became of one scan: prepared, or an error that a person can put right.

    Attributes:
        name: the path, or the subject of a scan that was given as such.
        prepared: None when it failed.
        error: None when it worked.
    """

    name: str
    prepared: Prepared | None = None
    error: BrainuadError | None = None


def prepare_many(
    scans: Iterable[Scan | str | Path],
    recipe: Recipe,
    *,
    workers: int = 1,
    modality: str | None = None,
) -> Iterator[Outcome]:
    """Prepare scans one by one, or several at a time; results come in the order of the input.

    Args:
        scans: scans, or paths of files.
        recipe: what to do with each.
        workers: processes, each with one thread; 1 works in this process.
        modality: of files whose name does not tell.

    Yields:
        One outcome for every scan; a failure of one does not stop the others.

    Raises:
        SpaceError: a worker died, most likely because memory ran out.
    """
    if workers < 1:
        raise UsageError(f"workers: must be at least 1, got {workers}; correct it")
    if workers == 1:
        return (_outcome(scan, recipe, modality) for scan in scans)
    return _in_workers(scans, recipe, workers, modality)


def _in_workers(
    scans: Iterable[Scan | str | Path], recipe: Recipe, workers: int, modality: str | None
) -> Iterator[Outcome]:
    # Fresh processes: a fork of one whose libraries have started threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    under_way: deque[Future[Outcome]] = deque()
    try:
        for scan in scans:
            under_way.append(pool.submit(_outcome, scan, recipe, modality))
            if len(under_way) >= _AHEAD * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise SpaceError(
            f"prepare: a worker process was killed (memory?); try fewer workers than {workers}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    threadpool_limits(1)
    torch.set_num_threads(1)


def _outcome(scan: Scan | str | Path, recipe: Recipe, modality: str | None) -> Outcome:
    name = scan.subject if isinstance(scan, Scan) else str(scan)
    try:
        if not isinstance(scan, Scan):
            scan = read_scan(scan, modality=modality)
        return Outcome(name=name, prepared=prepare_scan(scan, recipe))
    except BrainuadError as error:
        return Outcome(name=name, error=error)
