"""Generated brains: the same for the same name, healthy in their tissue contrast and size."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from brainuad.phantom import LEVELS, draw_person, phantom
from brainuad.prepare.grid import MNI_2MM
from brainuad.scan import Scan
from brainuad.types import UsageError

COARSE = np.diag([4.0, 4, 4, 1])
COARSE[:3, 3] = MNI_2MM.affine[:3, 3]
SMALL: dict[str, Any] = {"shape": (40, 48, 40), "affine": COARSE}


@pytest.fixture(scope="module")
def brains() -> dict[str, Scan]:
    return {m: phantom("sub-07", seed=3, modality=m, age=55) for m in LEVELS}


def at(scan: Scan, *place: float, size: int = 1) -> float:
    """Mean signal in a small cube around a place in MNI mm."""
    inverse = np.linalg.inv(scan.affine)
    i, j, k = np.round(inverse[:3, :3] @ place + inverse[:3, 3]).astype(int)
    return float(
        scan.voxels[
            i - size : i + size + 1, j - size : j + size + 1, k - size : k + size + 1
        ].mean()
    )


def test_a_name_and_a_seed_fix_every_voxel_whatever_came_before():
    first = phantom("sub-01", seed=5, **SMALL)
    phantom("sub-02", seed=5, **SMALL)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    again = phantom("sub-01", seed=5, **SMALL)
    np.testing.assert_array_equal(first.voxels, again.voxels)
    np.testing.assert_array_equal(first.brain, again.brain)


@pytest.mark.parametrize("other", [("sub-02", 5), ("sub-01", 6)])
def test_another_name_or_seed_is_another_brain(other: tuple[str, int]):
    first = phantom("sub-01", seed=5, **SMALL)
    second = phantom(other[0], seed=other[1], **SMALL)
    assert (first.brain != second.brain).any()
    assert np.abs(first.voxels - second.voxels).max() > 0


def test_scan_is_canonical_and_zero_exactly_outside_the_brain(brains: dict[str, Scan]):
    for scan in brains.values():
        assert scan.brain is not None
        assert scan.voxels.shape == MNI_2MM.shape
        assert scan.voxels.dtype == np.float32
        assert (scan.voxels[~scan.brain] == 0).all()
        assert (scan.voxels[scan.brain] > 0).all()
        np.testing.assert_array_equal(scan.affine, MNI_2MM.affine)


def test_brain_is_one_piece_of_human_size_away_from_the_border(brains: dict[str, Scan]):
    brain = brains["T1w"].brain
    assert brain is not None
    _, pieces = ndimage.label(brain)  # pyright: ignore[reportGeneralTypeIssues]
    assert pieces == 1
    assert 1300 < brain.sum() * 0.008 < 2200  # ml, in MNI space
    for axis, side in [(0, 0), (0, -1), (1, 0), (1, -1), (2, -1)]:
        assert not np.take(brain, side, axis).any()


def test_anatomy_is_the_same_in_every_modality(brains: dict[str, Scan]):
    for scan in brains.values():
        np.testing.assert_array_equal(scan.brain, brains["T1w"].brain)


WHITE, VENTRICLE, THALAMUS = (27.0, -22.0, 6.0), (10.0, 2.0, 19.0), (11.0, -18.0, 8.0)


def test_t1w_has_bright_white_matter_and_dark_fluid(brains: dict[str, Scan]):
    scan = phantom("sub-07", seed=3, age=78)
    assert at(scan, *VENTRICLE) < at(scan, *THALAMUS) < at(scan, *WHITE)


def by_t1w_rank(brains: dict[str, Scan], modality: str) -> list[float]:
    """Mean signal where the T1w scan of the same person is darkest, middling, brightest."""
    brain = brains["T1w"].brain
    assert brain is not None
    deep = np.asarray(ndimage.binary_erosion(brain, iterations=2), bool)
    rank = np.argsort(np.argsort(brains["T1w"].voxels[deep])) / deep.sum()
    values = brains[modality].voxels[deep]
    parts = [(0, 0.02), (0.2, 0.35), (0.8, 1)]
    return [float(values[(rank >= low) & (rank < high)].mean()) for low, high in parts]


def test_flair_has_dark_fluid_and_grey_brighter_than_white(brains: dict[str, Scan]):
    fluid, grey, white = by_t1w_rank(brains, "FLAIR")
    assert fluid < white < grey


def test_t2w_has_bright_fluid_and_dark_white_matter(brains: dict[str, Scan]):
    fluid, grey, white = by_t1w_rank(brains, "T2w")
    assert fluid > grey > white


def test_old_people_have_more_fluid_than_young_ones():
    def fluid(age: float) -> float:
        scan = phantom("sub-03", age=age, **SMALL)
        values = scan.voxels[scan.voxels > 0]
        return float((values < 0.45 * np.percentile(values, 95)).mean())

    assert fluid(80) > 1.3 * fluid(20)


def test_halves_are_similar_but_not_mirror_images(brains: dict[str, Scan]):
    voxels = brains["T1w"].voxels
    brain = brains["T1w"].brain
    assert brain is not None
    both = brain & brain[::-1]
    agreement = np.corrcoef(voxels[both], voxels[::-1][both])[0, 1]
    assert 0.2 < agreement < 0.97


def test_two_people_share_deep_anatomy(brains: dict[str, Scan]):
    other = phantom("sub-08", seed=3, age=55)
    core = (slice(25, 55), slice(35, 65), slice(30, 55))
    here, there = brains["T1w"].voxels[core], other.voxels[core]
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.4


def test_noise_is_there_and_differs_between_modalities():
    clean = phantom("sub-01", **SMALL)
    brain = clean.brain
    assert brain is not None
    rough = clean.voxels - ndimage.median_filter(clean.voxels, 3)
    assert rough[ndimage.binary_erosion(brain, iterations=2)].std() > 0


def test_finer_grid_shows_the_same_brain():
    coarse = phantom("sub-01", **SMALL)
    half = np.diag([4.0, 4, 4, 1])
    half[:3, 3] = COARSE[:3, 3] + [4, 0, 0]
    moved = phantom("sub-01", shape=(39, 48, 40), affine=half)
    assert coarse.brain is not None
    assert moved.brain is not None
    np.testing.assert_array_equal(coarse.brain[1:], moved.brain)


def test_persons_span_the_ages():
    people = [draw_person(np.random.default_rng(k)) for k in range(50)]
    assert min(p.age for p in people) < 35
    assert max(p.age for p in people) > 65
    assert all(0 < p.noise < 0.05 for p in people)


def test_unknown_modality_lists_the_choices():
    with pytest.raises(UsageError, match=r"unknown modality 'CT'; choose from T1w, T2w, FLAIR"):
        phantom("sub-01", modality="CT")


@pytest.mark.parametrize("age", [19.0, 81.0, float("nan")])
def test_age_outside_the_model_is_refused(age: float):
    with pytest.raises(UsageError, match=r"age .* is outside the model; give 20 to 80"):
        phantom("sub-01", age=age)
