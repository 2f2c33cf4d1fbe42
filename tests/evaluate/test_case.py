"""Bad cases are refused with their names; empty truths follow the stated rule."""

import dataclasses

import numpy as np
import pytest

from brainuad.evaluate.case import COLUMNS, Case, Row, checked, checked_cases
from brainuad.types import DataError

SHAPE = (4, 3, 2)


def case(**changes):
    lesion = np.zeros(SHAPE, bool)
    lesion[1, 1, 1] = True
    given = {
        "subject": "sub-01",
        "kind": "lesion",
        "anomaly": np.ones(SHAPE, np.float32),
        "lesion": lesion,
        "region": np.ones(SHAPE, bool),
        "spacing": (1.0, 1.0, 1.0),
    }
    return Case(**{**given, **changes})


def with_voxel(value, dtype: type = np.float32):
    volume = np.ones(SHAPE, dtype)
    volume[0, 0, 0] = value
    return volume


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "ill"}, "sub-01: unknown kind 'ill'; choose from lesion, clean, sham"),
        (
            {"region": np.ones((4, 3, 3), bool)},
            r"region has shape \(4, 3, 3\), the map \(4, 3, 2\)",
        ),
        ({"lesion": np.ones((3, 3, 2), bool)}, r"lesion mask has shape \(3, 3, 2\)"),
        ({"anomaly": with_voxel(np.nan)}, "sub-01: anomaly map: 1 voxels are NaN"),
        ({"anomaly": with_voxel(-2.0)}, "sub-01: anomaly map: has values down to -2"),
        ({"lesion": with_voxel(4, np.uint8)}, "lesion mask holds the labels 4; only 0 and 1"),
        ({"lesion": with_voxel(0.5)}, "lesion mask holds the labels 0.5"),
        ({"lesion": with_voxel(np.nan)}, "lesion mask holds the labels nan"),
        ({"region": with_voxel(2, np.int16)}, "region holds the labels 2"),
        ({"region": np.zeros(SHAPE, bool)}, "region is empty"),
        ({"lesion": None}, "lesion case without a lesion mask"),
        ({"kind": "sham", "lesion": None}, "sham case without a lesion mask"),
        ({"kind": "sham", "lesion": np.zeros(SHAPE, bool)}, "sham case with an empty mask"),
        ({"kind": "clean"}, "called clean, but its lesion mask holds 1 voxels"),
        (
            {"region": ~case().lesion},  # pyright: ignore[reportOptionalOperand]
            "lesion lies wholly outside the scored region",
        ),
    ],
)
def test_bad_cases_are_refused(changes, match):
    with pytest.raises(DataError, match=match):
        checked(case(**changes))


def test_masks_become_boolean_and_the_lesion_is_cut_to_the_region():
    region = np.ones(SHAPE, np.uint8)
    region[0] = 0
    lesion = np.zeros(SHAPE, np.float64)
    lesion[:2, 0, 0] = 1
    result = checked(case(region=region, lesion=lesion))
    assert result.region.dtype == bool
    assert result.lesion is not None
    np.testing.assert_array_equal(np.argwhere(result.lesion), [[1, 0, 0]])


def test_a_lesion_case_without_lesion_counts_as_healthy():
    result = checked(case(lesion=np.zeros(SHAPE, bool)))
    assert (result.kind, result.lesion) == ("clean", None)


def test_same_subject_may_come_once_per_kind():
    clean = case(kind="clean", lesion=None)
    assert [c.kind for c in checked_cases([case(), clean])] == ["lesion", "clean"]
    with pytest.raises(DataError, match="sub-01: occurs twice as 'lesion'"):
        list(checked_cases([case(), clean, case()]))


def test_training_subjects_and_empty_lists_are_refused():
    with pytest.raises(DataError, match="sub-01: is in both training and test"):
        list(checked_cases([case()], train=["sub-00", "sub-01"]))
    with pytest.raises(DataError, match="no cases; give at least one map"):
        list(checked_cases([]))


def test_rows_have_the_columns_of_the_results_table():
    row = Row(
        metric="auprc_subject", value=0.5, low=0.4, high=0.6, n=3,
        protocol="brainuad", threshold_source="none",
    )  # fmt: skip
    named = row.named(dataset="d", method="m", preset="p")
    assert ",".join(COLUMNS) == (
        "dataset,method,preset,seed,metric,value,low,high,n,protocol,threshold_source"
    )
    assert list(named.record()) == list(COLUMNS)
    assert dataclasses.replace(named, dataset="", method="", preset="") == row
