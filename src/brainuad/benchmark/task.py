"""What one task of a benchmark is, and the reading of its lists."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from brainuad.benchmark.cases import TestCase
from brainuad.benchmark.sources import Source
from brainuad.postprocess import Postprocess
from brainuad.prepare import Recipe
from brainuad.types import MissingError


@dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """One task: healthy scans to fit on, healthy scans for the threshold, and the test cases."""

    name: str
    """What tables call it."""
    bench: str
    """Name of the benchmark that it is part of."""
    modality: str
    recipe: Recipe
    """Preparation."""
    train: tuple[Source, ...]
    calibration: tuple[Source, ...]
    cases: tuple[TestCase, ...]
    notes: tuple[str, ...] = ()
    """What a reader of its numbers must know."""
    baselines: tuple[str, ...] = ()
    """Beginnings of the names of the simple methods that are shown beside ours."""
    subjects: int
    """Test subjects of the whole list, which the simple methods were measured on."""
    postprocess: Postprocess = field(default_factory=Postprocess)
    """What is done to maps before they are thresholded."""
    region_known: bool = False
    """Whether the scored region of a case is handed to the preparation as its brain."""

    def test_source(self, case: TestCase) -> Source:
        """The scan of a test case."""
        brain = case.region if self.region_known else None
        return Source(subject=case.name, path=case.image, modality=self.modality, brain=brain)


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a list."""
    if not path.is_file():
        raise MissingError(f"{path}: no such list; give the folder that holds benchmarks")
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def case_of(
    folder: Path, row: dict[str, str], *, subject: str, strata: dict[str, str] | None = None
) -> TestCase:
    """A case from its row of the list; strata without a word are left out."""
    return TestCase(
        name=row["case"],
        subject=subject,
        kind=row["kind"],
        image=folder / row["image"],
        truth=folder / row["gt"],
        region=folder / row["region"],
        strata={key: word for key, word in (strata or {}).items() if word},
    )
