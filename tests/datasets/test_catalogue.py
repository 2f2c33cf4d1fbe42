"""The recipes that are shipped, and how recipes are read."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.datasets import dataset, names
from brainuad.datasets.catalogue import Download, is_inside, values
from brainuad.datasets.layout import expression
from brainuad.types import MissingError, UsageError

RECIPE = """
name: ours
title: Ours
publisher: https://example.org/
licence: {name: CC0, commercial: "yes"}
citation: none
modalities: [T1w]
healthy: all
lesions: none
files:
  - {address: "https://example.org/{id}.nii.gz", path: "{id}.nii.gz", each: {id: "08..11"}}
layout:
  - {glob: "{id}.nii.gz", what: T1w, ids: "08..11"}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "ours.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_data_sets_of_the_field_are_there():
    wanted = {"ixi", "brats2021", "mslub", "atlas", "wmh", "mednist", "oasis1", "ds002748"}
    assert wanted <= set(names())


@pytest.mark.parametrize("name", names())
def test_recipe_is_complete(name: str):
    found = dataset(name)
    assert found.name == name
    for text in (found.title, found.citation, found.healthy, found.lesions, found.licence.name):
        assert text.strip()
    assert found.modalities
    assert all(re.match(r"https://\S+$", each) for each in (found.publisher, *found.sources))
    assert found.sources
    assert bool(found.files) == (found.access == "download")
    assert not any(each.optional for each in found.layout[:1])


@pytest.mark.parametrize("name", names())
def test_downloads_have_different_places_and_fit_the_layout(name: str):
    """A single file that the layout does not know would be called superfluous."""
    every = dataset(name).downloads()
    assert len({each.path for each in every}) == len({each.address for each in every}) == len(every)
    assert not [each for each in every if set("{}") & set(each.address + each.path)]
    known = [expression(each.glob) for each in dataset(name).layout]
    single = [each.path for each in every if not each.unpack]
    assert not [path for path in single if not any(e.fullmatch(path) for e in known)]


def test_data_behind_a_registration_is_never_fetched():
    for name in ("brats2021", "atlas", "oasis1"):
        assert dataset(name).registration
        assert dataset(name).steps
        assert not dataset(name).files


def test_families_of_files_are_written_out(tmp_path: Path):
    found = dataset(write(tmp_path, RECIPE))
    assert [each.path for each in found.downloads()] == [
        "08.nii.gz", "09.nii.gz", "10.nii.gz", "11.nii.gz",
    ]  # fmt: skip
    assert found.downloads()[0].address == "https://example.org/08.nii.gz"


@given(st.integers(0, 200), st.integers(0, 50))
def test_ranges_are_whole_and_padded(first: int, more: int):
    found = values(f"{first:03d}..{first + more}")
    assert [int(each) for each in found] == list(range(first, first + more + 1))
    assert {len(each) for each in found} == {3}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("title: Ours", "heading: Ours", "heading: unknown setting"),
        ("what: T1w", "wat: T1w", r"ours.yaml: layout.0.wat: unknown setting"),
        ("path:", "place:", r"ours.yaml: files.0.place: unknown setting"),
        ('commercial: "yes"', 'commercial: "maybe"', "licence.commercial"),
        ("citation: none", "", "citation: has no value"),
        ("https://example.org/{id}", "file:///etc/{id}", "not a web address"),
        ('path: "{id}.nii.gz"', 'path: "../{id}"', "leads out of the folder"),
        ("name: ours", "name: Our Data", "use small letters"),
        ("lesions: none", "lesions: none\nregistration: true", "give steps instead"),
        ('glob: "{id}', 'glob: "*', "has ids and no"),
        ('each: {id: "08..11"}', 'checksum: "sha256:12"', "write sha256"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, before: str, after: str, said: str):
    assert before in RECIPE
    with pytest.raises(UsageError, match=said):
        dataset(write(tmp_path, RECIPE.replace(before, after, 1)))


def test_a_recipe_without_files_needs_steps(tmp_path: Path):
    lines = [line for line in RECIPE.splitlines() if "address" not in line and "files" not in line]
    with pytest.raises(UsageError, match="no steps either"):
        dataset(write(tmp_path, "\n".join(lines)))


def test_unknown_names_list_the_known_ones(tmp_path: Path):
    with pytest.raises(UsageError, match="no such data set; known: .*ixi"):
        dataset("ixy")
    with pytest.raises(MissingError, match="no such settings file"):
        dataset(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="has no part 'FLAIR'; its parts: T1, T2, PD, table"):
        dataset("ixi").downloads(("FLAIR",))


@pytest.mark.parametrize("path", ["..", "a/../../b", "/a", "C:/a", "..\\a", ""])
def test_paths_that_leave_a_folder(path: str):
    assert not is_inside(path)
    if path:
        with pytest.raises(UsageError, match="leads out of the folder"):
            Download(address="https://example.org/a", path=path)


@pytest.mark.parametrize("path", ["a", "a/b.nii.gz", "a..b/c", "./a"])
def test_paths_that_stay_in_a_folder(path: str):
    assert is_inside(path)
