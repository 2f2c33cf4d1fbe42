"""Scans come in checked and in RAS+ order, and go out on exactly the grid of their file."""

import gzip
import tarfile
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from brainuad.nifti import read_mask, read_scan, write_volume
from brainuad.scan import Scan
from brainuad.types import AccessError, BrainuadError, DataError, MissingError, UsageError

SHAPE = (5, 6, 7)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 3, 0, 7], [0, 0, 4, 1], [0, 0, 0, 1]])
VALUES = np.arange(210, dtype=np.int16).reshape(SHAPE)


def store(path: Path, values: np.ndarray = VALUES, affine: np.ndarray = AFFINE, **codes: int):
    """A NIfTI file with both affines set; ``codes``: sform, qform, and fields of the header."""
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, codes.pop("sform", 1))
    image.set_qform(affine, codes.pop("qform", 1))
    nib.save(image, path)
    return path


def patch(path: Path, offset: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(bytes(data))
    return path


def floats(*numbers: float) -> bytes:
    return np.array(numbers, dtype="<f4").tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return store(tmp_path / "head.nii")


ORDERS = [
    "".join(letters) for axes in permutations(("RL", "AP", "SI")) for letters in product(*axes)
]


@pytest.mark.parametrize("codes", ORDERS)
def test_every_orientation_comes_in_as_ras_and_goes_out_as_it_was(tmp_path, codes):
    ornt = nib.orientations.axcodes2ornt(codes)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), ornt)
    values = nib.orientations.apply_orientation(VALUES, turn)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    path = store(tmp_path / "a.nii", values, affine)
    scan = read_scan(path)
    assert scan.source.codes == codes
    np.testing.assert_array_equal(scan.voxels, VALUES)
    np.testing.assert_allclose(scan.affine, AFFINE)
    write_volume(tmp_path / "b.nii.gz", scan.voxels, like=scan)
    before, after = nib.load(path), nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    np.testing.assert_array_equal(after.affine, before.affine)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    degrees=st.tuples(*[st.floats(-179, 179)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 6)] * 3),
    flip=st.booleans(),
)
def test_oblique_scans_keep_every_voxel_in_its_place(tmp_path, degrees, spacing, flip):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 0] *= -1 if flip else 1
    affine[:3, 3] = [3, -40, 11]
    path = store(tmp_path / "a.nii", affine=affine, qform=0)
    scan = read_scan(path)
    axes = scan.affine[:3, :3] / scan.spacing
    assert (np.diag(axes)[np.abs(axes).max(0) > 0.8] > 0).all()
    for voxel in ((0, 0, 0), (4, 5, 6), (1, 3, 2)):
        place = nib.load(path).affine @ [*voxel, 1]
        there = np.round(np.linalg.solve(scan.affine, place)).astype(int)[:3]
        assert scan.voxels[tuple(there)] == VALUES[voxel]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("map", np.float32), ("image", np.float32), ("mask", np.uint8), ("labels", np.uint16)],
)
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (4, 1), (2, 2)])
def test_outputs_have_shape_affine_and_codes_of_the_input(tmp_path, kind, dtype, codes):
    path = store(tmp_path / "a.nii", sform=codes[0], qform=codes[1])
    scan = read_scan(path)
    write_volume(tmp_path / "b.nii.gz", scan.voxels > 7, like=scan, kind=kind)
    before, after = nib.load(path).header, nib.load(tmp_path / "b.nii.gz").header
    for field in ("pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(before[field], after[field])
    assert (after["sform_code"], after["qform_code"]) == codes
    assert after.get_data_dtype() == dtype
    assert after.get_data_shape() == SHAPE


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_1_and_2_stay_what_they_are(tmp_path, image_class):
    nib.save(image_class(VALUES, AFFINE), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", scan.voxels, like=scan)
    assert type(nib.load(tmp_path / "b.nii.gz")) is image_class


def test_a_pair_of_files_is_read_and_answered_by_one_file(tmp_path):
    nib.save(nib.Nifti1Pair(VALUES, AFFINE), tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.voxels, VALUES)
    write_volume(tmp_path / "b.nii", scan.voxels, like=scan)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").get_fdata(), VALUES)


def test_scaled_and_big_endian_values_are_read_as_meant(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(VALUES.astype(np.float32) / 4 - 3, AFFINE, header)
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    np.testing.assert_allclose(scan.voxels, VALUES / 4 - 3, atol=2e-3)
    write_volume(tmp_path / "b.nii", scan.voxels, like=scan)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").get_fdata(), scan.voxels)


def test_a_singleton_axis_is_dropped_inside_and_kept_outside(tmp_path):
    scan = read_scan(store(tmp_path / "a.nii", VALUES[..., None]))
    assert scan.voxels.shape == SHAPE
    write_volume(tmp_path / "b.nii", scan.voxels, like=scan)
    assert nib.load(tmp_path / "b.nii").shape == (*SHAPE, 1)


def test_names_tell_modality_and_subject(tmp_path):
    scan = read_scan(store(tmp_path / "sub-03_ses-b_T1w.nii"))
    assert (scan.modality, scan.subject) == ("T1w", "sub-03")
    scan = read_scan(store(tmp_path / "head.nii"), modality="flair", subject="me")
    assert (scan.modality, scan.subject) == ("FLAIR", "me")
    assert read_scan(tmp_path / "head.nii").modality == "unknown"


def test_a_wrong_modality_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="the name says T1w, the modality given is CT"):
        read_scan(store(tmp_path / "a_T1w.nii"), modality="CT")


def test_a_generated_scan_is_written_with_its_own_affine(tmp_path):
    scan = Scan(voxels=VALUES.astype(np.float32), affine=AFFINE, modality="T1w", subject="x")
    assert scan.spacing == (2, 3, 4)
    write_volume(tmp_path / "a.nii.gz", scan.voxels, like=scan, kind="image", code=4)
    image = nib.load(tmp_path / "a.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.nii.gz").voxels, scan.voxels)


def test_two_writes_give_the_same_bytes(tmp_path, file):
    scan = read_scan(file)
    for name in ("b.nii.gz", "c.nii.gz"):
        write_volume(tmp_path / name, scan.voxels, like=scan)
    assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("volume", "error", "message"),
    [
        (np.zeros((2, 2, 2)), DataError, r"shape \(2, 2, 2\), the scan head \(5, 6, 7\)"),
        (np.full(SHAPE, np.nan), DataError, "not finite"),
    ],
)
def test_what_does_not_fit_the_scan_is_not_written(tmp_path, file, volume, error, message):
    with pytest.raises(error, match=message):
        write_volume(tmp_path / "b.nii.gz", volume, like=read_scan(file))
    assert not (tmp_path / "b.nii.gz").exists()


def test_only_nifti_is_written(tmp_path, file):
    with pytest.raises(UsageError, match=r"end the name with .nii.gz or .nii"):
        write_volume(tmp_path / "b.png", np.zeros(SHAPE), like=read_scan(file))


DAMAGE = {
    "magic": (344, b"XXX\0", "the magic bytes are b'XXX'"),
    "size of the header": (0, (999).to_bytes(4, "little"), "not a NIfTI file"),
    "data type": (70, (9999).to_bytes(2, "little"), "unknown data type"),
    "spacing 0": (80, floats(0), "spacing .pixdim. is 0 x 3 x 4"),
    "spacing below 0": (80, floats(-2), "spacing .pixdim. is -2 x 3 x 4"),
    "spacing not a number": (80, floats(np.nan), "spacing .pixdim. is nan x 3 x 4"),
    "no code": (252, bytes(4), "left and right are not known"),
    "singular": (280, floats(*[0] * 12), "singular"),
    "not finite": (280, floats(np.inf), "not finite"),
    "other sform": (280, floats(-2), "place a corner 16 mm apart"),
    "other qform": (256, floats(2), "the qform is not a rotation"),
    "voxels far off": (108, floats(1e8), "the file holds"),
    "intercept": (112, floats(1, np.nan), "scl_slope and scl_inter make no sense"),
    "huge": (42, np.array([32000] * 3, "<i2").tobytes(), "more than 536870912 voxels"),
    "zero size": (42, bytes(2), r"sizes \(0, 6, 7\)"),
    "cut short": (42, np.array([500], "<i2").tobytes(), "promises 42352 bytes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_headers_are_said_with_value_and_remedy(file, name):
    offset, content, message = DAMAGE[name]
    with pytest.raises(DataError, match=message) as caught:
        read_scan(patch(file, offset, content))
    assert str(file) in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(SHAPE, np.uint8), "every voxel is 0"),
        (np.full(SHAPE, 7, np.uint8), "every voxel is 7"),
        (np.where(VALUES == 3, np.nan, VALUES), "1 of 210 voxels are NaN"),
        (np.where(VALUES < 3, np.inf, VALUES), "3 of 210 voxels are NaN or infinite"),
        (np.zeros((*SHAPE, 2)), "4-D with several volumes"),
        (np.ones((5, 6)), "has 2 axes"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "one number per voxel"),
        (VALUES.astype(np.complex64), "one number per voxel"),
    ],
)
def test_voxels_without_meaning_are_refused(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        read_scan(store(tmp_path / "a.nii", values))


def test_missing_and_damaged_files_are_told_apart(tmp_path, file):
    with pytest.raises(MissingError, match="no such file"):
        read_scan(tmp_path / "none.nii.gz")
    packed = gzip.compress(file.read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="gzip stream damaged or cut off"):
        read_scan(tmp_path / "cut.nii.gz")


def test_a_file_that_may_not_be_read_is_an_access_error(monkeypatch, file):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AccessError, match="may not be read"):
        read_scan(file)


def test_a_brain_in_another_axis_order_is_understood(tmp_path, file):
    inside = VALUES > 100
    turned = np.ascontiguousarray(inside[::-1].transpose(2, 0, 1)).astype(np.uint8)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    affine = AFFINE @ flip @ np.eye(4)[:, [2, 0, 1, 3]]
    mask = store(tmp_path / "mask.nii", turned, affine)
    np.testing.assert_array_equal(read_scan(file, brain=mask).brain, inside)


@pytest.mark.parametrize(
    ("values", "affine", "message"),
    [
        (np.ones((4, 6, 7)), AFFINE, r"the mask has shape \(4, 6, 7\)"),
        (np.ones(SHAPE), AFFINE + np.eye(4)[:, [3, 1, 2, 0]] * 0.5, "lies .* mm away"),
        (np.zeros(SHAPE), AFFINE, "the mask is empty"),
        (np.full(SHAPE, 0.3), AFFINE, r"such as 0\.3"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, file, values, affine, message):
    mask = store(tmp_path / "mask.nii", values.astype(np.float32), affine)
    with pytest.raises(DataError, match=message):
        read_scan(file, brain=mask)


def test_an_empty_lesion_mask_may_be_allowed(tmp_path, file):
    mask = store(tmp_path / "mask.nii", np.zeros(SHAPE, np.uint8))
    assert not read_mask(mask, like=read_scan(file), empty=True).any()


def test_a_missing_sign_of_the_qform_means_plus(tmp_path):
    path = patch(store(tmp_path / "a.nii", sform=0), 76, floats(0))
    np.testing.assert_allclose(read_scan(path).affine, AFFINE, atol=1e-6)


def test_nothing_is_printed(tmp_path, capfd, caplog):
    path = store(tmp_path / "a.nii", qform=0)
    read_scan(patch(path, 76, floats(5)))  # a sign of the qform that nibabel would repair aloud
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.real
@pytest.mark.parametrize("archive", ["malformed", "nibabel_test_files"])
def test_odd_files_give_a_clear_error_or_a_scan(tmp_path, shared_data, archive):
    with tarfile.open(shared_data / "data" / f"{archive}.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    outcomes = {}
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        try:
            outcomes[path.name] = read_scan(path)
        except BrainuadError as error:
            outcomes[path.name] = str(error)
    messages = [found for found in outcomes.values() if isinstance(found, str)]
    assert all("; " in message for message in messages)
    good = {name for name, found in outcomes.items() if isinstance(found, Scan)}
    assert {n for n in outcomes if n.startswith("ok_")} <= good
    bad = ("truncated", "gzip_crc", "all_zero", "constant", "huge", "nan_vox", "inf_", "singular")
    assert not [n for n in good if n.startswith(bad)]
