"""The shipped detector on whole heads and studies as they come from a scanner."""

import tarfile

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score

import brainuad
from brainuad.nifti import read_scan
from brainuad.read.any import read_any
from brainuad.types import DataError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def t1():
    return brainuad.load("t1")


def with_dark_ball(source, target, centre, radius):
    """A copy of a scan whose tissue is dark inside a ball; centre in RAS+ mm of the scan."""
    image = nib.load(source)
    voxels = np.asarray(image.dataobj).astype(np.float32)
    places = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), -1)
    mm = places @ image.affine[:3, :3].T + image.affine[:3, 3]
    inside = np.linalg.norm(mm - centre, axis=-1) < radius
    voxels[inside] *= 0.35
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), target)
    return inside


def test_a_ball_planted_into_a_whole_head_is_found_in_its_place_and_on_its_side(
    t1, shared_data, tmp_path
):
    folder = shared_data / "data" / "wholehead_t1_ixi_2mm"
    source = next(folder.glob("*_T1w.nii.gz"))
    labels = read_scan(next(folder.glob(source.name.replace("_T1w", "_DLMUSE"))), modality="T1w")
    middle = ndimage.center_of_mass(labels.voxels > 0)
    centre = labels.affine[:3, :3] @ middle + labels.affine[:3, 3] + np.array([26.0, 5.0, 22.0])
    target = tmp_path / "planted_T1w.nii.gz"
    planted = with_dark_ball(source, target, centre, 9.0)
    files = t1.detect(target).save(tmp_path / "out")
    image = nib.load(files["mask"])
    mask = np.asarray(image.dataobj) > 0
    assert mask.shape == planted.shape
    assert np.allclose(image.affine, nib.load(source).affine)
    assert (mask & planted).sum() > 0.5 * planted.sum()
    mirrored = centre - [2 * 26.0, 0, 0]
    other = with_dark_ball(source, tmp_path / "x.nii.gz", mirrored, 9.0)
    assert (mask & other).sum() < 0.2 * planted.sum()


def test_a_study_from_the_scanner_gets_a_mask_on_its_own_grid(t1, shared_data, tmp_path):
    with tarfile.open(shared_data / "data" / "dicom_t1_studyforrest.tar.gz") as archive:
        archive.extractall(tmp_path / "dicom", filter="data")
    scan = read_any(tmp_path / "dicom", modality="T1w")
    found = t1.detect(scan)
    assert found.mask is not None
    assert found.mask.shape == scan.voxels.shape
    assert 0 < found.mask.sum() < 0.1 * found.mask.size


def test_flair_without_a_name_is_refused_by_a_detector_for_t1(t1, shared_data, tmp_path):
    flair = next((shared_data / "data" / "ms_mslub_mni").rglob("*FLAIR*.nii*"))
    image = nib.load(flair)
    nib.save(image, tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match="does not look like"):
        t1.detect(tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match="is FLAIR, detector .* takes T1w"):
        t1.detect(flair)
    forced = t1.detect(flair, force=True)
    assert forced.prepared.report["checks"]["white_over_grey"]["status"] == "warn"
    assert forced.anomaly.max() > 0


@pytest.mark.parametrize(
    ("contrast", "why"),
    [
        ("T1", r"looks like T1w \(white is 0\.1\d* above grey matter\)"),
        ("T2", "does not look like the FLAIR scans that detector flair-marked-bright knows"),
    ],
)
def test_another_contrast_without_a_name_is_refused_by_a_detector_for_flair(
    contrast, why, shared_data, tmp_path
):
    image = nib.load(shared_data / "data" / "ms_mslub_mni" / f"patient26_{contrast}.nii.gz")
    nib.save(image, tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match=why):
        brainuad.load("flair").detect(tmp_path / "scan.nii.gz")


def test_lesions_of_a_patient_on_flair_are_found_better_than_by_brightness(shared_data):
    """The benchmark `mslub` says what brightness reaches: an AUPRC of .56."""
    folder = shared_data / "data" / "ms_mslub_mni"
    scan = read_scan(folder / "patient26_FLAIR.nii.gz", modality="FLAIR")
    lesion = read_scan(folder / "patient26_GT.nii.gz", modality="FLAIR").voxels > 0.5
    found, brain = brainuad.load("flair").detect(scan), scan.voxels > 0
    assert found.anomaly.shape == lesion.shape
    assert average_precision_score(lesion[brain], found.anomaly[brain]) > 0.56
