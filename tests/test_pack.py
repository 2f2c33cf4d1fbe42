"""One file for a whole store: what comes out is what went in, to half a grey step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.pack import read_pack, write_pack
from brainuad.scan import Scan
from brainuad.store import Store
from brainuad.types import DataError, MissingError, UsageError

SHAPE, AFFINE = (7, 6, 5), np.diag([2.0, 2, 2, 1])


def scan(seed, name):
    rng = np.random.default_rng(seed)
    brain = rng.random(SHAPE) < 0.6
    brain[3, 3, 2] = True
    voxels = (rng.random(SHAPE) * brain).astype(np.float32)
    return Scan(voxels=voxels, affine=AFFINE, modality="T1w", subject=name, brain=brain)


def store(folder, scans):
    made = Store.create(folder, recipe_hash="abc", affine=AFFINE, shape=SHAPE, modality="T1w")
    for n, each in enumerate(scans):
        made.add(each, input_hash=f"hash-{n}")
    return made


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_packed_and_unpacked_scans_are_the_same_to_half_a_grey_step(tmp_path_factory, seed, n):
    folder = tmp_path_factory.mktemp("pack")
    before = store(folder / "store", [scan(seed + m, f"s{m}") for m in range(n)])
    after = read_pack(write_pack(before, folder / "all.pack"), folder / "again")
    assert after.subjects == before.subjects
    assert after.recipe_hash == "abc"
    for name in before.subjects:
        one, other = before.scan(name), after.scan(name)
        assert (one.brain == other.brain).all()
        assert np.abs(one.voxels - other.voxels).max() <= 0.5 / 255 + 1e-4
        assert np.allclose(one.affine, other.affine)
        assert after.input_hash(name) == before.input_hash(name)


def test_a_store_that_was_unpacked_before_is_taken(tmp_path):
    file = write_pack(store(tmp_path / "store", [scan(0, "a")]), tmp_path / "all.pack")
    first = read_pack(file, tmp_path / "again")
    mark = (tmp_path / "again" / "zarr.json").stat().st_mtime_ns
    assert read_pack(file, tmp_path / "again").subjects == first.subjects
    assert (tmp_path / "again" / "zarr.json").stat().st_mtime_ns == mark


def test_a_store_of_other_scans_is_not_taken(tmp_path):
    one = write_pack(store(tmp_path / "one", [scan(0, "a")]), tmp_path / "one.pack")
    two = write_pack(store(tmp_path / "two", [scan(1, "b")]), tmp_path / "two.pack")
    read_pack(one, tmp_path / "again")
    with pytest.raises(UsageError, match=r"again: holds other scans than .*two.pack; choose"):
        read_pack(two, tmp_path / "again")


def test_what_is_no_packed_store_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(MissingError, match=r"none.pack: no such file; give one made by"):
        read_pack(tmp_path / "none.pack", tmp_path / "again")
    whole = write_pack(store(tmp_path / "store", [scan(0, "a")]), tmp_path / "all.pack")
    raw = whole.read_bytes()
    for content in (b"", b"x" * 100, raw[: len(raw) // 2], raw[:60] + b"\0" * 60 + raw[120:]):
        file = tmp_path / "bad.pack"
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"bad.pack: not a packed store, or damaged"):
            read_pack(file, tmp_path / "again")
        assert not (tmp_path / "again").exists()
