"""Rows of outlines, panoptic quality and restoration against loops over the cases."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from tests.evaluate.test_protocols import SPACING, by_name, one

from brainuad.evaluate import voxel
from brainuad.evaluate.case import Case, checked
from brainuad.evaluate.lesion import match
from brainuad.evaluate.measure import measure
from brainuad.evaluate.protocols import evaluate, evaluate_cases
from brainuad.evaluate.restoration import restoration
from brainuad.evaluate.statistics import counts_interval
from brainuad.evaluate.surface import hausdorff95, surface_dice
from brainuad.evaluate.writer import Writer
from brainuad.histogram import RESAMPLED_MANTISSA
from brainuad.postprocess import label_components
from brainuad.types import DataError

THRESHOLD = 2.0
SHAPE = (10, 9, 8)


def lesions(count=5):
    """Cases whose map is nearly their lesion; that of the last one misses it wholly."""
    for number in range(count):
        case = one(number, "lesion")
        region = np.ones(SHAPE, bool)
        last = number == count - 1
        assert case.lesion is not None
        mask = np.roll(case.lesion, 5 if last else number % 2, axis=0) & ~(case.lesion & last)
        anomaly = (3.0 * mask + 0.5).astype(np.float32)
        yield dataclasses.replace(case, region=region, anomaly=anomaly)


def rows(cases):
    return by_name(evaluate_cases(cases, thresholds={0.01: THRESHOLD, 0.05: 0.1}, resamples=50))


def parts():
    for case in lesions():
        yield match(case.anomaly > THRESHOLD, label_components(case.lesion), SPACING)


def test_a_missed_lesion_counts_as_undefined_and_not_as_a_distance():
    found = rows(lesions())
    assert (found["hd95_n_undefined"].value, found["hd95_n_undefined"].n) == (1, 5)
    assert found["hd95_mm"].n == 4
    distances = [
        np.mean([
            hausdorff95(m.found == p.component, m.true == p.lesion, SPACING) for p in m.pairs
        ])
        for m in parts()
        if m.pairs
    ]  # fmt: skip
    assert found["hd95_mm"].value == pytest.approx(np.mean(distances))
    lost = sum(len(m.lesions.hit) - len(m.pairs) for m in parts())
    assert found["hd95_lesions_undefined"].value == lost >= 1


def test_surface_dice_is_of_all_scans_at_the_main_threshold():
    found = rows(lesions())["surface_dice_2mm"]
    each = [surface_dice(c.anomaly > THRESHOLD, c.lesion, SPACING) for c in lesions()]
    assert found.n == 5
    assert found.value == pytest.approx(np.mean(each))
    assert min(each) < 1


def test_panoptic_quality_pools_the_lesions_of_all_scans():
    found = rows(lesions())
    pooled = [m.lesions for m in parts()]
    total = pooled[0]
    for other in pooled[1:]:
        total = total + other
    assert total.close > 0
    assert found["lesion_pq"].value == pytest.approx(total.panoptic_quality)
    assert found["lesion_sq"].value == pytest.approx(total.segmentation_quality)
    assert found["lesion_rq"].value == pytest.approx(total.recognition_quality)


def test_cases_tell_their_distances():
    records = evaluate(lesions(), thresholds={0.01: THRESHOLD}, resamples=50).cases
    assert [r["unmatched_lesions"] for r in records].count(0) == 4
    assert np.isnan([r["hd95_mm"] for r in records]).sum() == 1
    assert all(0 <= r["surface_dice"] <= 1 for r in records)


def restored(number, shift=0.0):
    case, rng = one(number, "clean"), np.random.default_rng(number)
    scan = rng.random(SHAPE).astype(np.float32)
    return dataclasses.replace(case, scan=scan, healthy=scan * 0.9 + np.float32(shift))


def test_restoration_is_the_mean_over_the_healthy_scans_that_have_a_counterpart():
    cases = [restored(n) for n in range(4)]
    found = rows([*cases, one(9, "clean"), *lesions(2)])
    for name in ("l1", "psnr", "ssim"):
        each = [getattr(restoration(c.scan, c.healthy, c.region), name) for c in cases]
        row = found[f"restoration_{name}"]
        assert row.value == pytest.approx(np.mean(each))
        assert (row.n, row.threshold_source) == (4, "none")


def test_lesion_scans_have_no_restoration_error():
    ill = dataclasses.replace(restored(0), kind="lesion", lesion=one(0, "lesion").lesion)
    assert not [name for name in rows([ill]) if "restoration" in name]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"healthy": None}, "give scan and healthy counterpart, or neither"),
        ({"scan": np.zeros((2, 2, 2), np.float32)}, r"scan has shape \(2, 2, 2\), the map"),
        ({"healthy": np.full(SHAPE, np.nan)}, "healthy counterpart has voxels that are NaN"),
    ],
)
def test_counterparts_that_cannot_be_compared_are_refused(changes, match):
    with pytest.raises(DataError, match=match):
        checked(dataclasses.replace(restored(0), **changes))


def peak_of(count):
    """Most memory that evaluating this many volumes takes at a time, in bytes."""
    shape = (48, 48, 48)

    def stream():
        for number in range(count):
            rng = np.random.default_rng(number)
            lesion = np.zeros(shape, bool)
            lesion[10:20, 10:20, 10:20] = True
            anomaly = (np.round(rng.random(shape) * 64) / 64 + lesion).astype(np.float32)
            region = np.ones(shape, bool)
            yield Case(
                subject=f"sub-{number}", kind="lesion", anomaly=anomaly, lesion=lesion,
                region=region, spacing=SPACING,
            )  # fmt: skip

    tracemalloc.start()
    evaluate_cases(stream(), thresholds={0.01: 1.0}, resamples=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_cohort():
    one_map = 48**3 * 4
    peak_of(2)  # what is imported on the way
    assert peak_of(24) - peak_of(8) < one_map


def grainy(count=14):
    """Cases whose maps overlap with their lesions more or less, in scores of many values."""
    for number in range(count):
        case, rng = one(number, "lesion"), np.random.default_rng(number)
        assert case.lesion is not None
        lesion = np.kron(case.lesion, np.ones((4, 4, 4), bool))
        anomaly = rng.gamma(2.0, 0.2, lesion.shape) + lesion * rng.uniform(0.1, 0.8)
        yield dataclasses.replace(
            case,
            region=np.ones_like(lesion),
            lesion=lesion,
            anomaly=anomaly.astype(np.float32),
        )


@pytest.mark.parametrize(
    ("name", "metric"),
    [("auprc_pooled", voxel.ap_of_counts), ("dice_oracle_pooled", voxel.max_dice_of_counts)],
)
def test_pooled_values_come_from_fine_bins_and_their_intervals_nearly_do(name, metric):
    found = by_name(evaluate_cases(grainy(), thresholds={}, resamples=2000, seed=5))[name]
    parts = [voxel.binned_counts(case.anomaly, case.lesion) for case in grainy()]
    whole = voxel.pool(parts)
    assert found.value == pytest.approx(float(metric(whole.lesion, whole.other)), abs=1e-12)
    _, lesion, other = voxel.stack(parts)
    fine = counts_interval(metric, lesion, other, seed=5, words=(name,), resamples=2000)
    assert fine.high - fine.low > 0.02
    # The same draws in wider bins: the ends may move by a tenth of the width.
    reach = (fine.high - fine.low) / 10
    assert (found.low, found.high) == pytest.approx((fine.low, fine.high), abs=reach)


@pytest.mark.parametrize("name", ["auprc_pooled", "dice_oracle_pooled"])
def test_the_interval_is_moved_as_far_as_the_value(name):
    """Bins so wide that a value of theirs is far from that of the fine counts."""
    metric = {"auprc_pooled": voxel.ap_of_counts, "dice_oracle_pooled": voxel.max_dice_of_counts}
    fine = [measure(checked(case), {}) for case in grainy()]
    wide = [dataclasses.replace(m, counts=voxel.coarser(m.counts, mantissa=0)) for m in fine]
    total = voxel.pool([m.counts for m in fine])
    writer = Writer(protocol="local", seed=5, resamples=200)
    (row,) = writer.pooled(name, metric[name], wide, total)
    _, lesion, other = voxel.stack([m.counts for m in wide])
    coarse = counts_interval(metric[name], lesion, other, seed=5, words=(name,), resamples=200)
    shift = float(metric[name](total.lesion, total.other)) - coarse.value
    assert abs(shift) > 0.005
    assert row.value == pytest.approx(coarse.value + shift)
    assert (row.low, row.high) == pytest.approx((coarse.low + shift, coarse.high + shift))


def test_what_is_kept_of_a_case_does_not_grow_with_how_finely_it_is_told_apart():
    scores = np.random.default_rng(0).gamma(2.0, 0.1, 300_000).astype(np.float32)
    fine = voxel.binned_counts(scores, scores > 0.5)
    kept = voxel.coarser(fine, mantissa=RESAMPLED_MANTISSA)
    size = [sum(getattr(c, n).nbytes for n in ("scores", "lesion", "other")) for c in (fine, kept)]
    assert size[1] < size[0] / 8
