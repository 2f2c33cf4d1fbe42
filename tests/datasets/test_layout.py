"""Folders compared with what a data set should hold."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.datasets import Dataset, dataset
from brainuad.datasets.catalogue import Pattern
from brainuad.datasets.fetch import RECORD, UNFINISHED
from brainuad.datasets.layout import Check, check, expression
from brainuad.types import MissingError, UsageError

IMAGES = ("FLAIR", "T1W", "T1WKS", "T2W", "brainmask", "consensus_gt")


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"1")
    return folder


def mslub(folder: Path) -> Path:
    """Every file of MSLUB, of one byte."""
    subjects = [f"patient{n:02d}" for n in range(1, 31)]
    return fill(folder, *(f"{s}/{image}.nii.gz" for s in subjects for image in IMAGES))


def by_what(found: Check) -> dict[str, tuple[int, int, int]]:
    return {each.what: (each.found, each.missing, each.superfluous) for each in found.counts}


def small(*layout: Pattern) -> Dataset:
    """A data set that is got by hand, with this layout."""
    return replace(dataset("wmh"), layout=layout)


def test_a_complete_folder(tmp_path: Path):
    found = check(dataset("mslub"), mslub(tmp_path))
    assert found.complete
    assert set(by_what(found).values()) == {(30, 0, 0)}
    assert not found.superfluous
    assert not found.empty


def test_missing_files_are_named(tmp_path: Path):
    mslub(tmp_path)
    (tmp_path / "patient07" / "FLAIR.nii.gz").unlink()
    (tmp_path / "patient30" / "consensus_gt.nii.gz").unlink()
    found = check(dataset("mslub"), tmp_path)
    assert not found.complete
    assert by_what(found)["FLAIR"] == by_what(found)["lesion masks"] == (29, 1, 0)
    assert by_what(found)["T1w"] == (30, 0, 0)
    named = [name for each in found.counts for name in each.named]
    assert named == ["patient07/FLAIR.nii.gz", "patient30/consensus_gt.nii.gz"]


def test_superfluous_files_do_not_make_it_incomplete(tmp_path: Path):
    fill(mslub(tmp_path), "notes.txt", "patient31/FLAIR.nii.gz", ".hidden", ".git/x", RECORD)
    found = check(dataset("mslub"), tmp_path)
    assert found.complete
    assert found.superfluous == ("notes.txt",)
    assert by_what(found)["FLAIR"] == (31, 0, 1)


def test_empty_files_count_as_missing(tmp_path: Path):
    (mslub(tmp_path) / "patient02" / "T2W.nii.gz").write_bytes(b"")
    (tmp_path / "patient03" / "T2W.nii.gz").unlink()
    (tmp_path / "patient03" / "T2W.nii.gz").symlink_to(tmp_path / "nowhere")
    found = check(dataset("mslub"), tmp_path)
    assert not found.complete
    assert found.empty == ("patient02/T2W.nii.gz", "patient03/T2W.nii.gz")
    assert by_what(found)["T2w"] == (28, 2, 0)


def test_a_download_that_broke_off_is_incomplete(tmp_path: Path):
    (mslub(tmp_path) / UNFINISHED).mkdir()
    found = check(dataset("mslub"), tmp_path)
    assert found.unfinished
    assert not found.complete


@pytest.mark.parametrize("place", ["", "BraTS2021_Training_Data/", "Set/UPENN-GBM/"])
def test_brats_in_either_form(tmp_path: Path, place: str):
    data = dataset("brats2021")
    layout = tuple(replace(each, count=3, most=4) for each in data.layout)
    data = replace(data, layout=layout)
    images = ("t1", "t1ce", "t2", "flair", "seg")
    names = [
        f"{place}BraTS2021_{n:05d}/BraTS2021_{n:05d}_{i}.nii.gz" for n in (0, 2, 3) for i in images
    ]
    assert check(data, fill(tmp_path, *names)).complete
    (tmp_path / names[-1]).unlink()
    found = check(data, tmp_path)
    assert not found.complete
    assert by_what(found)["lesion masks"] == (2, 1, 0)


def test_wmh_with_folders_of_scanners(tmp_path: Path):
    cases = ("Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100")
    names = [
        f"training/{c}/{f}"
        for c in cases
        for f in ("pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz")
    ]
    fill(tmp_path, *names, "training/Utrecht/0/orig/T1.nii.gz")
    found = check(dataset("wmh"), tmp_path)
    counts = by_what(found)
    assert [counts[f"{k}, training"] for k in ("FLAIR", "T1w", "lesion masks")] == [(3, 57, 0)] * 3
    assert counts["FLAIR, test"] == (0, 0, 0)  # of use without
    assert not found.superfluous


@pytest.mark.parametrize(
    ("found", "missing", "surplus"), [(0, 2, 0), (1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)]
)
def test_counts_between_least_and_most(tmp_path: Path, found: int, missing: int, surplus: int):
    data = small(Pattern(glob="*.nii", what="x", count=2, most=3))
    fill(tmp_path, *(f"{n}.nii" for n in range(found)))
    assert by_what(check(data, tmp_path))["x"] == (found, missing, surplus)


@pytest.mark.parametrize(
    ("count", "optional", "missing"), [(None, False, 1), (None, True, 0), (5, True, 0)]
)
def test_nothing_found(tmp_path: Path, count: int | None, optional: bool, missing: int):
    data = small(Pattern(glob="*.nii", what="x", count=count, optional=optional))
    (found,) = check(data, tmp_path).counts
    assert found.missing == missing
    assert found.complete == (missing == 0)


def test_optional_files_are_all_there_or_none(tmp_path: Path):
    data = small(Pattern(glob="*.nii", what="x", count=5, optional=True))
    assert by_what(check(data, fill(tmp_path, "1.nii")))["x"] == (1, 4, 0)


def test_no_folder(tmp_path: Path):
    with pytest.raises(MissingError, match="no such folder"):
        check(dataset("mslub"), tmp_path / "none")
    with pytest.raises(UsageError, match="is a file; give the folder"):
        check(dataset("mslub"), fill(tmp_path, "a") / "a")


@pytest.mark.parametrize(
    ("glob", "path", "subject"),
    [
        ("**/a.nii", "a.nii", ""),
        ("**/a.nii", "x/y/a.nii", ""),
        ("**/a.nii", "x/ba.nii", None),
        ("*/a.nii", "x/y/a.nii", None),
        ("a.nii", "axnii", None),
        ("sub-{id}/sub-{id}_T1w.nii", "sub-01/sub-01_T1w.nii", "01"),
        ("sub-{id}/sub-{id}_T1w.nii", "sub-01/sub-02_T1w.nii", None),
        ("**/S_{id}_t1.nii", "S_0_t1.nii", "0"),
        ("**/S_{id}_t1.nii", "S_0_t1ce.nii", None),
        ("training/**/pre/F", "training/pre/F", ""),
        ("training/**/pre/F", "training/U/0/pre/F", ""),
    ],
)
def test_patterns(glob: str, path: str, subject: str | None):
    match = expression(glob).fullmatch(path)
    assert (match is None) == (subject is None)
    if match is not None and subject:
        assert match["id"] == subject


NAMES = st.text("ab.*[", max_size=5)


@given(NAMES, st.text("ab.[", max_size=5))
def test_names_without_folders_match_as_in_a_shell(glob: str, name: str):
    shell = glob.replace("[", "[[]")  # brackets mean themselves here
    assert bool(expression(glob).fullmatch(name)) == fnmatchcase(name, shell)
