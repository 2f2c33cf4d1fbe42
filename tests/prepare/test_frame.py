"""The published frame of 2 mm voxels: equal to the golden arrays, and where it says it lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prepare.heads import ball, grid

from brainuad.prepare import Recipe, prepare_scan
from brainuad.prepare import recipe as named
from brainuad.prepare.brain import Brain
from brainuad.prepare.frame import Frame, Halve, halved, halved_labels
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import UsageError


def scan_of(voxels, brain=None, affine=None):
    affine = np.eye(4) if affine is None else affine
    return Scan(
        voxels=voxels.astype(np.float32),
        affine=affine,
        modality="T2w",
        subject="sub-01",
        brain=np.ones(voxels.shape, bool) if brain is None else brain,
    )


@pytest.mark.parametrize("case", [0, 1])
def test_every_stage_equals_the_published_preparation(golden, case):
    arrays = {k[6:]: v for k, v in golden("preprocess").items() if k.startswith(f"case{case}_")}
    frame = Frame(shape=tuple(arrays["target_shape"].tolist()))
    framed = frame(Work.start(scan_of(arrays["curvature_flow"], arrays["mask"] > 0))).scan
    np.testing.assert_array_equal(framed.voxels, arrays["after_crop_pad"])
    stretched = Intensity()(Work.start(framed))
    np.testing.assert_allclose(stretched.notes["intensity"], arrays["p1_p99"], atol=1e-3)
    low, high = arrays["p1_p99"]
    everywhere = np.clip((framed.voxels - low) / (high - low), 0, 1)
    assert [everywhere.min(), everywhere.max()] == arrays["after_rescale_minmax"].tolist()
    np.testing.assert_allclose(halved(everywhere), arrays["out_image"], atol=2e-4)
    np.testing.assert_array_equal(halved_labels(framed.brain), arrays["out_mask"])
    lesion = frame(Work.start(scan_of(arrays["seg"], arrays["seg"] > 0))).scan.brain
    np.testing.assert_array_equal(halved_labels(lesion), arrays["out_seg"])


@given(have=st.tuples(*[st.integers(1, 9)] * 3), want=st.tuples(*[st.integers(1, 9)] * 3))
def test_a_voxel_keeps_its_place_and_its_value(have, want):
    values = np.arange(1, 1 + np.prod(have)).reshape(have)
    framed = Frame(shape=want)(Work.start(scan_of(values))).scan
    assert framed.voxels.shape == want
    assert (framed.brain == (framed.voxels > 0)).all()
    kept = np.argwhere(framed.voxels > 0)
    assert len(kept) == np.prod(np.minimum(have, want))
    before = np.rint(kept @ framed.affine[:3, :3].T + framed.affine[:3, 3]).astype(int)
    assert (values[tuple(before.T)] == framed.voxels[tuple(kept.T)]).all()


def test_a_straight_ramp_is_sampled_at_half_voxels():
    ramp = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 8, 8))
    inner = halved(ramp.astype(np.float32))[5:15, 2, 2]
    np.testing.assert_allclose(inner, 0.5 + 2 * np.arange(5, 15), atol=1e-4)


def test_the_way_back_puts_a_ball_where_it_was():
    shape, affine = (60, 50, 44), grid((60, 50, 44), (1, 1, 1), (10, 5, 0))
    brain = ball(shape, affine, (0, 0, 0), 20)
    lesion = ball(shape, affine, (5, -4, 6), 6)
    values = np.where(brain, 100 + 50 * lesion + np.arange(60)[:, None, None] % 7, 0)
    recipe = Recipe(
        name="frame", steps=(Brain(how="given"), Frame(shape=(64, 64, 40)), Intensity(), Halve())
    )
    prepared = prepare_scan(scan_of(values, brain, affine), recipe)
    assert prepared.scan.voxels.shape == (32, 32, 20)
    found = prepared.mask_to_original(
        halved_labels(
            Frame(shape=(64, 64, 40))(Work.start(scan_of(values, lesion, affine))).scan.brain
        )
    )
    assert found.sum() == pytest.approx(lesion.sum(), rel=0.1)
    shift = np.argwhere(found).mean(0) - np.argwhere(lesion).mean(0)
    assert np.abs(shift).max() <= 0.75  # labels are taken half a voxel beside the samples


def test_the_frame_can_be_laid_around_the_brain():
    brain = np.zeros((20, 20, 20), bool)
    brain[2:6, 10:15, 14:20] = True
    work = Work.start(scan_of(np.arange(8000).reshape(20, 20, 20), brain))
    found = Frame(shape=(6, 5, 8), around="brain")(work).scan
    inside = np.argwhere(found.brain)
    assert (inside.min(0) == (1, 0, 1)).all()
    assert (inside.max(0) == (4, 4, 6)).all()


@pytest.mark.parametrize("name", ["behrendt-2mm", "behrendt-2mm-scripts", "mad-ad"])
def test_published_recipes_have_the_published_grid(name):
    from tests.prepare.heads import person

    prepared = prepare_scan(person()[0], named(name)).scan
    wanted = {"mad-ad": ((256, 256, 182), 1.0)}.get(name, ((96, 96, 50), 2.0))
    assert (prepared.voxels.shape, prepared.spacing) == (wanted[0], (wanted[1],) * 3)
    inside = prepared.voxels[prepared.brain]
    assert 0.2 < np.median(inside) < 0.8
    assert prepared.brain.sum() * wanted[1] ** 3 > 5e5


def test_a_frame_of_nothing_is_refused():
    with pytest.raises(UsageError, match=r"frame: shape \(192, 0, 100\) must be above 0"):
        Frame(shape=(192, 0, 100))
