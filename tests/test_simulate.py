"""Planted lesions: the volume asked for, the right sign, nothing changed elsewhere."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.phantom import phantom
from brainuad.prepare.grid import MNI_2MM
from brainuad.scan import Scan
from brainuad.simulate import Look, measure, plant, sham
from brainuad.types import DataError, UsageError

COARSE = np.diag([3.0, 3, 3, 1])
COARSE[:3, 3] = MNI_2MM.affine[:3, 3]


@cache
def healthy(modality: str = "T1w") -> Scan:
    return phantom("sub-01", modality=modality, shape=(54, 64, 54), affine=COARSE, age=40.0)


def cube(scan: Scan, size: int = 6) -> np.ndarray:
    """A mask in the middle of the brain."""
    mask = np.zeros(scan.voxels.shape, bool)
    mask[14 : 14 + size, 30 : 30 + size, 30 : 30 + size] = True
    return mask


@given(seed=st.integers(0, 10**6), volume_ml=st.floats(0.5, 60))
@settings(max_examples=8, deadline=None)
def test_drawn_lesion_has_the_volume_asked_for_and_lies_in_tissue(seed: int, volume_ml: float):
    scan = healthy()
    planted = plant(scan, seed=seed, volume_ml=volume_ml)
    voxel_ml = float(np.prod(scan.spacing)) / 1000
    # ties of the stretched distance aside, the mask is the nearest whole number of voxels
    assert abs(planted.lesion.sum() * voxel_ml - volume_ml) <= max(0.05 * volume_ml, voxel_ml / 2)
    assert planted.info["volume_ml"] == pytest.approx(planted.lesion.sum() * voxel_ml)
    assert measure(scan).solid[planted.lesion].all()


@given(
    seed=st.integers(0, 10**6),
    contrast=st.floats(0.3, 1),
    case=st.sampled_from([("T1w", -1), ("FLAIR", 1), ("T2w", 1)]),
)
@settings(max_examples=8, deadline=None)
def test_infarct_is_dark_in_t1w_and_bright_in_flair_and_t2w(
    seed: int, contrast: float, case: tuple[str, int]
):
    modality, sign = case
    scan = healthy(modality)
    planted = plant(scan, seed=seed, volume_ml=5, contrast=contrast)
    before, after = scan.voxels[planted.lesion], planted.scan.voxels[planted.lesion]
    assert sign * (after.mean() - before.mean()) > 0
    assert planted.info["change"] == pytest.approx(after.mean() - before.mean(), rel=1e-3)


@pytest.mark.parametrize("modality", ["T1w", "FLAIR"])
def test_bright_lesion_is_brighter_in_every_modality(modality: str):
    planted = plant(healthy(modality), seed=1, volume_ml=5, kind="bright")
    assert planted.info["change"] > 0


@pytest.mark.parametrize("kind", ["infarct", "bright", "sham"])
def test_voxels_without_a_share_are_untouched_bit_by_bit(kind: str):
    scan = healthy()
    share = ndimage.gaussian_filter(cube(scan).astype(np.float32), 0.7)
    share[share < 1e-3] = 0
    planted = plant(scan, share, seed=3, kind=kind)
    outside = share == 0
    np.testing.assert_array_equal(planted.scan.voxels[outside], scan.voxels[outside])
    changed = planted.scan.voxels != scan.voxels
    assert changed[planted.lesion].mean() > 0.99


def test_given_mask_comes_back_except_where_there_is_fluid():
    scan = healthy()
    mask = cube(scan)
    planted = plant(scan, mask, seed=3)
    np.testing.assert_array_equal(planted.lesion, mask & measure(scan).solid)


def test_fluid_and_background_keep_their_values():
    scan = healthy()
    planted = plant(scan, np.ones(scan.voxels.shape, bool), seed=3, contrast=0.9)
    kept = ~measure(scan).solid
    np.testing.assert_array_equal(planted.scan.voxels[kept], scan.voxels[kept])


def test_full_contrast_without_texture_reaches_fluid_but_no_further():
    scan = healthy()
    planted = plant(scan, cube(scan), seed=3, contrast=1, look=Look(texture=0.0, edge_mm=0.1))
    tissue = measure(scan)
    inside = planted.scan.voxels[planted.lesion]
    assert inside.mean() == pytest.approx(tissue.fluid, abs=2 * tissue.noise)


def test_stronger_contrast_changes_more():
    scan = healthy()
    changes = [plant(scan, cube(scan), seed=3, contrast=c).info["change"] for c in (0.2, 0.5, 0.9)]
    assert changes == sorted(changes, reverse=True)


def test_edge_is_a_partial_volume():
    scan = healthy()
    soft = plant(scan, cube(scan, 8), seed=3, contrast=0.9, look=Look(edge_mm=9.0, texture=0.0))
    hard = plant(scan, cube(scan, 8), seed=3, contrast=0.9, look=Look(edge_mm=0.1, texture=0.0))
    centre, border = (18, 34, 34), np.zeros(scan.voxels.shape, bool)
    border[14, 32:36, 32:36] = hard.lesion[14, 32:36, 32:36]
    drop = {
        name: (scan.voxels - planted.scan.voxels)[border].mean()
        for name, planted in (("soft", soft), ("hard", hard))
    }
    assert 0.2 < drop["soft"] / drop["hard"] < 0.85
    assert soft.lesion[centre]


def test_grain_inside_the_lesion_is_that_of_the_tissue():
    scan = healthy()
    flat = Scan(
        voxels=np.where(scan.voxels > 0, np.maximum(scan.voxels, 1), 0).astype(np.float32),
        affine=scan.affine,
        modality="T1w",
        subject="sub-01",
        brain=scan.brain,
    )
    planted = plant(flat, cube(flat, 8), seed=3, contrast=0.9, look=Look(texture=0.0))
    deep = ndimage.binary_erosion(planted.lesion)
    rough = (planted.scan.voxels - ndimage.median_filter(planted.scan.voxels, 3))[deep]
    assert 0.4 < rough.std() / measure(flat).noise < 2.5


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_sham_marks_the_same_place_and_keeps_its_mean(seed: int):
    scan = healthy()
    lesion, control = (f(scan, seed=seed, volume_ml=8) for f in (plant, sham))
    np.testing.assert_array_equal(lesion.lesion, control.lesion)
    level = scan.voxels[control.lesion].mean()
    assert abs(control.info["change"]) < 1e-4 * level
    assert (control.scan.voxels != scan.voxels)[control.lesion].any()
    assert lesion.info["change"] < -0.1 * level


def test_same_seed_and_subject_give_the_same_lesion():
    one, two = (plant(healthy(), seed=9, volume_ml=4) for _ in range(2))
    np.testing.assert_array_equal(one.scan.voxels, two.scan.voxels)
    other = plant(healthy(), seed=10, volume_ml=4)
    assert (other.lesion != one.lesion).any()


def test_centre_keeps_its_distance_from_the_surface():
    scan = healthy()
    assert scan.brain is not None
    depth = np.asarray(ndimage.distance_transform_edt(scan.brain, sampling=scan.spacing))
    for seed in range(5):
        planted = plant(scan, seed=seed, volume_ml=0.1, look=Look(margin_mm=25.0))
        assert depth[planted.lesion].min() > 20


def test_input_is_not_modified():
    scan = healthy()
    before = scan.voxels.copy()
    plant(scan, seed=1, volume_ml=5)
    np.testing.assert_array_equal(scan.voxels, before)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"volume_ml": 1, "kind": "tumour"},
        UsageError,
        "unknown lesion 'tumour'; choose from infarct",
    ),
    ({"volume_ml": 1, "contrast": 1.5}, UsageError, r"contrast 1.5 is outside \[0, 1\]"),
    ({}, UsageError, "give either a lesion shape or a volume"),
    ({"volume_ml": 5000}, DataError, r"5000 ml is \d+ voxels and does not fit; ask for"),
    ({"volume_ml": 0.001}, DataError, r"0.001 ml is 0 voxels and does not fit"),
    ({"volume_ml": 1, "look": Look(margin_mm=200.0)}, DataError, "no tissue lies 200.0 mm inside"),
    ({"shape": np.ones((3, 3, 3), bool)}, DataError, r"lesion shape has \(3, 3, 3\) voxels"),
    ({"shape": np.zeros((54, 64, 54), bool)}, DataError, "lesion shape hits no tissue"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_what_cannot_be_planted_is_said(options: dict[str, Any], error: type, text: str):
    with pytest.raises(error, match=f"sub-01: .*{text}"):
        plant(healthy(), seed=1, **options)


def scan_of(voxels: np.ndarray, modality: str = "T1w") -> Scan:
    return Scan(voxels=voxels, affine=np.eye(4), modality=modality, subject="sub-x")


def test_unknown_modality_is_refused():
    with pytest.raises(UsageError, match="no lesion for modality 'PET'; choose from T1w"):
        plant(scan_of(np.ones((9, 9, 9), np.float32), "PET"), seed=1, volume_ml=1)


def test_constant_and_tiny_brains_are_refused():
    with pytest.raises(DataError, match="brain is constant"):
        measure(scan_of(np.ones((20, 20, 20), np.float32)))
    with pytest.raises(DataError, match="brain of 27 voxels; too small"):
        measure(scan_of(np.ones((3, 3, 3), np.float32)))
