"""Many scans: in order, failures as values, the same numbers in any number of processes."""

from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.nifti import write_volume
from brainuad.prepare import Recipe, prepare_many, recipe
from brainuad.prepare import many as module
from brainuad.types import DataError, MissingError, SpaceError, UsageError


@pytest.fixture
def inputs(tmp_path):
    scan = simple()
    write_volume(tmp_path / "a_T1w.nii.gz", scan.voxels, like=scan, kind="image")
    flat = replace(scan, voxels=np.zeros_like(scan.voxels), subject="flat")
    return [scan, tmp_path / "a_T1w.nii.gz", tmp_path / "none.nii", flat]


def test_outcomes_come_in_order_with_errors_as_values(inputs):
    found = list(prepare_many(inputs, recipe("phantom")))
    assert [o.name for o in found] == ["egg", str(inputs[1]), str(inputs[2]), "flat"]
    assert [type(o.error) for o in found] == [type(None), type(None), MissingError, DataError]
    assert found[1].prepared.scan.subject == "a_T1w"


@pytest.mark.slow
def test_workers_change_nothing(inputs):
    alone = list(prepare_many(inputs, recipe("phantom")))
    together = list(prepare_many(inputs, recipe("phantom"), workers=2))
    for one, two in zip(alone, together, strict=True):
        assert (one.name, str(one.error)) == (two.name, str(two.error))
        if one.prepared:
            assert one.prepared.scan.voxels.tobytes() == two.prepared.scan.voxels.tobytes()


def test_the_modality_of_nameless_files_can_be_said(inputs, tmp_path):
    path = tmp_path / "head.nii"
    write_volume(path, inputs[0].voxels, like=inputs[0], kind="image")
    (found,) = prepare_many([path], recipe("phantom"), modality="FLAIR")
    assert found.prepared.scan.modality == "FLAIR"


def test_nothing_is_done_before_it_is_asked_for(inputs):
    results = prepare_many(iter(inputs), Recipe(name="x", steps=()))
    assert isinstance(next(results).error, type(None))


def test_at_least_one_worker():
    with pytest.raises(UsageError, match="workers: must be at least 1, got 0"):
        prepare_many([], recipe("phantom"), workers=0)


def test_a_killed_worker_is_said(monkeypatch, inputs):
    class Killed:
        def __init__(self, *_: object, **__: object): ...

        def submit(self, *_: object) -> object:
            raise module.BrokenProcessPool("gone")

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(module, "ProcessPoolExecutor", Killed)
    with pytest.raises(SpaceError, match="a worker process was killed .memory... try fewer"):
        list(prepare_many(inputs, recipe("phantom"), workers=2))
