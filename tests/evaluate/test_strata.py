"""Groups of scans: each row is the number of the scans of that group alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.test_protocols import THRESHOLDS, by_name, one

from brainuad.evaluate.protocols import evaluate_cases
from brainuad.evaluate.strata import age_band, small_groups

GROUPED = (
    "auprc_subject", "dice_at_fpr_0.01", "lesion_sensitivity", "healthy_fp_ml", "healthy_fpr",
    "healthy_fp_components",
)  # fmt: skip


def cohort():
    for number in range(8):
        kind = "clean" if number % 2 else "lesion"
        words = {"sex": "FM"[number // 2 % 2], "age": age_band(10 * number)}
        yield dataclasses.replace(one(number, kind), strata=words)


def values(cases):
    return by_name(evaluate_cases(cases, thresholds=THRESHOLDS, resamples=50))


@pytest.mark.parametrize("key", ["sex", "age"])
def test_a_group_has_the_numbers_of_its_scans_alone(key):
    whole = values(cohort())
    for word in {case.strata[key] for case in cohort()}:
        alone = values(case for case in cohort() if case.strata[key] == word)
        for name in GROUPED:
            grouped = whole.get(f"{name}[{key}={word}]")
            assert (grouped is None) == (name not in alone)
            if grouped is not None:
                assert grouped.value == pytest.approx(alone[name].value)
                assert grouped.n == alone[name].n


def test_bands_of_ages_come_from_young_to_old():
    words = [name.partition("age=")[2] for name in values(cohort()) if "healthy_fpr[age" in name]
    assert words == ["<20]", "20-39]", "40-59]", "60-79]"]


@given(age=st.floats(0, 120))
def test_an_age_lies_in_its_band(age):
    word = age_band(age)
    if word[0] == "<":
        assert age < float(word[1:])
    elif word[0] == ">":
        assert age >= float(word[2:])
    else:
        low, high = word.split("-")
        assert int(low) <= age < int(high) + 1


def test_small_groups_are_named_with_their_numbers():
    records = [{"sex": "F", "kind": "lesion"}] * 12 + [{"sex": "F", "kind": "clean"}] * 3
    records += [{"sex": "M", "kind": "lesion"}, {"sex": "M", "kind": "sham"}]
    assert small_groups(records, ["sex"]) == [
        "sex=F: only 3 scans healthy; its numbers are a hint at most",
        "sex=M: only 1 scan with a lesion; its numbers are a hint at most",
    ]
    assert not small_groups(records, [])


def test_scans_without_thresholds_have_only_what_needs_none():
    rows = by_name(evaluate_cases(cohort(), thresholds={}, resamples=50))
    grouped = [name for name in rows if "[sex=" in name]
    assert {name.partition("[")[0] for name in grouped} == {"auprc_subject"}
    assert np.isfinite([rows[name].value for name in grouped]).all()
