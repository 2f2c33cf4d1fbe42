"""Scans of BIDS data sets: the right ones, by name alone."""

from pathlib import Path

import pytest

from brainuad.read.bids import Name, Wanted, find_bids, is_bids
from brainuad.types import MissingError, UsageError

FILES = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_ce-gad_T1w.nii.gz",
    "sub-01/anat/sub-01_FLAIR.nii",
    "sub-01/anat/sub-01_T1w.json",
    "sub-01/func/sub-01_task-rest_bold.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_run-01_T1w.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_run-02_T1w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_PDw.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_desc-brain_T1w.nii.gz",
    "sub-02/ses-b/anat/notes.nii.gz",
    "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(study, **wanted):
    return [s.path.name.split(".")[0] for s in find_bids(study, Wanted(**wanted))]


def test_all_anatomical_scans_and_no_derivatives(study):
    assert found(study) == [
        "sub-01_FLAIR", "sub-01_T1w", "sub-01_ce-gad_T1w", "sub-02_ses-a_run-01_T1w",
        "sub-02_ses-a_run-02_T1w", "sub-02_ses-b_PDw", "sub-02_ses-b_T1w",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"modality": "T1ce"}, ["sub-01_ce-gad_T1w"]),
        ({"modality": "PD"}, ["sub-02_ses-b_PDw"]),
        ({"participants": ["sub-01"], "modality": "T1w"}, ["sub-01_T1w"]),
        ({"participants": ["02"], "sessions": ["ses-a"], "runs": ["2"]},
         ["sub-02_ses-a_run-02_T1w"]),
        ({"sessions": ["b"], "modality": "T1w"}, ["sub-02_ses-b_T1w"]),
    ],
)  # fmt: skip
def test_filters(study, wanted, names):
    assert found(study, **wanted) == names


def test_each_scan_knows_its_person_and_its_modality(study):
    one = find_bids(study, Wanted(modality="T1ce"))[0]
    assert (one.subject, one.modality) == ("sub-01", "T1ce")


def test_a_data_set_describes_itself_or_holds_participants(study, tmp_path):
    assert is_bids(study)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not is_bids(empty)
    with pytest.raises(MissingError, match="not a BIDS data set"):
        find_bids(empty)
    (empty / "dataset_description.json").write_text("{}")
    with pytest.raises(MissingError, match=r"\(any scan\); there are 0 images of no kind"):
        find_bids(empty)


def test_what_is_not_there_is_said_with_what_is(study):
    with pytest.raises(MissingError, match=r"\(modality CT\); there are 8 images of FLAIR, PD, T1"):
        find_bids(study, Wanted(modality="CT"))
    with pytest.raises(UsageError, match="has no participant 07; check the labels"):
        find_bids(study, Wanted(participants=["sub-07"]))


@pytest.mark.parametrize("name", ["scan.nii.gz", "sub-01.nii.gz", "sub-01_T1w.mgz", "_T1w.nii"])
def test_other_names_are_not_taken_apart(name):
    assert Name.of(Path(name)) is None
