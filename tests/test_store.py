import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from brainuad import shard
from brainuad.scan import Scan
from brainuad.slices import VIEWS, split
from brainuad.store import Store
from brainuad.types import DataError, MissingError, UsageError

SHAPE = (6, 8, 5)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SUBJECTS = ("sub-01", "sub-02", "sub-03")


def scan(subject: str) -> Scan:
    draw = np.random.default_rng(sum(subject.encode()))
    brain = draw.random(SHAPE) < np.array([0, 0.3, 0.9, 0.5, 0.01])
    brain[2, 2, 2] = True
    voxels = draw.random(SHAPE).astype(np.float32) * brain
    return Scan(voxels=voxels, affine=AFFINE, modality="T1w", subject=subject, brain=brain)


def brain_of(subject: str) -> np.ndarray:
    brain = scan(subject).brain
    assert brain is not None
    return brain


def create(path: Path, recipe_hash: str = "abc") -> Store:
    return Store.create(path, recipe_hash=recipe_hash, affine=AFFINE, shape=SHAPE, modality="T1w")


@pytest.fixture
def store(tmp_path) -> Store:
    made = create(tmp_path / "store")
    for subject in SUBJECTS:
        made.add(scan(subject), input_hash=f"hash of {subject}")
    return Store.open(tmp_path / "store")


def test_scans_come_back_with_everything_they_had(store):
    assert store.subjects == SUBJECTS
    assert (store.recipe_hash, store.modality, store.shape) == ("abc", "T1w", SHAPE)
    for subject in SUBJECTS:
        found, wanted = store.scan(subject), scan(subject)
        np.testing.assert_allclose(found.voxels, wanted.voxels, atol=1.3e-4)
        np.testing.assert_array_equal(found.brain, wanted.brain)
        np.testing.assert_array_equal(found.affine, AFFINE)
        assert (found.subject, found.modality) == (subject, "T1w")
        assert store.input_hash(subject) == f"hash of {subject}"
        assert store.brain_voxels(subject) == tuple(brain_of(subject).sum(axis=(0, 1)))


def test_any_zarr_library_reads_the_same_numbers(store):
    for subject in SUBJECTS:
        array = zarr.open_group(store.path, mode="r")[subject]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[:]), store.codes(subject))


@pytest.mark.parametrize("view", VIEWS)
def test_images_are_the_same_from_memory_and_from_disk_in_any_order(store, view):
    memory, disk = (store.batches(view, memory_mb=mb) for mb in (1024, 0))
    assert memory.in_memory
    assert not disk.in_memory
    order = np.random.default_rng(0).permutation(len(memory)).tolist()
    for indices in (order, order[:2], [0, 0]):
        a, b, again = memory.get(indices), disk.get(indices), memory.get(indices)
        assert a.keys == b.keys == again.keys
        for other in (b, again):
            assert torch.equal(a.x, other.x)
            assert torch.equal(a.brain, other.brain)


def test_images_are_the_slices_that_their_names_tell(store):
    images = store.batches(minimum_brain=0)
    batch = images.get(range(len(images)))
    for x, brain, key in zip(batch.x, batch.brain, batch.keys, strict=True):
        subject, k = key.split("/axial-")
        wanted = store.scan(subject)
        np.testing.assert_array_equal(x[0].numpy(), wanted.voxels[:, :, int(k)])
        np.testing.assert_array_equal(brain[0].numpy(), wanted.brain[:, :, int(k)])


@pytest.mark.parametrize("memory_mb", [1024, 0])
@pytest.mark.parametrize("view", VIEWS)
def test_training_sees_what_detection_sees(store, view, memory_mb):
    images = store.batches(view, minimum_brain=0, memory_mb=memory_mb)
    batch = images.get(range(len(images)))
    parts = [split(store.scan(subject), view) for subject in SUBJECTS]
    assert torch.equal(batch.x, torch.cat([part.x for part in parts]))
    assert torch.equal(batch.brain, torch.cat([part.brain for part in parts]))
    assert batch.keys == sum((part.keys for part in parts), ())


def test_changing_a_batch_does_not_change_the_next(store):
    for view in VIEWS:
        images = store.batches(view)
        before = images.get([1])
        copy = before.x.clone()
        before.x.zero_()
        assert torch.equal(images.get([1]).x, copy)


def test_volumes_are_the_scans(store):
    batch = store.batches("volume").get([2, 0])
    assert batch.keys == ("sub-03/volume", "sub-01/volume")
    for x, subject in zip(batch.x, ("sub-03", "sub-01"), strict=True):
        np.testing.assert_array_equal(x[0].numpy(), store.scan(subject).voxels)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.25, 0.6])
def test_only_slices_with_enough_brain_are_given(store, share):
    images = store.batches(minimum_brain=share)
    wanted = [
        (subject, k)
        for subject in SUBJECTS
        for k in range(SHAPE[2])
        if brain_of(subject)[:, :, k].any() and brain_of(subject)[:, :, k].mean() >= share
    ]
    assert images.items == wanted


def test_some_subjects_only(store):
    keys = store.batches("volume", subjects=["sub-02"]).get([0]).keys
    assert keys == ("sub-02/volume",)
    with pytest.raises(MissingError, match="holds no sub-99; choose one of its 3 subjects"):
        store.batches(subjects=["sub-99"])
    with pytest.raises(MissingError, match="holds no sub-99"):
        store.scan("sub-99")


def test_a_build_that_was_stopped_goes_on(store, monkeypatch):
    def killed(array, key, value):
        raise KeyboardInterrupt("stopped in the middle of a scan")

    again = create(store.path)
    with monkeypatch.context() as patch:
        patch.setattr(shard.zarr.Array, "__setitem__", killed)
        with pytest.raises(KeyboardInterrupt, match="middle"):
            again.add(scan("sub-04"))
    assert not again.has("sub-04")
    assert again.subjects == SUBJECTS
    assert sorted(p.name for p in store.path.iterdir()) == [*SUBJECTS, "zarr.json"]
    again.add(scan("sub-04"))
    assert Store.open(store.path).subjects == (*SUBJECTS, "sub-04")


def test_remains_of_a_killed_build_are_no_scans(store):
    (store.path / ".123-abc").mkdir()
    assert store.subjects == SUBJECTS
    assert len(store.batches("volume")) == 3


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"subject": "sub-01"}, UsageError, "sub-01: is in .* already; give each scan its own"),
        ({"subject": "a/b"}, UsageError, "'a/b': cannot name a folder; use letters"),
        ({"subject": ".a"}, UsageError, "cannot name a folder"),
        ({"modality": "FLAIR"}, DataError, "sub-09: is FLAIR, .* holds T1w; use one store per"),
        ({"affine": np.eye(4)}, DataError, "sub-09: its grid .* or lies elsewhere"),
        ({"brain": None}, DataError, "sub-09: has no brain mask"),
    ],
)
def test_scans_that_do_not_belong_there_are_refused(store, changes, error, words):
    with pytest.raises(error, match=words):
        store.add(replace(scan("sub-09"), **changes))
    assert store.subjects == SUBJECTS


def test_a_scan_of_another_shape_is_refused(store):
    small = scan("sub-09")
    assert small.brain is not None
    small = replace(small, voxels=small.voxels[1:], brain=small.brain[1:])
    with pytest.raises(DataError, match=r"sub-09: its grid \(5, 8, 5\) is not that of"):
        store.add(small)


def test_a_store_of_another_recipe_is_refused(store):
    assert Store.open(store.path, recipe_hash="abc").recipe_hash == "abc"
    with pytest.raises(UsageError, match="built with recipe_hash abc, not xyz; choose another"):
        Store.open(store.path, recipe_hash="xyz")
    with pytest.raises(UsageError, match="built with recipe_hash abc, not xyz"):
        create(store.path, recipe_hash="xyz")


def test_folders_that_are_no_store_are_refused(tmp_path):
    with pytest.raises(MissingError, match="nowhere: no such store; prepare scans"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not a store of scans"):
        Store.open(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(DataError, match="not a store of scans"):
        Store.open(tmp_path)
    zarr.create_group(tmp_path / "other", attributes={"brainuad_store": 99})
    with pytest.raises(DataError, match="is a store of version 99, not 1; prepare the scans again"):
        Store.open(tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="full: something else stands there"):
        create(tmp_path / "full")
    with pytest.raises(DataError, match="holds no image to learn from"):
        create(tmp_path / "empty").batches()


def chunk_file(store: Store, subject: str) -> Path:
    return store.path / subject / "c" / "0" / "0" / "0"


def damage_cut(store: Store) -> None:
    file = chunk_file(store, "sub-01")
    file.write_bytes(file.read_bytes()[:40])


def damage_short(store: Store) -> None:
    file = chunk_file(store, "sub-01")
    file.write_bytes(file.read_bytes()[:-9])


def damage_overwritten(store: Store) -> None:
    file = chunk_file(store, "sub-01")
    file.write_bytes(bytes(200) + file.read_bytes()[200:])


def damage_missing(store: Store) -> None:
    chunk_file(store, "sub-01").unlink()


def damage_exchanged(store: Store) -> None:
    chunk_file(store, "sub-01").write_bytes(chunk_file(store, "sub-02").read_bytes())


def damage_metadata(store: Store) -> None:
    (store.path / "sub-01" / "zarr.json").write_text("{}")


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut,
        damage_short,
        damage_overwritten,
        damage_missing,
        damage_exchanged,
        damage_metadata,
    ],
)
def test_damage_is_an_error_that_names_the_scan(store, damage):
    damage(store)
    for read in (store.scan, store.codes):
        with pytest.raises(DataError, match=r"sub-01: damaged \(.*\); delete this folder and prep"):
            read("sub-01")
    assert store.scan("sub-02").subject == "sub-02"


def test_a_scan_on_another_grid_than_its_store_is_damage(store):
    file = store.path / "zarr.json"
    meta = json.loads(file.read_text())
    meta["attributes"]["shape"] = [6, 8, 4]
    file.write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"sub-01: damaged \(its shape is \(5, 6, 8\)\)"):
        Store.open(store.path).scan("sub-01")
