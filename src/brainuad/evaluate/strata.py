"""Tables by age, sex, site or size: the same numbers for groups of scans."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brainuad.evaluate.case import Row
from brainuad.evaluate.measure import Measured, main_rate
from brainuad.evaluate.writer import Writer

FEW = 10
"""Groups with fewer scans than this are named in a remark."""
AGES = (20, 40, 60, 80)
"""Years at which a band of ages begins."""
UNKNOWN = "unknown"
"""Group of the subjects whose cell in the table is empty or ``n/a``."""


def age_band(age: float | int) -> str:
    """The band of an age in years: ``<20``, ``20-39``, ``40-59``, ``60-79`` or ``>=80``."""
    below = sum(age >= edge for edge in AGES)
    if below in (0, len(AGES)):
        return f"<{AGES[0]}" if not below else f">={AGES[-1]}"
    return f"{AGES[below - 1]}-{AGES[below] - 1}"


def strata_rows(lesion: Sequence[Measured], clean: Sequence[Measured], writer: Writer) -> list[Row]:
    """Rows ``metric[key=word]`` for every group of scans.

    Of lesion scans AUPRC, Dice and lesions found; of healthy scans what is marked in them.
    """
    rows: list[Row] = []
    for key, word in groups([*lesion, *clean]):
        ill, well = _in(lesion, key, word), _in(clean, key, word)
        tail = f"[{key}={word}]"
        rows += writer.mean(f"auprc_subject{tail}", [case.auprc for case in ill])
        rows += _thresholded(ill, well, tail, writer)
    return rows


def _thresholded(
    ill: Sequence[Measured], well: Sequence[Measured], tail: str, writer: Writer
) -> list[Row]:
    rates = [*ill, *well][0].at
    if not rates:
        return []
    main, source = main_rate(rates), "healthy-fpr"
    lesions = [case.at[main].lesions for case in ill]
    healthy = [case.at[main] for case in well]
    return [
        *writer.mean(f"dice_at_fpr_{main:g}{tail}", [c.at[main].overlap.dice for c in ill], source),
        *writer.share(
            f"lesion_sensitivity{tail}",
            [sum(found.hit) for found in lesions],
            [len(found.hit) for found in lesions],
            source,
        ),
        *writer.mean(f"healthy_fp_ml{tail}", [at.marked_ml for at in healthy], source),
        *writer.mean(
            f"healthy_fpr{tail}", [at.overlap.false_positive_rate for at in healthy], source
        ),
        *writer.mean(
            f"healthy_fp_components{tail}", [at.lesions.components for at in healthy], source
        ),
    ]


def groups(cases: Iterable[Measured]) -> list[tuple[str, str]]:
    """Every key with every word that occurs, in order; bands of ages from young to old."""
    found = {(key, word) for case in cases for key, word in case.strata.items()}
    return sorted(found, key=lambda pair: (pair[0], _rank(pair[1]), pair[1]))


def _rank(word: str) -> int:
    """Where a word stands among its like: bands of ages by their first year, others after them."""
    bands = [age_band(edge) for edge in (0, *AGES)]
    return bands.index(word) if word in bands else len(bands)


def _in(cases: Sequence[Measured], key: str, word: str) -> list[Measured]:
    return [case for case in cases if case.strata.get(key) == word]


def small_groups(cases: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """A remark for each group with fewer than 10 scans of a kind that is compared.

    Args:
        cases: records of an evaluation, with ``kind`` and the keys.
        keys: what tables are split by.
    """
    counts: dict[tuple[str, str, str], int] = {}
    for case in cases:
        for key in keys:
            group = (key, str(case[key]), str(case["kind"]))
            counts[group] = counts.get(group, 0) + 1
    names = {"lesion": "with a lesion", "clean": "healthy"}
    return [
        f"{key}={word}: only {n} scan{'s' if n > 1 else ''} {names[kind]}; "
        "its numbers are a hint at most"
        for (key, word, kind), n in sorted(counts.items())
        if n < FEW and kind in names
    ]
