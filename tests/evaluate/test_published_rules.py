"""What must hold for every published protocol: invariants, refusals, records, descriptions."""

import dataclasses
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate import brute
from tests.evaluate.brute import cohort

from brainuad.evaluate import steps
from brainuad.evaluate.case import checked
from brainuad.evaluate.protocols import PROTOCOLS, evaluate
from brainuad.evaluate.published import PUBLISHED
from brainuad.evaluate.shelf import Shelf
from brainuad.evaluate.thresholds import above, by_subject
from brainuad.types import DataError, UsageError

SHAPE = (15, 14, 126)
NAMES = [protocol.name for protocol in PUBLISHED]


def called(cases, prefix, kind="lesion"):
    return [
        dataclasses.replace(
            c, subject=prefix + c.subject, kind=kind, lesion=c.lesion if kind == "lesion" else None
        )
        for c in cases
    ]


def others(name):
    """Validation cases, where the protocol takes some."""
    kind = PROTOCOLS[name].validation
    return kind and called(cohort(SHAPE, seed=1), "v", kind)


def rows(name, cases, validation=None):
    if PROTOCOLS[name].validation:
        validation = validation or others(name)
    found = evaluate(cases, thresholds={}, protocol=name, validation=validation, resamples=20)
    return {row.metric: row for row in found.rows}


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_cases_changes_nothing(name):
    cases, validation = cohort(SHAPE), others(name)
    first = rows(name, cases, validation)
    again = rows(name, cases[::-1], validation and validation[::-1])
    assert list(first) == list(again)
    for metric, row in first.items():  # repr, because NaN differs from itself
        assert repr(again[metric]) == repr(row)


@pytest.mark.parametrize("name", ["mad-ad-global", "behrendt-paper", "uad-imag", "medianomaly"])
def test_a_monotone_map_of_the_scores_changes_no_oracle_and_no_precision(name):
    """Of the protocols that try every value: the others have thresholds of a fixed scale."""

    def squared(cases):
        return [dataclasses.replace(c, anomaly=c.anomaly**2) for c in cases]

    cases, validation = same_range(cohort(SHAPE)), others(name)
    plain = rows(name, cases, validation)
    bent = rows(name, squared(cases), validation and squared(validation))
    kept = [m for m in plain if m.startswith(("auprc", "dice"))]
    assert len(kept) >= 2
    for metric in kept:
        assert bent[metric].value == pytest.approx(plain[metric].value, abs=1e-12)


def same_range(cases):
    """Every map reaches 1, so that scaling by its own maximum keeps the order across maps."""
    for case in cases:
        case.anomaly[2:5, 2:5, 60:63] = 1
    return cases


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_let_go_one_by_one(name):
    alive: list[weakref.ref] = []

    def stream():
        for number in range(6):
            case = cohort(SHAPE)[number]
            alive.append(weakref.ref(case.anomaly))
            yield case
            del case
            assert sum(one() is not None for one in alive) <= 2

    rows(name, stream())
    assert len(alive) == 6


@pytest.mark.parametrize("name", ["mad-ad-global", "itermask2", "thor-atlas", "disyre-upd",
                                  "medianomaly", "anoddpm"])  # fmt: skip
def test_a_perfect_map_scores_one(name):
    cases = [
        dataclasses.replace(c, anomaly=(c.lesion & c.region).astype(np.float32),
                            lesion=c.lesion & c.region)
        for c in cohort(SHAPE)
    ]  # fmt: skip
    found = rows(name, cases)
    kept = [row.value for metric, row in found.items() if not metric.startswith("prevalence")]
    assert kept == pytest.approx([1.0] * len(kept))


def test_lesions_outside_the_brain_are_missed_and_not_dropped():
    case = cohort(SHAPE)[0]
    lesion = case.lesion & case.region
    inside = dataclasses.replace(case, anomaly=lesion.astype(np.float32), lesion=lesion)
    beyond = lesion.copy()
    beyond[0, :, 50:60] = True
    outside = dataclasses.replace(inside, lesion=beyond)
    assert rows("anoddpm", [inside])["dice_at_0.5"].value == 1
    expected = [brute.dice(lesion[..., k], beyond[..., k]) for k in range(SHAPE[2])
                if beyond[..., k].any()]  # fmt: skip
    assert rows("anoddpm", [outside])["dice_at_0.5"].value == pytest.approx(np.mean(expected))
    assert rows("anoddpm", [outside])["dice_at_0.5"].value < 1


def test_subjects_are_counted_once_even_with_two_scans():
    cases = cohort(SHAPE)
    found = rows("medianomaly", [*cases, *called(cases[:2], "", "clean")])
    assert {row.n for row in found.values()} == {6}


def test_scans_that_are_not_scored_say_why():
    cases = [*cohort(SHAPE), *called(cohort(SHAPE)[:1], "h", "clean")]
    found = evaluate(cases, thresholds={}, protocol="andi", resamples=20)
    assert [line["subject"] for line in found.cases] == sorted(c.subject for c in cases)
    why = {line["subject"]: line.get("left_out") for line in found.cases}
    assert why["hsub-0"] == "kind clean is not scored"
    assert why["sub-4"] == "no lesion"
    assert why["sub-0"] is None
    assert {row.n for row in found.rows} == {5}


def test_a_lesion_scan_with_an_empty_truth_stays_one_only_where_the_whole_is_judged():
    empty = cohort(SHAPE)[4]
    assert (checked(empty).kind, checked(empty, whole=True).kind) == ("clean", "lesion")


# Refusals


@pytest.mark.parametrize(
    ("name", "words"),
    [("behrendt", "scans with lesion masks"), ("behrendt-paper", "scans with lesion masks"),
     ("uad-imag", "healthy scans")],
)  # fmt: skip
def test_missing_validation_scans_are_named(name, words):
    with pytest.raises(UsageError, match=rf"{name}: takes its threshold from validation {words}.*"
                       r"give them as validation= \(--validation FOLDER\)"):  # fmt: skip
        evaluate(cohort(SHAPE), thresholds={}, protocol=name)
    wrong = called(cohort(SHAPE), "v", "clean" if "lesion" in words else "lesion")
    with pytest.raises(DataError, match=f"no validation case is of the kind .*needs {words}"):
        evaluate(cohort(SHAPE), thresholds={}, protocol=name, validation=wrong)


@pytest.mark.parametrize("name", ["brainuad", "kascenas"])
def test_validation_scans_that_nobody_asks_for_are_refused(name):
    with pytest.raises(UsageError, match=f"protocol {name}: takes no validation cases"):
        evaluate(cohort(SHAPE), thresholds={}, protocol=name, validation=cohort(SHAPE))


def test_nobody_is_in_validation_and_test():
    with pytest.raises(DataError, match="sub-0: is in both validation and test"):
        evaluate(cohort(SHAPE), thresholds={}, protocol="behrendt", validation=cohort(SHAPE))
    with pytest.raises(DataError, match="sub-0: is in both training and test"):
        evaluate(cohort(SHAPE), thresholds={}, protocol="kascenas", train=["sub-0"])


def test_validation_lesions_that_no_threshold_finds_are_refused():
    dead = [
        dataclasses.replace(c, anomaly=np.zeros(SHAPE, np.float32))
        for c in called(cohort(SHAPE), "v")
    ]
    for name in ("behrendt", "behrendt-paper"):
        with pytest.raises(DataError, match=f"{name}: no threshold finds a lesion voxel"):
            evaluate(cohort(SHAPE), thresholds={}, protocol=name, validation=dead)


@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_without_lesions_is_refused(name):
    with pytest.raises(DataError, match=f"{name}: no case with a lesion"):
        rows(name, cohort(SHAPE)[4:5])


@pytest.mark.parametrize(
    ("name", "wanted"), [("itermask2", "70 to 89"), ("thor-atlas", "95"), ("meissen", "15 to 124")]
)
def test_a_grid_without_the_published_slices_is_refused(name, wanted):
    with pytest.raises(DataError, match=f"sub-0: has 50 axial slices.*takes number {wanted} of"):
        rows(name, cohort((9, 8, 50)))


def test_itermask2_refuses_a_cohort_without_lesions_in_its_slices():
    cases = cohort(SHAPE)
    for case in cases:
        case.lesion[..., 60:100] = False
    with pytest.raises(DataError, match="itermask2: no case with a lesion where it looks"):
        rows("itermask2", cases)


def test_thor_refuses_maps_above_its_thresholds():
    tall = [dataclasses.replace(c, anomaly=c.anomaly * 2) for c in cohort(SHAPE)]
    with pytest.raises(DataError, match="thor-atlas has thresholds from 0 to 1; scale the map"):
        rows("thor-atlas", tall)


# Descriptions


@pytest.mark.parametrize("protocol", PUBLISHED, ids=NAMES)
def test_every_entry_says_where_it_comes_from_and_what_it_does(protocol):
    for field in ("publication", "grid", "aggregation", "threshold", "empty", "judge"):
        assert getattr(protocol, field)
    assert protocol.unit in ("scan", "slice", "pooled")
    assert protocol.region in ("brain", "grid")
    assert any(protocol.grid in line for line in protocol.remarks)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        protocol.name = "other"


@pytest.mark.parametrize("name", NAMES)
def test_rows_say_where_their_threshold_comes_from(name):
    found = rows(name, cohort(SHAPE))
    assert found
    allowed = {
        "dice_oracle": "oracle", "dice_at_validation": "labelled-validation",
        "dice_at_fpr": "healthy-fpr", "dice_at_0.5": "fixed", "dice_yen": "automatic",
        "auprc": "none", "slice_au": "none", "prevalence": "none",
    }  # fmt: skip
    for metric, row in found.items():
        (source,) = [s for start, s in allowed.items() if metric.startswith(start)]
        assert row.threshold_source == source
        assert row.protocol == name
        assert row.low <= row.value <= row.high or np.isnan(row.low)


# Building blocks


@given(
    scores=st.lists(st.integers(0, 8), max_size=40),
    cuts=st.lists(st.integers(-1, 9), min_size=1, max_size=12),
)
def test_counts_above_are_strict(scores, cuts):
    values, thresholds = np.array(scores, np.float32) / 8, np.sort(np.array(cuts)) / 8
    expected = [sum(v > t for v in values) for t in thresholds]
    assert above(values, thresholds).tolist() == expected


def test_rows_of_a_subject_are_summed():
    (table, numbers) = by_subject(["b", "a", "b"], [[1, 2], [3, 4], [5, 6]], [1, 1, 1])
    assert table.tolist() == [[3, 4], [6, 8]]
    assert numbers.tolist() == [1, 2]


def test_the_foreground_is_where_24_of_25_neighbours_are_brain():
    region = np.zeros((9, 9, 2), bool)
    region[1:8, 1:8] = True
    region[1, 1, 1] = False
    inner = steps.inner_foreground(region)
    assert (inner[..., 0].sum(), inner[..., 1].sum()) == (9, 9)
    region[2, 2, 1] = False
    assert steps.inner_foreground(region)[..., 1].sum() == 9 - 4 + 3
    np.testing.assert_array_equal(steps.inner_foreground(region), brute.foreground(region))


def test_scaling_a_constant_map_gives_zero():
    assert not steps.min_max(np.full((3, 3), 0.7, np.float32)).any()


def test_the_shelf_gives_back_what_was_put_there_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    case = cohort(SHAPE)[0]
    with Shelf() as shelf:
        shelf.put("a", case.anomaly, case.lesion)
        shelf.put("b", case.anomaly * 2, ~case.lesion)
        for _ in range(2):
            (a, scores, lesion), (b, doubled, rest) = shelf
            assert (a, b) == ("a", "b")
            np.testing.assert_array_equal(scores * 2, doubled)
            np.testing.assert_array_equal(lesion, ~rest)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_bad_case_leaves_no_map_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bad = dataclasses.replace(cohort(SHAPE)[1], anomaly=np.full(SHAPE, np.nan, np.float32))
    for name in ("kascenas", "meissen"):
        with pytest.raises(DataError, match="sub-1: anomaly map: .* voxels are NaN"):
            rows(name, [cohort(SHAPE)[0], bad])
        assert not list(tmp_path.iterdir())
