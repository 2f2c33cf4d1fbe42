"""The images of each training step: a place in a seeded permutation, read one step ahead."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from brainuad.method import Batch, Batches
from brainuad.rng import seed_of


class Feed:
    """Batches by step number; use as a context manager.

    Every epoch goes through all images in a new order; a remainder smaller than a batch is left
    out and comes in another epoch. The order depends on seed, stage and epoch alone.

    Args:
        batches: the images.
        size: images in a step, at most as many as there are.
        seed: of the training.
        stage: name of the stage.
    """

    def __init__(self, batches: Batches, *, size: int, seed: int, stage: str):
        self.batches, self.size, self.seed, self.stage = batches, size, seed, stage
        self.steps_per_epoch = len(batches) // size
        self.epoch, self.order = -1, np.empty(0, int)
        self.ahead: tuple[int, Future[Batch]] | None = None
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="feed")

    def __enter__(self) -> "Feed":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.reader.shutdown(wait=True, cancel_futures=True)

    def indices(self, step: int) -> list[int]:
        """Numbers of the images of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            seed = seed_of(self.seed, "order", self.stage, epoch)
            draw = np.random.Generator(np.random.PCG64(seed))
            self.epoch, self.order = epoch, draw.permutation(len(self.batches))
        return self.order[place * self.size : (place + 1) * self.size].tolist()

    def take(self, step: int) -> Batch:
        """The batch of a step; the next one is read meanwhile."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None and ahead[0] == step:
            batch = ahead[1].result()
        else:
            batch = self.batches.get(self.indices(step))
        following = self.indices(step + 1)
        self.ahead = (step + 1, self.reader.submit(self.batches.get, following))
        return batch
