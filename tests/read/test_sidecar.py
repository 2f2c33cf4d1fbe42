"""A JSON file beside a scan tells its contrast where the name does not, and may not contradict."""

import json
from pathlib import Path

import pytest
from tests.prepare.heads import simple

from brainuad.nifti import write_volume
from brainuad.read.any import read_any
from brainuad.types import DataError, UsageError


def scan_with(folder: Path, name: str, facts: object) -> Path:
    path = folder / f"{name}.nii.gz"
    write_volume(path, simple().voxels, like=simple(), kind="image")
    text = facts if isinstance(facts, str) else json.dumps(facts)
    (folder / f"{name}.json").write_text(text)
    return path


@pytest.mark.parametrize(
    ("facts", "modality"),
    [
        ({"SeriesDescription": "t2_tirm_dark_fluid"}, "FLAIR"),
        ({"Modality": "CT"}, "CT"),
        ({"ProtocolName": "MPRAGE post gad"}, "T1ce"),
        ({"EchoTime": 0.0029, "RepetitionTime": 2.3, "InversionTime": 0.9}, "T1w"),
        ({"EchoTime": 0.1, "RepetitionTime": 6}, "T2w"),
        ({"Manufacturer": "X"}, "unknown"),
    ],
)
def test_a_name_that_says_nothing(tmp_path, facts, modality):
    assert read_any(scan_with(tmp_path, "a", facts)).modality == modality


@pytest.mark.parametrize(
    ("name", "asked", "facts", "said"),
    [
        ("sub-01_T1w", None, {"SeriesDescription": "ax FLAIR"}, "FLAIR"),
        ("sub-01", "T2w", {"SeriesDescription": "mprage"}, "T1w"),
        ("sub-01_T1w", None, {"Modality": "CT"}, "CT"),
        ("sub-01", "CT", {"Modality": "MR"}, "MR"),
    ],
)
def test_a_contradiction_is_refused(tmp_path, name, asked, facts, said):
    path = scan_with(tmp_path, name, facts)
    with pytest.raises(UsageError, match=rf"{name}.json says {said}, .* says .*; correct one"):
        read_any(path, modality=asked)


@pytest.mark.parametrize(
    "facts",
    [
        {"SeriesDescription": "MPRAGE"},
        {"SeriesDescription": "t1 post contrast"},
        {"EchoTime": 0.1, "RepetitionTime": 6},
        {"Modality": "MR"},
        {},
    ],
)
def test_what_does_not_contradict(tmp_path, facts):
    assert read_any(scan_with(tmp_path, "sub-01_T1w", facts)).modality == "T1w"


@pytest.mark.parametrize(
    ("text", "message"), [("{", "a.json: not JSON"), ("[1]", "a.json: holds no names and values")]
)
def test_a_sidecar_that_is_none(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_any(scan_with(tmp_path, "a", text))
