"""Named ways to evaluate. A number means something only together with its protocol's name."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.evaluate import slices, voxel
from brainuad.evaluate.case import Case, Row, checked_cases
from brainuad.evaluate.measure import Measured, measure
from brainuad.evaluate.statistics import RESAMPLES, Interval, bootstrap, counts_interval
from brainuad.evaluate.summary import summarise
from brainuad.evaluate.voxel import Counts
from brainuad.evaluate.writer import Writer
from brainuad.postprocess import Postprocess
from brainuad.types import DataError, UsageError


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
    """``healthy-fpr``, or ``oracle`` where test lesions choose the threshold."""
    rates: tuple[float, ...] | None = None
    """Healthy false-positive rates that are reported; None = all that are given."""

    @property
    def warning(self) -> str | None:
        """What must be printed beside the numbers of an oracle protocol."""
        if self.threshold_source != "oracle":
            return None
        return (
            f"protocol {self.name}: the threshold is chosen on the test lesions (oracle); "
            "the numbers bound what a user would see"
        )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="brainuad",
            title="per scan, brain voxels, thresholds from healthy scans",
            unit="scan",
            region="brain",
            threshold_source="healthy-fpr",
        ),
        Protocol(
            name="local",
            title="local benchmarks: threshold at the 99th percentile of the calibration voxels",
            unit="scan",
            region="brain",
            threshold_source="healthy-fpr",
            rates=(0.01,),
        ),
        Protocol(
            name="mad-ad-max",
            title="Dice per axial slice, best of 201 thresholds on the test labels",
            unit="slice",
            region="grid",
            threshold_source="oracle",
        ),
        Protocol(
            name="mad-ad-global",
            title="best Dice of all pixels pooled, chosen on the test labels",
            unit="pooled",
            region="grid",
            threshold_source="oracle",
        ),
    )
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Rows of the results table, one record per case, and the pooled counts for curves."""

    rows: list[Row]
    cases: list[dict[str, Any]]
    counts: Counts | None
    """Voxels of all lesion cases by score; None without lesion cases."""


def protocol_called(name: str) -> Protocol:
    """The protocol of that name; unknown names list the choices."""
    if name not in PROTOCOLS:
        raise UsageError(f"protocol {name!r}: unknown; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def evaluate_cases(
    cases: Iterable[Case],
    *,
    thresholds: Mapping[float, float],
    protocol: Protocol | str = "brainuad",
    seed: int = 0,
    postprocess: Postprocess | None = None,
    train: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> list[Row]:
    """Rows of the results table; see :func:`evaluate`."""
    return evaluate(
        cases,
        thresholds=thresholds,
        protocol=protocol,
        seed=seed,
        postprocess=postprocess,
        train=train,
        resamples=resamples,
    ).rows


def evaluate(
    cases: Iterable[Case],
    *,
    thresholds: Mapping[float, float],
    protocol: Protocol | str = "brainuad",
    seed: int = 0,
    postprocess: Postprocess | None = None,
    train: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Judge maps in one pass; each is let go before the next one is asked for.

    Args:
        cases: consumed once, in any order.
        thresholds: healthy false-positive rate -> value of the map, from a calibration. Empty:
            only rows that need no threshold.
        protocol: a protocol or its name.
        seed: seed of the run; drives the bootstrap and is written into the rows.
        postprocess: makes the mask from the map, as detection does; None = no component filter.
        train: subjects that must not be tested.
        resamples: bootstrap samples behind each interval.

    Raises:
        DataError: a case that cannot be scored, or a subject that may not be.
    """
    chosen = protocol_called(protocol) if isinstance(protocol, str) else protocol
    writer = Writer(protocol=chosen.name, seed=seed, resamples=resamples)
    stream = checked_cases(cases, train=train)
    if chosen.unit == "scan":
        kept = {r: t for r, t in thresholds.items() if chosen.rates is None or r in chosen.rates}
        measured = [measure(case, kept, postprocess=postprocess) for case in stream]
        return _of_scans(measured, writer)
    return _of_slices(stream, writer, chosen)


def precision_recall(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of the mask at each group of scores, from strict to generous."""
    hits = np.cumsum(counts.lesion[::-1])
    marked = hits + np.cumsum(counts.other[::-1])
    return hits / hits[-1], hits / marked


def _of_scans(measured: list[Measured], writer: Writer) -> Evaluation:
    lesion = [case.counts for case in measured if case.kind == "lesion"]
    return Evaluation(
        rows=summarise(measured, writer),
        cases=[case.record() for case in measured],
        counts=voxel.pool(lesion) if lesion else None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sliced:
    subject: str
    counts: Counts
    all_slices: slices.SliceDice
    lesion_slices: slices.SliceDice


def _of_slices(stream: Iterator[Case], writer: Writer, protocol: Protocol) -> Evaluation:
    """MAD-AD's numbers on the axial slices of the lesion cases."""
    per_slice = protocol.unit == "slice"
    cases = [_sliced(case, per_slice=per_slice) for case in stream if case.kind == "lesion"]
    if not cases:
        raise DataError(f"protocol {protocol.name}: no case with a lesion; it scores no others")
    cases.sort(key=lambda case: case.subject)
    n = len(cases)
    _, lesion, other = voxel.stack([case.counts for case in cases])
    tables, options = (lesion, other), writer.options
    rows = [writer.row("auprc_pooled", counts_interval(
        voxel.ap_of_counts, *tables, words=("auprc_pooled",), **options), n)]  # fmt: skip
    if per_slice:
        for name, parts in (
            ("dice_oracle_slices", [case.all_slices for case in cases]),
            ("dice_oracle_lesion_slices", [case.lesion_slices for case in cases]),
        ):
            rows.append(writer.row(name, _best_mean(parts, name, options), n, "oracle"))
    else:
        found = counts_interval(voxel.max_dice_of_counts, *tables, words=("global",), **options)
        rows.append(writer.row("dice_oracle_pooled", found, n, "oracle"))
    return Evaluation(
        rows=rows,
        cases=[{"subject": case.subject, "kind": "lesion"} for case in cases],
        counts=voxel.pool([case.counts for case in cases]),
    )


def _best_mean(parts: list[slices.SliceDice], name: str, options: dict[str, Any]) -> Interval:
    """Best mean Dice over the slices of the drawn subjects; the threshold is chosen each time."""
    totals = np.stack([part.total for part in parts])
    numbers = np.array([part.slices for part in parts])

    def best(draws: np.ndarray) -> np.ndarray:
        return ((draws @ totals) / (draws @ numbers)[:, None]).max(1)

    return bootstrap(best, len(parts), words=(name,), **options)


def _sliced(case: Case, *, per_slice: bool) -> _Sliced:
    """Counts over the whole grid, and slice Dice over the axial slices that hold brain."""
    assert case.lesion is not None
    highest = float(case.anomaly.max())
    if per_slice and highest > 1 + 1e-6:
        raise DataError(
            f"{case.subject}: map reaches {highest:.3g}, but mad-ad-max has thresholds from 0 to "
            "1; scale the map, or use mad-ad-global"
        )
    maps, lesion = np.moveaxis(case.anomaly, 2, 0), np.moveaxis(case.lesion, 2, 0)
    brain = case.region.any((0, 1))
    with_lesion = lesion.any((1, 2))
    return _Sliced(
        subject=case.subject,
        counts=voxel.binned_counts(case.anomaly, case.lesion),
        all_slices=slices.slice_dice(maps[brain], lesion[brain]),
        lesion_slices=slices.slice_dice(maps[with_lesion], lesion[with_lesion]),
    )
