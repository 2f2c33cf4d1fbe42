"""Maps put aside on disk, for protocols that must look at every map twice."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np


class Shelf:
    """Maps and lesions in a temporary folder, so that no cohort is held in memory.

    Used as a context: the folder is gone afterwards, whatever happens. It takes 5 bytes a voxel.
    """

    def __enter__(self) -> "Shelf":
        self._folder = tempfile.TemporaryDirectory(prefix="brainuad-")
        self._subjects: list[str] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def put(self, subject: str, scores: np.ndarray, lesion: np.ndarray) -> None:
        """Put one map aside, in single precision."""
        place = Path(self._folder.name) / str(len(self._subjects))
        np.save(place.with_suffix(".map.npy"), np.asarray(scores, np.float32))
        np.save(place.with_suffix(".lesion.npy"), np.asarray(lesion, bool))
        self._subjects.append(subject)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Subject, map and lesion of each, in the order they were put aside."""
        for number, subject in enumerate(self._subjects):
            place = Path(self._folder.name) / str(number)
            yield (
                subject,
                np.load(place.with_suffix(".map.npy")),
                np.load(place.with_suffix(".lesion.npy")),
            )
