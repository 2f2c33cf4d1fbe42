"""Pictures of slices keep their pixels and their place; what is no grey picture is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainuad.cli.inputs import sources
from brainuad.nifti import read_scan, write_volume
from brainuad.prepare import prepare_scan, recipe
from brainuad.read.any import read_any
from brainuad.read.picture import read_picture
from brainuad.types import DataError, MissingError, UsageError

ROWS, COLUMNS = 12, 20
VALUES = np.arange(ROWS * COLUMNS, dtype=np.uint8).reshape(ROWS, COLUMNS)


def saved(path: Path, values: np.ndarray = VALUES, **options) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def test_the_top_of_the_picture_is_the_front(tmp_path):
    scan = read_any(saved(tmp_path / "sub-07_slice.png"))
    assert scan.voxels.shape == (COLUMNS, ROWS, 1)
    assert scan.voxels[0, -1, 0] == VALUES[0, 0]
    assert scan.voxels[-1, 0, 0] == VALUES[-1, -1]
    assert (scan.subject, scan.modality) == ("sub-07", "unknown")
    assert scan.source.codes == "RAS"


@pytest.mark.parametrize(
    "values",
    [VALUES, VALUES.astype(np.uint16) * 200, np.stack([VALUES] * 3, -1)],
    ids=["8 bits", "16 bits", "grey in colours"],
)
def test_grey_values_stay_what_they_are(tmp_path, values):
    scan = read_picture(saved(tmp_path / "a.png", values))
    grey = values if values.ndim == 2 else values[..., 0]
    np.testing.assert_array_equal(scan.voxels[:, :, 0], grey[::-1].T)


def test_a_jpeg_is_read_to_its_loss(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    scan = read_picture(saved(tmp_path / "a.JPEG", smooth, quality=95), modality="CT")
    assert np.abs(scan.voxels[:, :, 0] - smooth[::-1].T).max() <= 3
    assert scan.modality == "CT"


def test_a_folder_of_pictures_is_one_scan_each_and_outputs_fit(tmp_path):
    for name in ("b_T1w.png", "a_T1w.jpg", "notes.txt"):
        (tmp_path / name).write_text("") if name.endswith("txt") else saved(tmp_path / name)
    found = sources([tmp_path])
    assert [s.path.name for s in found] == ["a_T1w.jpg", "b_T1w.png"]
    prepared = prepare_scan(found[1].read(), recipe("slices"))
    np.testing.assert_allclose(prepared.scan.voxels[:, :, 0], VALUES[::-1].T / 255, atol=1e-6)
    home = prepared.to_original(prepared.scan.voxels)
    write_volume(tmp_path / "map.nii.gz", home, like=prepared.original)
    np.testing.assert_array_equal(read_scan(tmp_path / "map.nii.gz").voxels, home)


def test_a_mask_in_colours_is_no_slice(tmp_path):
    colours = np.stack([VALUES, VALUES // 2, VALUES], -1)
    with pytest.raises(DataError, match=r"a.png: is in colours; give a grey picture"):
        read_picture(saved(tmp_path / "a.png", colours))


def test_a_hole_in_a_picture_is_refused(tmp_path):
    holes = np.stack([VALUES] * 3 + [VALUES], -1)
    with pytest.raises(DataError, match=r"a.png: is partly transparent"):
        read_picture(saved(tmp_path / "a.png", holes))


@pytest.mark.parametrize("keep", [0, 4, 40, 120])
def test_damaged_pictures_are_named(tmp_path, keep):
    path = saved(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="a.png: not a readable picture"):
        read_picture(path)


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="a.png: too large for a slice"):
        read_picture(saved(tmp_path / "a.png"))


def test_what_else_is_wrong(tmp_path):
    with pytest.raises(MissingError, match=r"b.png: no such file"):
        read_picture(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a.png: every voxel is 7; give a scan with an image"):
        read_picture(saved(tmp_path / "a.png", np.full((9, 9), 7, np.uint8)))
    with pytest.raises(UsageError, match="the name says FLAIR, the modality given is T1w"):
        read_picture(saved(tmp_path / "x_FLAIR.png"), modality="T1w")
