"""Names, parts and bytes of the files that hold scans."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from brainuad import scan_file
from brainuad.types import DataError, MissingError


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("A.NII.GZ", "A"), ("a.hdr", "a"), ("a.txt", "a.txt")],
)
def test_stem_is_the_name_without_its_nifti_ending(name, stem):
    assert scan_file.scan_stem(f"/somewhere/{name}") == stem


@pytest.mark.parametrize(
    ("name", "subject"),
    [("sub-07_ses-1_T1w.nii.gz", "sub-07"), ("IXI014-HH_T1.nii", "IXI014-HH_T1")],
)
def test_subject_is_the_bids_label_or_the_stem(name, subject):
    assert scan_file.subject_of(Path(name)) == subject


def test_a_pair_has_two_parts(tmp_path):
    for ending in (".hdr", ".img"):
        (tmp_path / f"a{ending}").write_bytes(b"x")
    both = (tmp_path / "a.hdr", tmp_path / "a.img")
    assert scan_file.parts(tmp_path / "a.hdr") == both
    assert scan_file.parts(tmp_path / "a.img") == both


@pytest.mark.parametrize(("here", "gone"), [("a.hdr", "a.img"), ("a.img", "a.hdr")])
def test_a_half_of_a_pair_names_the_other(tmp_path, here, gone):
    (tmp_path / here).write_bytes(b"x")
    for asked in (here, gone):
        with pytest.raises(MissingError, match=rf"{here}: its other half {gone} is missing"):
            scan_file.parts(tmp_path / asked)
    (tmp_path / here).unlink()
    with pytest.raises(MissingError, match=r"a\.hdr: no such file"):
        scan_file.parts(tmp_path / here)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, ""), (1, "f0"), (3, "f0, f1, f2"), (4, "f0, f1, f2 and 1 more")],
)
def test_messages_name_three_files(count, words):
    assert scan_file.first_names(f"f{n}" for n in range(count)) == words


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(MissingError, match=r"a\.nii: no such file; check the path"):
        scan_file.parts(tmp_path / "a.nii")


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(DataError, match="is a folder; give one NIfTI file"):
        scan_file.parts(tmp_path / "a.nii")


def test_an_empty_file_is_said(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(DataError, match="the file is empty"):
        scan_file.parts(tmp_path / "a.nii.gz")


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a NIfTI name"):
        scan_file.parts(tmp_path / "a.mgz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_packed_files_are_known_by_their_content(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(b"content"))
    assert scan_file.with_stream(path, lambda stream: stream.read(100)) == b"content"


@pytest.mark.parametrize("damage", ["cut", "checksum", "middle"])
def test_damaged_gzip_is_said(tmp_path, damage):
    data = bytearray(gzip.compress(np.random.default_rng(0).bytes(4000)))
    if damage == "checksum":
        data[-8] ^= 1
    if damage == "middle":
        data[10:30] = bytes(20)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(bytes(data[:2000] if damage == "cut" else data))
    with pytest.raises(DataError, match="gzip stream damaged or cut off"):
        scan_file.with_stream(path, lambda stream: stream.read(10**6) + stream.read(1))


def values(content: bytes, **changes: object) -> np.ndarray:
    options = {"dtype": np.dtype(np.uint8), "offset": 2.0, "count": 3} | changes
    return scan_file.raw_values(io.BytesIO(content), Path("a.nii"), **options)


def test_voxels_begin_at_the_offset():
    assert values(b"\0\1\2\3\4\5").tolist() == [2, 3, 4]


@pytest.mark.parametrize("offset", [-1.0, float("nan"), float("inf"), 1e12])
def test_offset_must_make_sense(offset):
    with pytest.raises(DataError, match="the voxels begin at byte"):
        values(b"\0\1\2\3\4", offset=offset)


def test_a_file_that_is_cut_off_is_said():
    with pytest.raises(DataError, match="promises 5 bytes, the file holds 4"):
        values(b"\0\1\2\3")


def test_a_promise_of_terabytes_takes_no_memory():
    with pytest.raises(DataError, match="the file holds 4"):
        values(b"\0\1\2\3", count=2**50)


def test_a_file_much_longer_than_it_says_is_refused(monkeypatch):
    monkeypatch.setattr(scan_file, "_MOST_EXTRA_BYTES", 4)
    assert len(values(bytes(8))) == 3
    with pytest.raises(DataError, match="much longer than its header says"):
        values(bytes(9))
