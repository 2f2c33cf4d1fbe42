import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brainuad.scan import Scan
from brainuad.slices import VIEWS, join, middle, split
from brainuad.types import DataError, UsageError

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))


def make(voxels, brain) -> Scan:
    return Scan(voxels=voxels, affine=np.eye(4), modality="T1w", subject="sub-01", brain=brain)


@st.composite
def scans(draw) -> Scan:
    shape = draw(SHAPES)
    finite = st.floats(-1e6, 1e6, width=32)
    voxels = draw(arrays.arrays(np.float32, shape, elements=finite))
    brain = draw(arrays.arrays(bool, shape))
    brain[0, 0, draw(st.integers(0, shape[2] - 1))] = True
    return make(voxels, brain)


@given(scans())
def test_joining_undoes_splitting_where_slices_show_brain(scan):
    pieces = split(scan)
    kept = scan.brain.any(axis=(0, 1))
    assert pieces.indices == tuple(np.flatnonzero(kept))
    np.testing.assert_array_equal(join(pieces.x, pieces), scan.voxels * kept)
    np.testing.assert_array_equal(join(pieces.brain.float(), pieces), scan.brain * kept)


@given(scans(), st.sampled_from(["axial", "volume"]))
def test_joining_undoes_splitting_everywhere_when_nothing_is_left_out(scan, view):
    pieces = split(scan, view, only_brain=False)
    np.testing.assert_array_equal(join(pieces.x, pieces), scan.voxels)


@given(scans())
def test_an_axial_image_is_the_slice_that_its_name_tells(scan):
    pieces = split(scan)
    for image, brain, key in zip(pieces.x, pieces.brain, pieces.keys, strict=True):
        subject, k = key.split("/axial-")
        assert subject == "sub-01"
        np.testing.assert_array_equal(image[0].numpy(), scan.voxels[:, :, int(k)])
        np.testing.assert_array_equal(brain[0].numpy(), scan.brain[:, :, int(k)])


@given(scans(), st.booleans())
def test_neighbours_are_the_slices_below_and_above_and_nothing_beyond_the_scan(scan, only_brain):
    alone, pieces = (split(scan, view, only_brain=only_brain) for view in ("axial", "axial3"))
    depth, nothing = scan.voxels.shape[2], np.zeros(scan.voxels.shape[:2])
    for image, k in zip(pieces.x.numpy(), pieces.indices, strict=True):
        for channel, n in zip(image, (k - 1, k, k + 1), strict=True):
            wanted = scan.voxels[:, :, n] if 0 <= n < depth else nothing
            np.testing.assert_array_equal(channel, wanted)
    assert torch.equal(middle(pieces.x), alone.x)
    assert torch.equal(pieces.brain, alone.brain)
    assert pieces.keys == alone.keys
    np.testing.assert_array_equal(join(middle(pieces.x), pieces), join(alone.x, alone))


@given(scans(), st.integers(1, 4))
def test_batches_are_the_pieces_in_order(scan, size):
    pieces = split(scan)
    parts = [pieces.batch(start, start + size) for start in range(0, len(pieces), size)]
    assert sum((part.keys for part in parts), ()) == pieces.keys
    assert torch.equal(torch.cat([part.x for part in parts]), pieces.x)
    noise = torch.cat([part.rng(3, "detect").normal(2) for part in parts])
    assert torch.equal(noise, pieces.rng(3, "detect").normal(2))


def test_the_volume_has_its_own_name_and_keeps_axes():
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    pieces = split(make(voxels, voxels > 3), "volume")
    assert pieces.keys == ("sub-01/volume",)
    assert pieces.x.shape == (1, 1, 2, 3, 4)
    assert torch.equal(pieces.brain[0, 0], torch.from_numpy(voxels > 3))


def test_pieces_share_no_memory_with_the_scan():
    scan = make(np.ones((2, 3, 4), np.float32), np.ones((2, 3, 4), bool))
    for view in VIEWS:
        pieces = split(scan, view)
        pieces.to("cpu").x.zero_()
        join(middle(pieces.x), pieces)[:] = 7
        assert (scan.voxels == 1).all()


def test_what_cannot_be_split_or_joined_is_refused():
    voxels = np.ones((2, 3, 4), np.float32)
    for brain in (None, voxels > 2):
        with pytest.raises(DataError, match="sub-01: has no brain mask, or an empty one; prepare"):
            split(make(voxels, brain))
    scan = make(voxels, voxels > 0)
    with pytest.raises(
        UsageError, match="view 'coronal': unknown; choose from axial, axial3, volume"
    ):
        split(scan, "coronal")
    pieces = split(scan)
    with pytest.raises(DataError, match=r"images have shape \(3, 1, 2, 3\), the scan was split"):
        join(pieces.x[:3], pieces)
    pieces = split(scan, "axial3")
    with pytest.raises(DataError, match=r"images have shape \(4, 3, 2, 3\), .* one channel"):
        join(pieces.x, pieces)
