"""DICOM series to scans: voxels and places exact, and every broken series says what is wrong."""

import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prepare.heads import grid
from tests.read import studies

from brainuad.nifti import read_scan, write_volume
from brainuad.read import read_any, read_dicom
from brainuad.types import DataError, MissingError, UnavailableError, UsageError

SHAPE = (12, 10, 14)
OBLIQUE = grid(SHAPE, (0.9, 1.1, 2.5), (20, -10, 35))


def series(folder, affine=OBLIQUE, **elements):
    return studies.write(studies.slices(studies.voxels(), affine, **elements), folder)


@settings(max_examples=15)
@given(turn=st.tuples(*[st.integers(-180, 180)] * 3), flip=st.sampled_from([1, -1]))
def test_every_voxel_lies_where_the_header_puts_it(tmp_path_factory, turn, flip):
    affine = grid(SHAPE, (0.9, 1.1, 2.5), turn) @ np.diag([1, 1, flip, 1])
    affine[:3, 3] = np.round(affine[:3, 3])
    volume = studies.voxels()
    folder = studies.write(
        studies.slices(volume, affine), tmp_path_factory.mktemp("study") / "sub-01"
    )
    scan = read_dicom(folder)
    assert sorted(scan.voxels.ravel()) == sorted(volume.ravel())
    for corner in ((0, 0, 0), (11, 0, 13), (3, 4, 5)):
        index = np.argwhere(scan.voxels == volume[corner])[0]
        place = scan.affine[:3, :3] @ index + scan.affine[:3, 3]
        np.testing.assert_allclose(place, affine[:3, :3] @ corner + affine[:3, 3], atol=1e-3)
    assert (scan.subject, scan.modality) == ("sub-01", "T1w")


def test_frames_of_one_file_are_slices(tmp_path):
    one = studies.write([studies.multiframe(studies.voxels(), OBLIQUE)], tmp_path / "a")
    many = series(tmp_path / "b")
    first, second = read_dicom(one), read_dicom(many)
    np.testing.assert_array_equal(first.voxels, second.voxels)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-5)


def test_values_are_in_the_unit_of_the_scanner(tmp_path):
    made = studies.slices(studies.voxels(), OBLIQUE, RescaleSlope="0.5", RescaleIntercept="-1024")
    made[4].RescaleSlope = "2"
    scan = read_dicom(studies.write(made, tmp_path / "s"))
    k = next(k for k in range(14) if scan.voxels[..., k].max() > 1500)
    others = np.delete(scan.voxels, k, axis=2)
    assert others.max() <= 0.5 * 1680 - 1024
    assert scan.voxels.min() >= -1024


@pytest.mark.parametrize("kind", ["rle", "deflated"])
def test_compressed_series_are_read(tmp_path, kind):
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    made = studies.slices(studies.voxels(), OBLIQUE)
    for each in made:
        if kind == "rle":
            each.compress(RLELossless)
        else:
            each.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    scan = read_dicom(studies.write(made, tmp_path / "s"))
    np.testing.assert_array_equal(scan.voxels, read_dicom(series(tmp_path / "t")).voxels)


def test_a_compression_without_its_decoder_names_the_package(tmp_path):
    from pydicom.encaps import encapsulate
    from pydicom.uid import HTJ2KLossless

    made = studies.slices(studies.voxels(), OBLIQUE)
    for each in made:
        each.file_meta.TransferSyntaxUID = HTJ2KLossless
        each.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(40)])
        each["PixelData"].VR = "OB"
    with pytest.raises(UnavailableError, match=r"High-Throughput.*pip install 'brainuad\[dicom\]'"):
        read_dicom(studies.write(made, tmp_path / "s"))


def test_an_archive_gives_the_scan_of_its_folder(tmp_path):
    folder = series(tmp_path / "study")
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"deep/{file.name}")
        archive.writestr("__MACOSX/._im000.dcm", b"nothing")
        archive.writestr("README.txt", b"not an image")
    first, second = read_dicom(folder), read_any(path)
    np.testing.assert_array_equal(first.voxels, second.voxels)
    assert second.subject == "study"


def test_outputs_lie_on_the_grid_of_the_series(tmp_path):
    scan = read_dicom(series(tmp_path / "s"))
    write_volume(tmp_path / "map.nii.gz", scan.voxels, like=scan)
    again = read_scan(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(again.voxels, scan.voxels)
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-5)
    assert scan.source.shape == SHAPE


def test_an_enclosed_copy_of_an_instance_counts_once(tmp_path):
    folder = series(tmp_path / "s")
    shutil.copy(folder / "im003.dcm", folder / "copy-of-im003.dcm")
    assert read_dicom(folder).voxels.shape[2] >= 10


# What cannot be one volume


def broken(tmp_path, change):
    made = studies.slices(studies.voxels(), OBLIQUE)
    change(made)
    return studies.write(made, tmp_path / "s")


def drop_slice(made):
    del made[5]


def double_slice(made):
    made[5].ImagePositionPatient = made[4].ImagePositionPatient


def turn_slice(made):
    made[5].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def shift_slice(made):
    row = np.array(made[5].ImageOrientationPatient[:3], float)
    made[5].ImagePositionPatient = [
        f"{v:.8g}" for v in np.array(made[5].ImagePositionPatient, float) + 3 * row
    ]


def shift_last(made):
    """Of a straight line from the first slice to the last all slices but these lie beside."""
    row = np.array(made[13].ImageOrientationPatient[:3], float)
    made[13].ImagePositionPatient = [
        f"{v:.8g}" for v in np.array(made[13].ImagePositionPatient, float) + 9 * row
    ]


def without_position(made):
    del made[5].ImagePositionPatient


def many_without_position(made):
    for each in made[:5]:
        del each.ImagePositionPatient


def without_pixels(made):
    del made[5].PixelData


def other_size(made):
    made[5].Rows = 9


def many_sizes(made):
    for each in made[:4]:
        each.Rows = 9


def cut_off(made):
    made[5].PixelData = made[5].PixelData[:50]


def in_colour(made):
    for each in made:
        each.SamplesPerPixel, each.PhotometricInterpretation, each.PlanarConfiguration = 3, "RGB", 0
        each.BitsAllocated = each.BitsStored = 8
        each.HighBit, each.PixelRepresentation = 7, 0
        each.PixelData = bytes(3 * 120)


def inverted(made):
    for each in made:
        each.PhotometricInterpretation = "MONOCHROME1"


def flat(made):
    for each in made:
        each.PixelData = bytes(240)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            drop_slice,
            r"2.5 mm apart, but 5 mm between im0(31|38).dcm and im0(31|38).dcm; a slice is",
        ),
        (double_slice, r"2 slices lie where another one lies \(im0\d\d.dcm, im038.dcm\); give one"),
        (turn_slice, r"\(13 of .*, 1 of \(1 0 0 0 1 0\)\), unlike most are im038.dcm; give a"),
        (shift_slice, r"a slice lies 2.\d+ mm beside its place \(im038.dcm\)"),
        (shift_last, r"a slice lies \d.* mm beside its place \(im094.dcm\)"),
        (without_position, r"im038.dcm does not say where the slice lies"),
        (many_without_position, r"im003.dcm, im010.dcm, im017.dcm and 2 more do not say where the"),
        (without_pixels, r"holds no image \(no PixelData\)"),
        (other_size, r"13 of \(12 10\), 1 of \(12 9\)\), unlike most are im038.dcm;"),
        (many_sizes, r"2 sizes .*, unlike most are im003.dcm, im010.dcm, im017.dcm and 1 more;"),
        (cut_off, r"damaged DICOM file"),
        (in_colour, r"is a colour picture, not a scan"),
        (inverted, r"bright means low \(MONOCHROME1\)"),
        (flat, r"every voxel is 0"),
    ],
)
def test_a_series_that_is_no_volume_says_why(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_dicom(broken(tmp_path, change))


def drop(made, *numbers):
    return [each for n, each in enumerate(made) if n not in numbers]


def test_every_gap_is_named_up_to_three(tmp_path):
    made = drop(studies.slices(studies.voxels((12, 10, 30)), OBLIQUE), 5, 11, 17, 23)
    pairs = r"(5 mm between im\d+.dcm and im\d+.dcm(, | and )){3}1 more; a slice is missing"
    with pytest.raises(DataError, match=pairs):
        read_dicom(studies.write(made, tmp_path / "s"))


def test_a_damaged_file_is_named_with_the_gap_that_it_leaves(tmp_path):
    folder = series(tmp_path / "s")
    whole = (folder / "im038.dcm").read_bytes()
    (folder / "im038.dcm").write_bytes(whole.replace(b"1.1\\0.9", b"1.1\\what"[:7]))
    with pytest.raises(DataError, match=r"left out: im038.dcm \(damaged\)\): slices are 2.5 mm"):
        read_dicom(folder)


def test_what_is_no_dicom_is_told_with_the_scan(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "more").mkdir()
    for name in ("notes.txt", "more/brain.nii.gz"):
        (folder / name).write_bytes(bytes(300))
    assert read_dicom(folder).source.left_out == (
        "more/brain.nii.gz (no DICOM)", "notes.txt (no DICOM)",
    )  # fmt: skip
    assert read_dicom(series(tmp_path / "t")).source.left_out == ()


def test_nothing_there(tmp_path):
    with pytest.raises(MissingError, match="no such file or folder"):
        read_dicom(tmp_path / "none")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(MissingError, match="no scan in it; NIfTI, DICOM, PNG and JPEG are read"):
        read_dicom(tmp_path)


# Which series


def test_scouts_are_left_out_and_several_scans_are_listed(tmp_path):
    series(tmp_path / "s", SeriesNumber=3)
    scout = studies.slices(studies.voxels((12, 10, 3)), OBLIQUE, SeriesNumber=1,
                           SeriesDescription="localizer")  # fmt: skip
    studies.write(scout, tmp_path / "s", start="loc")
    assert (
        read_dicom(tmp_path / "s").voxels.shape
        == read_dicom(tmp_path / "s", series="3").voxels.shape
    )
    flair = studies.slices(studies.voxels(seed=1), OBLIQUE, SeriesNumber=5,
                           SeriesDescription="t2_tirm_tra_dark-fluid")  # fmt: skip
    studies.write(flair, tmp_path / "s", start="fl")
    with pytest.raises(UsageError, match=r"2 series could be meant.*--series(.|\n)*3: t1_mprage"):
        read_dicom(tmp_path / "s")
    assert read_dicom(tmp_path / "s", modality="FLAIR").modality == "FLAIR"
    assert read_dicom(tmp_path / "s", modality="t1").modality == "T1w"
    assert read_dicom(tmp_path / "s", series="5").modality == "FLAIR"
    with pytest.raises(
        UsageError, match=r"no series with the number or UID 9(.|\n)*1: localizer \(scout"
    ):
        read_dicom(tmp_path / "s", series="9")


def test_of_two_series_with_one_number_the_uid_chooses(tmp_path):
    for start, uid, seed in (("a", "1.2.3", 0), ("b", "1.2.4", 1)):
        made = studies.slices(studies.voxels(seed=seed), OBLIQUE, series=uid)
        studies.write(made, tmp_path / "s", start=start)
    with pytest.raises(
        UsageError, match=r"2 series have the number 3; give the UID of one(.|\n)*1.2.4"
    ):
        read_dicom(tmp_path / "s", series="3")
    first, second = (read_any(tmp_path / "s", series=uid) for uid in ("1.2.3", "1.2.4"))
    assert (first.voxels != second.voxels).any()
    np.testing.assert_array_equal(
        np.sort(second.voxels.ravel()), np.sort(studies.voxels(seed=1).ravel())
    )


def test_a_series_of_number_0_can_be_asked_for(tmp_path):
    assert read_dicom(series(tmp_path / "s", SeriesNumber=0), series="0").voxels.shape[2] > 9


def test_a_study_of_scouts_has_no_scan(tmp_path):
    series(tmp_path / "s", SeriesDescription="3-plane localizer")
    with pytest.raises(UsageError, match="no series that is a whole scan"):
        read_dicom(tmp_path / "s")


def test_a_modality_that_the_header_contradicts_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no series of modality CT"):
        read_dicom(series(tmp_path / "s"), modality="CT")
    with pytest.raises(DataError, match="header says T1w, the modality given is FLAIR"):
        read_dicom(tmp_path / "s", modality="FLAIR", series="3")


@pytest.mark.parametrize(
    ("elements", "modality"),
    [
        ({"SeriesDescription": "Sag CUBE T2 FLAIR"}, "FLAIR"),
        ({"SeriesDescription": "AX T2 TSE"}, "T2w"),
        ({"SeriesDescription": "PD_tse"}, "PD"),
        ({"SeriesDescription": "t1_mprage post gad"}, "T1ce"),
        ({"SeriesDescription": "3D FSPGR", "ContrastBolusAgent": "Gadovist"}, "T1ce"),
        ({"SeriesDescription": "", "EchoTime": "3", "RepetitionTime": "8"}, "T1w"),
        ({"SeriesDescription": "", "EchoTime": "90", "RepetitionTime": "5000"}, "T2w"),
        (
            {"SeriesDescription": "", "EchoTime": "90", "RepetitionTime": "9000",
             "InversionTime": "2500"},
            "FLAIR",
        ),
        ({"SeriesDescription": "", "EchoTime": "30", "RepetitionTime": "3000"}, "unknown"),
        ({"Modality": "CT", "SeriesDescription": "head"}, "CT"),
    ],
)  # fmt: skip
def test_modality_comes_from_words_then_from_timing(tmp_path, elements, modality):
    assert read_dicom(series(tmp_path / "s", **elements)).modality == modality


# Real series


def unpacked(archive, folder):
    subprocess.run(["tar", "xzf", str(archive), "-C", str(folder)], check=True)
    return folder


def test_a_real_series_equals_what_dcm2niix_makes_of_it(shared_data, tmp_path):
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    unpacked(shared_data / "data" / "dicom_t1_studyforrest.tar.gz", tmp_path)
    folder = tmp_path / "dicom_t1_studyforrest" / "dicoms"
    subprocess.run([program, "-o", str(tmp_path), "-f", "t1", str(folder)], check=True,
                   capture_output=True)  # fmt: skip
    ours, theirs = read_dicom(folder), read_scan(tmp_path / "t1.nii", modality="T1w")
    np.testing.assert_array_equal(ours.voxels, theirs.voxels)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert ours.modality == "T1w"


FINE = {"ok_reference", "no_preamble", "phi_fields"}


def test_malformed_series_are_read_right_or_refused(shared_data, tmp_path):
    unpacked(shared_data / "data" / "malformed.tar.gz", tmp_path)
    reference = read_dicom(tmp_path / "malformed" / "dicom" / "ok_reference")
    for folder in sorted((tmp_path / "malformed" / "dicom").iterdir()):
        if folder.name in FINE:
            np.testing.assert_array_equal(read_dicom(folder).voxels, reference.voxels)
        else:
            with pytest.raises((DataError, UsageError, MissingError), match="; "):
                read_dicom(folder)
