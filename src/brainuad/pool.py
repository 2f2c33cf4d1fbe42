"""Work on many scans by a few processes with one thread each; results come as they are done."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from brainuad.types import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _start() -> None:
    """One thread each, and Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


class Pool(AbstractContextManager["Pool"]):
    """Processes that share the cores, with a progress bar for each kind of work.

    Args:
        workers: processes; 1 works in this process.
        progress: show bars on standard error.
    """

    def __init__(self, workers: int = 1, *, progress: bool = True):
        if workers < 1:
            raise UsageError(f"workers: {workers} is too few; give 1 or more")
        self.workers = workers
        self.executor: ProcessPoolExecutor | None = None
        self.progress = progress

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes; work that waits is dropped when something went wrong."""
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def map(
        self, work: Callable[[Item], Result], items: Sequence[Item], title: str
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in the order in which they are done.

        Args:
            work: a function of a module (it is sent to other processes by name).
            items: what to work on.
            title: words beside the bar.
        """
        bars = Progress(
            TextColumn("{task.description:32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not (self.progress and items),
        )
        with bars:
            task = bars.add_task(title, total=len(items))
            for pair in self._done(work, items):
                bars.advance(task)
                yield pair

    def _done(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        if self.workers == 1 or len(items) < 2:
            for item in items:
                yield item, work(item)
            return
        futures: dict[Future[Result], Item] = {self._pool().submit(work, i): i for i in items}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _pool(self) -> ProcessPoolExecutor:
        if self.executor is None:
            for name in THREADS:
                os.environ.setdefault(name, "1")  # read by the libraries of the new processes
            self.executor = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), initializer=_start
            )
        return self.executor
