"""Lesion-wise numbers against MONAI, panoptica and picai_eval where their rules coincide."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from brainuad.evaluate.froc import candidates
from brainuad.evaluate.lesion import match
from brainuad.postprocess import label_components

SHAPE = (9, 8, 7)
SPACING = (2.0, 2.0, 2.0)
WHY = "oracle only: pip install {} to run it"
cubes = st.tuples(*[st.integers(0, n - 2) for n in SHAPE], st.integers(1, 4))


@st.composite
def masks(draw):
    """A few cubes, so that components overlap by more than a voxel."""
    mask = np.zeros(SHAPE, bool)
    for i, j, k, edge in draw(st.lists(cubes, min_size=1, max_size=4)):
        mask[i : i + edge, j : j + edge, k : k + edge] = True
    return mask


@st.composite
def alike(draw):
    """A lesion mask and a mask that is mostly the same, moved by at most a voxel."""
    lesion = draw(masks())
    shift = draw(st.tuples(*[st.integers(-1, 1)] * 3))
    mask = ndimage.shift(lesion.astype(np.uint8), shift, order=0) > 0
    return mask | draw(masks()) if draw(st.booleans()) else mask, lesion


def matched(mask, lesion):
    return match(mask, label_components(lesion), SPACING)


@given(pair=alike())
@settings(max_examples=60, deadline=None)
def test_panoptic_quality_equals_monai(pair):
    from monai.metrics.panoptic_quality import compute_panoptic_quality

    mask, lesion = pair
    assume(mask.any())
    found = matched(mask, lesion)
    labels = [torch.from_numpy(v.astype(np.int32)) for v in (found.found, found.true)]
    tp, fp, fn, iou = compute_panoptic_quality(*labels, output_confusion_matrix=True).tolist()
    ours = found.lesions
    assert (ours.close, ours.components - ours.close) == (tp, fp)
    assert len(ours.hit) - ours.close == fn
    assert ours.close_iou == pytest.approx(iou, abs=1e-5)
    quality = tp + 0.5 * fp + 0.5 * fn
    assert ours.panoptic_quality == pytest.approx(iou / quality, abs=1e-5)
    assert ours.recognition_quality == pytest.approx(tp / quality)
    if tp:
        product = ours.segmentation_quality * ours.recognition_quality
        assert ours.panoptic_quality == pytest.approx(product)
    else:
        assert np.isnan(ours.segmentation_quality)


@pytest.fixture(scope="module")
def panoptica():
    return pytest.importorskip("panoptica", reason=WHY.format("panoptica"))


def test_lesions_equal_panoptica(panoptica):
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(
            matching_threshold=0.5, strict_threshold=True
        ),
    )

    @given(pair=alike())
    @settings(max_examples=30, deadline=None)
    def compare(pair):
        mask, lesion = pair
        assume(mask.any())
        found = matched(mask, lesion)
        theirs = evaluator.evaluate(
            found.found.astype(np.uint16), found.true.astype(np.uint16), verbose=False
        )["ungrouped"]
        ours = found.lesions
        assert (theirs.tp, theirs.n_pred_instances) == (ours.close, ours.components)
        assert theirs.n_ref_instances == len(ours.hit)
        assert theirs.rq == pytest.approx(ours.recognition_quality)
        if ours.close:
            assert theirs.sq == pytest.approx(ours.segmentation_quality)
            assert theirs.pq == pytest.approx(ours.panoptic_quality)

    compare()


@pytest.fixture(scope="module")
def picai():
    found = pytest.importorskip("picai_eval.eval", reason=WHY.format("picai_eval"))
    return found.evaluate_case


def test_matches_at_a_tenth_equal_picai_eval(picai):
    """Components of one confidence each; a hit is an IoU of at least 0.1, one to one."""

    @given(mask=masks(), lesion=masks(), values=arrays(np.float32, 8, elements=st.integers(1, 9)))
    @settings(max_examples=60, deadline=None)
    def compare(mask, lesion, values):
        found = matched(mask, lesion)
        confidence = np.concatenate([[0], np.resize(values, found.lesions.components)])
        detections = confidence[found.found].astype(np.float32)
        lines, *_ = picai(detections, lesion.astype(np.int32), min_overlap=0.1)
        hits = [(value, iou) for true, value, iou in lines if true and iou > 0]
        assert len(hits) == found.lesions.matched
        ours = [(confidence[p.component], p.iou) for p in found.pairs]
        assert sorted(iou for _, iou in ours) == pytest.approx(sorted(iou for _, iou in hits))
        assert sum(true for true, *_ in lines) == len(found.lesions.hit)

    compare()


def test_candidates_equal_picai_eval_where_any_overlap_hits(picai):
    """With a needed overlap next to nothing, false candidates are those that touch no lesion."""

    @given(mask=masks(), lesion=masks(), values=arrays(np.float32, 8, elements=st.integers(1, 9)))
    @settings(max_examples=40, deadline=None)
    def compare(mask, lesion, values):
        found = matched(mask, lesion)
        confidence = np.concatenate([[0], np.resize(values, found.lesions.components)])
        detections = confidence[found.found].astype(np.float32)
        lines, *_ = picai(detections, lesion.astype(np.int32), min_overlap=1e-6)
        ours = candidates(found, detections)
        assert sorted(ours.false) == sorted(value for true, value, _ in lines if not true)
        assert len(ours.false) == found.lesions.false_components

    compare()
