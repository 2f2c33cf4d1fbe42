"""Prepared scans that were kept come back bit by bit."""

from pathlib import Path

import numpy as np
from tests.benchmark.conftest import COARSE

from brainuad.benchmark.prepared import load_prepared, save_prepared
from brainuad.phantom import phantom
from brainuad.prepare import prepare_scan, recipe


def test_kept_scan_is_the_same_and_leads_back_to_the_same_grid(tmp_path: Path):
    prepared = prepare_scan(phantom("p", shape=(20, 24, 20), affine=COARSE), recipe("phantom"))
    save_prepared(tmp_path / "p.npz", prepared)
    found = load_prepared(tmp_path / "p.npz")
    for one, two in ((prepared.scan, found.scan), (prepared.original, found.original)):
        np.testing.assert_array_equal(one.voxels, two.voxels)
        np.testing.assert_array_equal(one.affine, two.affine)
        assert one.brain is not None
        assert two.brain is not None
        np.testing.assert_array_equal(one.brain, two.brain)
        assert (one.subject, one.modality) == (two.subject, two.modality)
    volume = np.random.default_rng(0).random(prepared.scan.voxels.shape, np.float32)
    np.testing.assert_array_equal(prepared.to_original(volume), found.to_original(volume))
    assert found.report == prepared.report
