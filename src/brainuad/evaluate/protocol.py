"""What a protocol is, and the study it judges: test cases, validation cases, records."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.evaluate.case import Case, Row, checked_cases
from brainuad.evaluate.froc import Candidates
from brainuad.evaluate.summary import Writer
from brainuad.evaluate.voxel import Counts
from brainuad.types import DataError, UsageError

_WARNINGS = {
    "oracle": "the threshold is chosen on the test lesions (oracle); "
    "the numbers bound what a user would see",
    "labelled-validation": "the threshold is chosen on the lesions of validation scans; "
    "it is not to be had without labelled scans of the same kind",
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One published or own way to evaluate."""

    name: str
    """What tables print."""
    title: str
    """One line for people."""
    unit: str
    """What a Dice is of: ``scan``, ``slice`` or ``pooled`` pixels."""
    region: str
    """Voxels that count: ``brain`` (the case's region) or ``grid`` (all, with the background)."""
    threshold_source: str
    """``healthy-fpr``, ``fixed``, ``labelled-validation`` (lesions of other scans choose the
    threshold) or ``oracle`` (test lesions do)."""
    rates: tuple[float, ...] | None = None
    """Healthy false-positive rates that are reported; None = all that are given."""
    publication: str = ""
    """Where it comes from."""
    grid: str = ""
    """Grid of the publication; maps are judged on the grid they are given on."""
    steps: tuple[str, ...] = ()
    """What is done to the given map and to the mask, in this order."""
    aggregation: str = ""
    """How one number comes from many slices or scans."""
    threshold: str = ""
    """Rule of the threshold; a voxel is marked when strictly above it."""
    empty: str = ""
    """What becomes of a unit without lesion voxels."""
    notes: tuple[str, ...] = ()
    """What to mind, and what the publication leaves open and was chosen here."""
    kinds: tuple[str, ...] = ("lesion",)
    """Kinds of cases that are scored."""
    cut: bool = False
    """Lesion voxels outside the region are dropped, and scans without any left are healthy."""
    validation: str | None = None
    """Kind of the validation cases it cannot do without; None = takes none."""
    judge: "Judge | None" = None
    """Computes the numbers; None = scan by scan, in the region, at the given thresholds."""

    @property
    def warning(self) -> str | None:
        """What must be printed beside numbers whose threshold has seen lesions."""
        words = _WARNINGS.get(self.threshold_source)
        return None if words is None else f"protocol {self.name}: {words}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines for people: what is done, on which grid it was published, what to mind."""
        facts = {
            "published grid": self.grid,
            "steps": ", then ".join(self.steps),
            "aggregation": self.aggregation,
            "threshold": self.threshold,
            "without a lesion": self.empty,
        }
        lines = [f"{name}: {text}" for name, text in facts.items() if text]
        return (*lines, *self.notes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Rows of the results table, one record per case, and the pooled counts for curves."""

    rows: list[Row]
    cases: list[dict[str, Any]]
    counts: Counts | None
    """Voxels of all lesion cases by score; None where they are not kept."""
    candidates: Candidates | None = None
    """Lesions and false components of all lesion cases; None where they are not kept."""


class Study:
    """Cases under one published protocol, consumed once; what became of each is recorded."""

    def __init__(
        self,
        protocol: Protocol,
        writer: Writer,
        cases: Iterable[Case],
        *,
        validation: Iterable[Case] | None = None,
        train: Collection[str] = (),
    ):
        self.protocol = protocol
        self.writer = writer
        self._cases = cases
        self._validation = validation
        self._train = set(train)
        self._used: set[str] = set()
        self._records: list[dict[str, Any]] = []

    def validation(self) -> Iterator[Case]:
        """Checked validation cases of the kind that the protocol needs; ask before :meth:`test`.

        Raises:
            UsageError: none were given.
            DataError: none of that kind, or one that cannot be scored.
        """
        kind, name = self.protocol.validation, self.protocol.name
        words = {"lesion": "scans with lesion masks", "clean": "healthy scans"}.get(str(kind))
        if self._validation is None:
            raise UsageError(
                f"protocol {name}: takes its threshold from validation {words}, and none are "
                "given; give them as validation= (--validation FOLDER)"
            )
        for case in self._checked(self._validation):
            if case.kind == kind:
                self._used.add(case.subject)
                yield case
        if not self._used:
            raise DataError(
                f"protocol {name}: no validation case is of the kind {kind!r}; it needs {words}"
            )

    def test(self) -> Iterator[Case]:
        """Checked test cases of the protocol's kinds, the lesion whole unless it is to be cut.

        Raises:
            DataError: a case that cannot be scored, or none with a lesion voxel.
        """
        lesions = 0
        for case in self._checked(self._cases):
            if case.subject in self._used:
                raise DataError(
                    f"{case.subject}: is in both validation and test; take it out of one of them"
                )
            if case.kind not in self.protocol.kinds:
                self.leave_out(case, f"kind {case.kind} is not scored")
                continue
            lesions += case.lesion is not None
            yield case
        if not lesions:
            raise DataError(
                f"protocol {self.protocol.name}: no case with a lesion; it scores no others"
            )

    def need(self, scored: Sequence[object]) -> None:
        """Raise unless some case with a lesion could be scored."""
        if not scored:
            raise DataError(
                f"protocol {self.protocol.name}: no case with a lesion where it looks "
                f"({', '.join(self.protocol.steps)}); it scores no others"
            )

    def _checked(self, cases: Iterable[Case]) -> Iterator[Case]:
        return checked_cases(cases, train=self._train, whole=not self.protocol.cut)

    def note(self, case: Case, **numbers: Any) -> None:
        """Keep a line for the table of cases."""
        self._records.append({"subject": case.subject, "kind": case.kind, **numbers})

    def leave_out(self, case: Case, why: str) -> None:
        """Keep a line that says why a case was not scored."""
        self.note(case, left_out=why)

    def evaluation(self, rows: list[Row], *, counts: Counts | None = None) -> Evaluation:
        """The result; cases in the order of their names."""
        records = sorted(self._records, key=lambda line: (line["subject"], line["kind"]))
        return Evaluation(rows=rows, cases=records, counts=counts)


Judge = Callable[[Study], Evaluation]


def truth_of(case: Case) -> np.ndarray:
    """The lesion mask, empty where there is none."""
    return np.zeros(case.anomaly.shape, bool) if case.lesion is None else case.lesion
