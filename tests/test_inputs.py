"""From what a person names to scans: nothing of a folder is dropped without a word."""

import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.cli.inputs import sources
from brainuad.nifti import read_scan


def filled(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def given(capsys, *paths, **options):
    """Names of the scans that are meant, and what was said meanwhile."""
    found = [source.path.name for source in sources(paths, **options)]
    return found, " ".join(capsys.readouterr().err.split())


NIFTI = ("a_T1w.nii.gz", "b_T1w.NII")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (("a_T1w.json", ".DS_Store", "._a_T1w.nii.gz"), None),
        (("c.png",), "1 is left out (c.png); of a folder with NIfTI files these alone are scans"),
        (("c.mgz", "d.nrrd"), "2 are left out (c.mgz, d.nrrd);"),
        (("dicom/1.dcm", "dicom/2.dcm"), "1 is left out (dicom/);"),
        (("other.json", "1.dcm", "2.dcm", "3.dcm"), "(1.dcm, 2.dcm, 3.dcm and 1 more);"),
        (("half.hdr", "half2.img"), "2 are left out (half.hdr, half2.img);"),
    ],
)
def test_what_lies_beside_nifti_files_is_told(tmp_path, capsys, others, said):
    found, words = given(capsys, filled(tmp_path, *NIFTI, *others))
    assert found == list(NIFTI)
    if said is None:
        assert words == ""
    else:
        assert f"{tmp_path}: " in words
        assert said in words


def test_pictures_are_scans_where_there_is_no_nifti_file(tmp_path, capsys):
    found, words = given(capsys, filled(tmp_path, "a.png", "b.JPG", "c.tif", "1.dcm"))
    assert found == ["a.png", "b.JPG"]
    assert "2 are left out (1.dcm, c.tif); of a folder with pictures these alone" in words


def test_a_study_is_left_to_its_reader(tmp_path, capsys):
    found, words = given(capsys, filled(tmp_path / "study", "1.dcm", "notes.txt"))
    assert (found, words) == (["study"], "")


def test_a_pair_in_a_folder_is_one_scan(tmp_path, capsys):
    import nibabel as nib

    image = nib.Nifti1Pair(simple().voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.to_filename(tmp_path / "a_T1w.hdr")
    found, words = given(capsys, tmp_path)
    assert (found, words) == (["a_T1w.hdr"], "")
    np.testing.assert_array_equal(read_scan(tmp_path / "a_T1w.hdr").voxels, simple().voxels)


def test_images_that_bids_has_no_name_for_are_told(tmp_path, capsys):
    names = ("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/brain.nii.gz", "sub-1/sub-1_T2w.nii.gz",
             "extra.nii", "sub-1/func/sub-1_task-rest_bold.nii.gz",
             "sub-1/anat/sub-1_desc-brain_T1w.nii.gz")  # fmt: skip
    found, words = given(capsys, filled(tmp_path, *names))
    assert found == ["sub-1_T1w.nii.gz"]
    assert (
        "3 are left out (extra.nii, sub-1/anat/brain.nii.gz, sub-1/sub-1_T2w.nii.gz); their names"
        in words
    )
