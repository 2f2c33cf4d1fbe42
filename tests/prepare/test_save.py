"""A prepared scan as files: image on the canonical grid, mask on the grid of the file."""

import json

import nibabel as nib
import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.nifti import read_scan, write_volume
from brainuad.prepare import prepare_scan, recipe, save_prepared
from brainuad.prepare import save as module
from brainuad.types import SpaceError


@pytest.fixture
def prepared(tmp_path):
    scan = simple()
    write_volume(tmp_path / "a.nii.gz", scan.voxels, like=scan, kind="image", code=1)
    return prepare_scan(read_scan(tmp_path / "a.nii.gz"), recipe("phantom"))


def test_three_files_tell_everything(tmp_path, prepared):
    report = save_prepared(prepared, tmp_path / "out", "a")
    assert report == tmp_path / "out" / "a_prepare.json"
    assert json.loads(report.read_text()) == json.loads(json.dumps(prepared.report))
    image, mask = (nib.load(tmp_path / "out" / f"a_{n}.nii.gz") for n in ("prepared", "brain"))
    np.testing.assert_array_equal(image.get_fdata(), prepared.scan.voxels)
    np.testing.assert_array_equal(mask.get_fdata() > 0, prepared.original.brain)
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "a.nii.gz").affine)
    assert int(mask.header["sform_code"]) == 1


@pytest.mark.parametrize(("name", "code"), [("mni152", 4), ("sri24.nii.gz", 2)])
def test_scans_registered_to_mni152_say_so(tmp_path, prepared, name, code):
    prepared.report["template"] = name
    object.__setattr__(prepared.scan, "source", None)
    save_prepared(prepared, tmp_path, "b")
    assert int(nib.load(tmp_path / "b_prepared.nii.gz").header["sform_code"]) == code


def test_the_report_comes_last(tmp_path, prepared, monkeypatch):
    def full(path, obj):
        assert (tmp_path / "a_prepared.nii.gz").exists()
        assert (tmp_path / "a_brain.nii.gz").exists()
        raise SpaceError(f"{path}: no space left to write it; free some space")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(SpaceError, match="no space left"):
        save_prepared(prepared, tmp_path, "a")
    assert not (tmp_path / "a_prepare.json").exists()
