"""Scans out of archives, and the list of the sprite benchmark."""

import csv
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from brainuad.benchmark import load_benchmark
from brainuad.benchmark.sources import SliceSource
from brainuad.types import DataError, MissingError


def png(image: np.ndarray, path: Path) -> bytes:
    imsave(path, image, check_contrast=False)
    return path.read_bytes()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip with a grey image, a colour image and no others."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("grey.png", png(rng.integers(0, 256, (8, 6), np.uint8), tmp_path / "g.png"))
        colour = rng.integers(0, 256, (8, 6, 3), np.uint8)
        file.writestr("colour.png", png(colour, tmp_path / "c.png"))
    return tmp_path / "images.zip"


def source(archive: Path, member: str) -> SliceSource:
    return SliceSource(subject="s", path=archive, modality="CT", member=member)


def test_a_slice_keeps_its_rows_and_columns_and_is_named_by_its_own_bytes(archive: Path):
    found = source(archive, "grey.png")
    scan = found.read()
    expected = np.random.default_rng(0).integers(0, 256, (8, 6), np.uint8)
    np.testing.assert_array_equal(scan.voxels[..., 0], expected)
    with zipfile.ZipFile(archive) as file:
        assert found.hash() == hashlib.sha256(file.read("grey.png")).hexdigest()


def test_what_is_no_grey_slice_is_refused(archive: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"colour.png: has shape \(8, 6, 3\); give a grey image"):
        source(archive, "colour.png").read()
    with pytest.raises(MissingError, match=r"holds no other.png; check that list and data"):
        source(archive, "other.png").read()
    with pytest.raises(MissingError, match="no such archive"):
        source(tmp_path / "nothing.zip", "grey.png").read()
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match="text.zip: is damaged .*; fetch it again"):
        source(tmp_path / "text.zip", "grey.png").read()


def test_an_archive_that_was_replaced_is_read_anew(archive: Path, tmp_path: Path):
    before = source(archive, "grey.png").hash()
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as file:
        file.writestr("grey.png", png(np.zeros((4, 4), np.uint8), tmp_path / "n.png"))
    (tmp_path / "new.zip").replace(archive)
    assert source(archive, "grey.png").hash() != before
    assert source(archive, "grey.png").read().voxels.shape == (4, 4, 1)


@pytest.mark.real
def test_roles_of_the_sprites_do_not_overlap_and_both_kinds_are_there(
    shared_data: Path, tmp_path: Path
):
    (task,) = load_benchmark("mednist-sprites", shared_data, tmp_path / "cases", mini=True)
    listing = shared_data / "benchmarks" / "mednist-sprites" / "files.csv"
    with listing.open(newline="", encoding="utf-8") as handle:
        roles = [row["role"] for row in csv.DictReader(handle)]
    assert (len(task.train), len(task.calibration)) == (
        roles.count("train"), roles.count("calibrate"))  # fmt: skip
    kinds = {case.strata["sprite"] for case in task.cases if case.kind == "lesion"}
    assert kinds == {"flat", "matched"}
    assert task.train[0].read().voxels.shape == (64, 64, 1)
