"""Whole protocols against brute-force loops on small cohorts, and their invariants."""

import dataclasses
import math

import numpy as np
import pytest
from skimage.measure import label
from sklearn import metrics

from brainuad.evaluate import protocols
from brainuad.evaluate.case import Case
from brainuad.evaluate.protocols import PROTOCOLS, evaluate, evaluate_cases, precision_recall, roc
from brainuad.postprocess import Postprocess
from brainuad.types import DataError, UsageError

SHAPE = (10, 9, 8)
SPACING = (2.0, 2.0, 3.0)
VOXEL_ML = 0.012
THRESHOLDS = {0.01: 2.0, 0.05: 1.25}
ROUNDS = 200


def one(number, kind):
    rng = np.random.default_rng([number, ("lesion", "clean", "sham").index(kind)])
    region = rng.random(SHAPE) < 0.8
    anomaly = np.round(rng.gamma(1.0, 0.5, SHAPE) * 8) / 8  # ties, and on edges of the bins
    lesion = np.zeros(SHAPE, bool)
    lesion[2 : 4 + number % 3, 3:6, 2:4] = True
    if kind == "lesion":
        anomaly = anomaly + lesion * rng.integers(0, 3, SHAPE)
    return Case(
        subject=f"sub-{number}",
        kind=kind,
        anomaly=(anomaly * region).astype(np.float32),
        lesion=None if kind == "clean" else lesion,
        region=region,
        spacing=SPACING,
        strata={"size": "SML"[number % 3], "site": "ab"[number % 2]} if kind == "lesion" else {},
    )


def cohort(n=6):
    for number in range(n):
        yield one(number, "lesion")
        yield one(number + 2, "clean")
        if number % 2:
            yield one(number, "sham")


def by_name(rows):
    names = [row.metric for row in rows]
    assert len(set(names)) == len(names)
    return {row.metric: row for row in rows}


def inside(case):
    region = case.region
    truth = np.zeros(SHAPE, bool) if case.lesion is None else case.lesion
    return case.anomaly[region], truth[region]


def ap(cases):
    scores, truth = zip(*map(inside, cases), strict=True)
    return metrics.average_precision_score(np.concatenate(truth), np.concatenate(scores))


@pytest.fixture(scope="module")
def found():
    return by_name(evaluate_cases(cohort(), thresholds=THRESHOLDS, resamples=ROUNDS, seed=5))


@pytest.fixture(scope="module")
def kinds():
    cases = list(cohort())
    return {k: [c for c in cases if c.kind == k] for k in ("lesion", "clean", "sham")}


def test_ranking_rows_equal_scikit_learn(found, kinds):
    lesion = kinds["lesion"]
    assert found["auprc_subject"].value == pytest.approx(np.mean([ap([c]) for c in lesion]))
    assert found["auprc_pooled"].value == pytest.approx(ap(lesion))
    assert found["auprc_sham"].value == pytest.approx(np.mean([ap([c]) for c in kinds["sham"]]))
    truths = np.concatenate([inside(c)[1] for c in lesion])
    assert found["prevalence"].value == pytest.approx(truths.mean())
    small = [c for c in lesion if c.strata["size"] == "S"]
    assert found["auprc_subject[size=S]"].value == pytest.approx(np.mean([ap([c]) for c in small]))
    assert found["auprc_subject[size=S]"].n == len(small)
    assert {"auprc_subject[site=a]", "auprc_subject[site=b]"} <= set(found)


def brute_dice(cases, threshold):
    scores, truth = (np.concatenate(part) for part in zip(*map(inside, cases), strict=True))
    mask = scores > threshold
    return 2 * np.sum(mask & truth) / (mask.sum() + truth.sum())


@pytest.mark.parametrize("rate", THRESHOLDS)
def test_dice_at_a_healthy_rate_is_strictly_above_the_threshold(found, kinds, rate):
    lesion, threshold = kinds["lesion"], THRESHOLDS[rate]
    expected = np.mean([brute_dice([c], threshold) for c in lesion])
    assert found[f"dice_at_fpr_{rate}"].value == pytest.approx(expected)
    pooled = brute_dice(lesion, threshold)
    assert found[f"dice_at_fpr_{rate}_pooled"].value == pytest.approx(pooled)
    scores, truth = (np.concatenate(part) for part in zip(*map(inside, lesion), strict=True))
    precision = metrics.precision_score(truth, scores > threshold)
    assert found[f"precision_at_fpr_{rate}_pooled"].value == pytest.approx(precision)


def test_oracle_rows_are_the_best_of_all_thresholds_and_say_so(found, kinds):
    lesion = kinds["lesion"]
    tries = np.unique(np.concatenate([c.anomaly.ravel() for c in lesion]))
    best = max(brute_dice(lesion, t) for t in tries)
    assert found["dice_oracle_pooled"].value == pytest.approx(best)
    own = np.mean([max(brute_dice([c], t) for t in tries) for c in lesion])
    assert found["dice_oracle_subject"].value == pytest.approx(own)
    for name, row in found.items():
        assert ("oracle" in name) <= (row.threshold_source == "oracle")
        masked = any(word in name for word in ("at_fpr", "healthy", "surface", "hd95"))
        assert masked == (row.threshold_source == "healthy-fpr") or "lesion" in name


def test_healthy_rows_count_what_is_marked_in_clean_scans(found, kinds):
    masks = [(c.anomaly > 2.0) & c.region for c in kinds["clean"]]
    assert found["healthy_fp_ml"].value == pytest.approx(
        VOXEL_ML * np.mean([m.sum() for m in masks])
    )
    rates = [m.sum() / c.region.sum() for m, c in zip(masks, kinds["clean"], strict=True)]
    assert found["healthy_fpr"].value == pytest.approx(np.mean(rates))
    counts = [np.asarray(label(m, connectivity=3)).max() for m in masks]
    assert found["healthy_fp_components"].value == pytest.approx(np.mean(counts))
    generous = [VOXEL_ML * np.sum((c.anomaly > 1.25) & c.region) for c in kinds["clean"]]
    assert found["healthy_fp_ml[fpr=0.05]"].value == pytest.approx(np.mean(generous))


def test_lesion_rows_count_components(found, kinds):
    hit = total = false = 0
    for case in kinds["lesion"]:
        mask = (case.anomaly > 2.0) & case.region
        true = np.asarray(label(case.lesion & case.region, connectivity=3))
        parts = np.asarray(label(mask, connectivity=3))
        total += true.max()
        hit += len(set(np.unique(true[mask])) - {0})
        false += parts.max() - len(set(np.unique(parts[true > 0])) - {0})
    assert found["lesion_sensitivity"].value == pytest.approx(hit / total)
    assert found["lesion_f1"].value == pytest.approx(2 * hit / (hit + total + false))
    assert 0 <= found["lesion_f1_iou0.1"].value <= 1
    assert 0 < found["froc_mean_sensitivity"].value <= 1


def test_scan_rows_rank_lesion_scans_against_clean_ones(found, kinds):
    scores, ill = [], []
    for case in [*kinds["lesion"], *kinds["clean"]]:
        scores.append(case.anomaly[case.region].max())  # fewer than 1000 voxels: the top one
        ill.append(case.kind == "lesion")
    assert found["scan_auroc"].value == pytest.approx(metrics.roc_auc_score(ill, scores))
    expected = metrics.average_precision_score(ill, scores)
    assert found["scan_auprc"].value == pytest.approx(expected)
    assert found["scan_auroc"].n == 8  # sub-0 ... sub-7


def test_rows_carry_protocol_seed_and_intervals(found):
    for row in found.values():
        assert (row.protocol, row.seed) == ("brainuad", 5)
        bare = row.n == 1 or "undefined" in row.metric
        assert row.interval == ("none" if bare else "percentile")
        assert row.low <= row.value <= row.high or bare


def test_order_of_cases_changes_no_number(found):
    shuffled = list(cohort())
    np.random.default_rng(0).shuffle(shuffled)
    again = by_name(evaluate_cases(shuffled, thresholds=THRESHOLDS, resamples=ROUNDS, seed=5))
    assert list(again) == list(found)
    for name, row in found.items():  # repr, because NaN differs from itself
        assert repr(again[name]) == repr(row)


def test_cases_are_let_go_one_by_one():
    alive = []

    def stream():
        for case in cohort(3):
            alive.append(case)
            yield case
            assert len(alive) == 1
            alive.pop()

    result = evaluate(stream(), thresholds=THRESHOLDS, resamples=ROUNDS)
    assert len(result.cases) == 7
    sizes = [value.size for r in result.cases for value in r.values() if hasattr(value, "size")]
    assert max(sizes, default=1) == 1


def test_small_components_leave_the_mask_as_in_detection():
    post = Postprocess(median=0, minimum_ml=4 * VOXEL_ML)
    rows = by_name(evaluate_cases(
        cohort(), thresholds={0.01: 1.25}, postprocess=post, resamples=ROUNDS))  # fmt: skip
    kept = [
        post.mask(np.where(c.region, c.anomaly, 0).astype(np.float32), 1.25, SPACING)
        for c in cohort()
        if c.kind == "clean"
    ]
    assert rows["healthy_fp_ml"].value == pytest.approx(VOXEL_ML * np.mean([k.sum() for k in kept]))


def test_a_perfect_map_and_a_dead_map():
    perfect = [
        dataclasses.replace(c, anomaly=(c.lesion & c.region).astype(np.float32))
        for c in cohort()
        if c.kind == "lesion"
    ]
    rows = by_name(evaluate_cases(perfect, thresholds={0.01: 0.5}, resamples=ROUNDS))
    for name in ("auprc_subject", "auprc_pooled", "dice_oracle_pooled", "dice_at_fpr_0.01",
                 "lesion_sensitivity", "lesion_f1", "lesion_f1_iou0.1"):  # fmt: skip
        assert (rows[name].value, rows[name].low, rows[name].high) == (1, 1, 1)
    dead = [dataclasses.replace(c, anomaly=np.zeros(SHAPE, np.float32)) for c in cohort()]
    rows = by_name(evaluate_cases(dead, thresholds={0.01: 0.0}, resamples=ROUNDS))
    assert rows["auprc_pooled"].value == pytest.approx(rows["prevalence"].value)
    assert rows["dice_at_fpr_0.01"].value == 0
    assert rows["healthy_fp_ml"].value == 0
    assert rows["scan_auroc"].value == 0.5


def test_missing_kinds_and_thresholds_only_drop_their_rows():
    clean = by_name(evaluate_cases([one(0, "clean"), one(1, "clean")], thresholds=THRESHOLDS,
                                   resamples=ROUNDS))  # fmt: skip
    assert set(clean) == {f"healthy_{m}{t}" for m in ("fp_ml", "fpr", "fp_components")
                          for t in ("", "[fpr=0.05]")}  # fmt: skip
    bare = by_name(evaluate_cases(cohort(2), thresholds={}, resamples=ROUNDS))
    assert "auprc_subject" in bare
    assert not any(row.threshold_source == "healthy-fpr" for row in bare.values())


def test_one_subject_has_values_without_intervals():
    rows = by_name(evaluate_cases([one(1, "lesion")], thresholds=THRESHOLDS, resamples=ROUNDS))
    assert rows["auprc_subject"].value > 0
    assert all(math.isnan(row.low) and row.interval == "none" for row in rows.values())


def test_local_keeps_the_one_percent_threshold_only():
    rows = by_name(evaluate_cases(
        cohort(), thresholds=THRESHOLDS, protocol="local", resamples=ROUNDS, seed=5))  # fmt: skip
    assert "dice_at_fpr_0.01" in rows
    assert not any("0.05" in name for name in rows)
    assert {row.protocol for row in rows.values()} == {"local"}


def test_case_records_hold_the_numbers_behind_the_means(found):
    records = evaluate(cohort(), thresholds=THRESHOLDS, resamples=ROUNDS).cases
    lesion = [r for r in records if r["kind"] == "lesion"]
    assert np.mean([r["auprc"] for r in lesion]) == pytest.approx(found["auprc_subject"].value)
    dice = [r["dice_at_fpr_0.01"] for r in lesion]
    assert np.mean(dice) == pytest.approx(found["dice_at_fpr_0.01"].value)
    healthy = [r["marked_ml_at_fpr_0.01"] for r in records if r["kind"] == "clean"]
    assert np.mean(healthy) == pytest.approx(found["healthy_fp_ml"].value)


def test_precision_recall_curve_equals_scikit_learn(kinds):
    counts = evaluate(kinds["lesion"], thresholds={}, resamples=ROUNDS).counts
    assert counts is not None
    recall, precision = precision_recall(counts)
    scores, truth = (
        np.concatenate(part) for part in zip(*map(inside, kinds["lesion"]), strict=True)
    )
    p, r, _ = metrics.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(recall, r[:-1][::-1])
    np.testing.assert_allclose(precision, p[:-1][::-1])


def test_roc_equals_scikit_learn(kinds):
    counts = evaluate(kinds["lesion"], thresholds={}, resamples=ROUNDS).counts
    assert counts is not None
    false, hits = roc(counts)
    scores, truth = (
        np.concatenate(part) for part in zip(*map(inside, kinds["lesion"]), strict=True)
    )
    f, t, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(false, f[1:])
    np.testing.assert_allclose(hits, t[1:])


def scaled(cases):
    return [dataclasses.replace(c, anomaly=c.anomaly / 16) for c in cases]


def test_mad_ad_max_equals_a_loop_over_slices_and_thresholds(kinds):
    cases = scaled(kinds["lesion"])
    rows = by_name(evaluate_cases(
        cases, thresholds={}, protocol="mad-ad-max", resamples=ROUNDS))  # fmt: skip
    means, lesion_means = [], []
    for threshold in np.linspace(0, 1, 201):
        dice, true_slices = [], []
        for case in cases:
            for k in np.flatnonzero(case.region.any((0, 1))):
                mask = case.anomaly[..., k].astype(float) > threshold
                truth = (case.lesion & case.region)[..., k]
                both = 2 * np.sum(mask & truth) / (mask.sum() + truth.sum() + 1e-6)
                dice.append(both if truth.any() else float(not mask.any()))
                true_slices.append(truth.any())
        means.append(np.mean(dice))
        lesion_means.append(np.mean(np.array(dice)[true_slices]))
    assert rows["dice_oracle_slices"].value == pytest.approx(max(means))
    assert rows["dice_oracle_lesion_slices"].value == pytest.approx(max(lesion_means))


def test_mad_ad_global_pools_the_whole_grid(kinds):
    rows = by_name(evaluate_cases(
        kinds["lesion"], thresholds={}, protocol="mad-ad-global", resamples=ROUNDS))  # fmt: skip
    scores = np.concatenate([c.anomaly.ravel() for c in kinds["lesion"]])
    truth = np.concatenate([(c.lesion & c.region).ravel() for c in kinds["lesion"]])
    expected = metrics.average_precision_score(truth, scores)
    assert rows["auprc_pooled"].value == pytest.approx(expected)
    p, r, _ = metrics.precision_recall_curve(truth, scores)
    best = np.max(2 * p * r / (p + r + 1e-10))
    assert rows["dice_oracle_pooled"].value == pytest.approx(best)
    assert rows["dice_oracle_pooled"].threshold_source == "oracle"


def test_slice_protocols_refuse_what_they_cannot_score(kinds):
    with pytest.raises(DataError, match="thresholds from 0 to 1; scale the map"):
        evaluate(kinds["lesion"], thresholds={}, protocol="mad-ad-max")
    with pytest.raises(DataError, match="mad-ad-global: no case with a lesion"):
        evaluate(kinds["clean"], thresholds={}, protocol="mad-ad-global")


def test_unknown_protocols_list_the_choices():
    with pytest.raises(
        UsageError, match="'best': unknown; choose from brainuad, local, mad-ad-max"
    ):
        evaluate(cohort(1), thresholds={}, protocol="best")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_whose_threshold_has_seen_lesions_warn_and_no_others(name):
    protocol = protocols.protocol_called(name)
    words = {"oracle": "on the test lesions (oracle)", "labelled-validation": "validation scans"}
    expected = words.get(protocol.threshold_source)
    assert (protocol.warning is None) == (expected is None)
    assert (expected or "") in (protocol.warning or "")
    assert (expected is None) == (name in ("brainuad", "local", "anoddpm"))
