"""Named ways to evaluate. A number means something only together with its protocol's name."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from brainuad.evaluate.case import Case, Row, checked_cases
from brainuad.evaluate.froc import together
from brainuad.evaluate.measure import Measured, Pool, measure
from brainuad.evaluate.protocol import Evaluation, Protocol, Study
from brainuad.evaluate.published import PUBLISHED
from brainuad.evaluate.statistics import RESAMPLES
from brainuad.evaluate.summary import summarise
from brainuad.evaluate.voxel import Counts
from brainuad.evaluate.writer import Writer
from brainuad.postprocess import Postprocess
from brainuad.types import UsageError

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "Protocol",
    "evaluate",
    "evaluate_cases",
    "precision_recall",
    "protocol_called",
    "roc",
]

_OWN = (
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
)
PROTOCOLS = {protocol.name: protocol for protocol in (*_OWN, *PUBLISHED)}
"""All protocols by name."""


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
    validation: Iterable[Case] | None = None,
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
        validation=validation,
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
    validation: Iterable[Case] | None = None,
    seed: int = 0,
    postprocess: Postprocess | None = None,
    train: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Judge maps in one pass; each is let go before the next one is asked for.

    Protocols that must see a map twice put it aside in a temporary folder.

    Args:
        cases: consumed once, in any order.
        thresholds: healthy false-positive rate -> value of the map, from a calibration. Empty:
            only rows that need no threshold. Published protocols have thresholds of their own
            and do not look at these.
        protocol: a protocol or its name.
        validation: cases from which the protocol takes its threshold, where it says so; none of
            their subjects may be tested. Consumed once, before the test cases.
        seed: seed of the run; drives the bootstrap and is written into the rows.
        postprocess: makes the mask from the map, as detection does; None = no component filter.
            Published protocols have steps of their own.
        train: subjects that must not be tested.
        resamples: bootstrap samples behind each interval.

    Raises:
        DataError: a case that cannot be scored, or a subject that may not be.
        UsageError: an unknown protocol, or validation cases that are missing or not wanted.
    """
    chosen = protocol_called(protocol) if isinstance(protocol, str) else protocol
    if validation is not None and chosen.validation is None:
        raise UsageError(f"protocol {chosen.name}: takes no validation cases; leave them out")
    writer = Writer(protocol=chosen.name, seed=seed, resamples=resamples)
    if chosen.judge is not None:
        return chosen.judge(Study(chosen, writer, cases, validation=validation, train=train))
    kept = {r: t for r, t in thresholds.items() if chosen.rates is None or r in chosen.rates}
    stream = checked_cases(cases, train=train)
    pool = Pool()
    measured = [pool.take(measure(case, kept, postprocess=postprocess)) for case in stream]
    return _of_scans(measured, pool.total, writer)


def precision_recall(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of the mask at each group of scores, from strict to generous."""
    hits = np.cumsum(counts.lesion[::-1])
    marked = hits + np.cumsum(counts.other[::-1])
    return hits / hits[-1], hits / marked


def roc(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Share of other voxels and of lesion voxels marked, at each group of scores from strict on."""
    hits, false = np.cumsum(counts.lesion[::-1]), np.cumsum(counts.other[::-1])
    return false / false[-1], hits / hits[-1]


def _of_scans(measured: list[Measured], total: Counts | None, writer: Writer) -> Evaluation:
    lesion = [case for case in measured if case.kind == "lesion"]
    return Evaluation(
        rows=summarise(measured, total, writer),
        cases=[case.record() for case in measured],
        counts=total,
        candidates=together([case.candidates for case in lesion]) if lesion else None,
    )
