"""The published evaluation of pDDPM and cDDPM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.evaluate.behrendt import (
    behrendt_map,
    behrendt_scan,
    behrendt_threshold,
    bisection,
)
from brainuad.evaluate.voxel import exact_counts, max_dice_of_counts, overlap
from brainuad.types import UsageError


@pytest.mark.parametrize("case", range(4))
def test_search_equals_the_published_one(golden, case):
    arrays = {k[6:]: v for k, v in golden("threshold_search").items() if f"case{case}_" in k}
    found = bisection(arrays["score"], arrays["label"] > 0)
    assert found.dice == pytest.approx(arrays["best_dice"].item(), abs=1e-6)
    assert found.threshold == pytest.approx(arrays["best_threshold"].item(), abs=1e-6)


def volume(arrays, number):
    image, healthy, lesion = (arrays[f"vol{number}_{part}"] for part in ("image", "recon", "seg"))
    return image, healthy, arrays["mask"] > 0, lesion > 0


def test_a_study_equals_the_published_numbers(golden):
    arrays = golden("volume_evaluation")
    validation = [volume(arrays, n) for n in (0, 1)]
    chosen = behrendt_threshold((behrendt_map(*v[:3]), v[3]) for v in validation)
    assert chosen.threshold == pytest.approx(arrays["val_threshold"].item(), abs=1e-6)
    scans = [behrendt_scan(*volume(arrays, n), threshold=chosen.threshold) for n in (2, 3, 4)]
    for name, key in (
        ("dice", "DiceScorePerVol"),
        ("auprc", "AUPRCPerVol"),
        ("auroc", "AUCPerVol"),
        ("l1", "l1recoErrorAll"),
        ("l1_healthy", "l1recoErrorHealthy"),
        ("l1_lesion", "l1recoErrorUnhealthy"),
        ("l2", "l2recoErrorAll"),
        ("hausdorff_voxels", "HausPerVol"),
        ("score", "AnomalyScoreRecoPerVol"),
    ):
        got = [getattr(scan, name) for scan in scans]
        np.testing.assert_allclose(got, arrays[f"test_{key}"], atol=1e-6, err_msg=name)
    best = [scan.best.dice for scan in scans]
    np.testing.assert_allclose(best, arrays["test_BestDicePerVol"], atol=1e-6)
    dice = [scan.dice for scan in scans]
    assert np.mean(dice) == pytest.approx(arrays["test_DicePerVolMean"].item(), abs=1e-6)
    assert np.std(dice) == pytest.approx(arrays["test_DicePerVolStd"].item(), abs=1e-6)


@pytest.mark.parametrize("number", [0, 1])
def test_a_validation_scan_has_the_published_threshold(golden, number):
    arrays = golden("volume_evaluation")
    image, healthy, brain, lesion = volume(arrays, number)
    found = bisection(behrendt_map(image, healthy, brain), lesion)
    assert found.dice == pytest.approx(arrays["val_BestDicePerVol"][number], abs=1e-6)
    assert found.threshold == pytest.approx(arrays["val_BestThresholdPerVol"][number], abs=1e-6)


@given(seed=st.integers(0, 10**6), size=st.integers(2, 200), levels=st.integers(1, 12))
def test_the_search_finds_what_it_says_and_never_beats_trying_all(seed, size, levels):
    rng = np.random.default_rng(seed)
    scores, lesion = rng.random(size).astype(np.float32), rng.random(size) < 0.3
    lesion[0] = True
    found = bisection(scores, lesion, levels=levels)
    assert found.dice == pytest.approx(overlap(scores > found.threshold, lesion).dice)
    counts = exact_counts(scores, lesion)
    assert found.dice <= max_dice_of_counts(counts.lesion, counts.other) + 1e-12


def test_maps_without_any_score_are_searched_in_0_to_1():
    found = bisection(np.zeros(5), np.array([True, False, False, False, False]))
    assert found.dice == 0
    assert 0 < found.threshold < 1


def test_search_in_nothing_is_refused():
    with pytest.raises(UsageError, match=r"threshold search: scores of shape \(0,\)"):
        bisection(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(UsageError, match=r"scores of shape \(3,\), lesion of \(2,\)"):
        bisection(np.zeros(3), np.zeros(2, bool))


def test_a_residual_in_the_eroded_rim_is_not_in_the_map():
    image = np.zeros((20, 20, 7), np.float32)
    brain = np.zeros(image.shape, bool)
    brain[2:18, 2:18] = True
    image[2:5, 2:18] = 1  # three pixels from the outside
    image[9:14, 9:14] = 1
    anomaly = behrendt_map(image, np.zeros_like(image), brain)
    assert not anomaly[:5].any()
    assert anomaly[11, 11, 3] == 1


def test_a_scan_without_lesion_or_without_mask():
    image = np.zeros((20, 20, 7), np.float32)
    brain, nothing = np.ones(image.shape, bool), np.zeros(image.shape, bool)
    scan = behrendt_scan(image, image, brain, nothing, threshold=0.5)
    assert (scan.dice, scan.l1, np.isnan(scan.l1_lesion)) == (0, 0, True)
    lesion = nothing.copy()
    lesion[8:12, 8:12] = True
    missed = behrendt_scan(image, image, brain, lesion, threshold=0.5)
    assert (missed.dice, missed.hausdorff_voxels) == (0, np.inf)
