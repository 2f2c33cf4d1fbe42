import pytest
import torch

from brainuad.checkpoint import StageFiles
from brainuad.types import DataError, UsageError

IDENTITY = {"lr": 0.1, "shape": (1, 2)}


def test_nothing_is_there_at_first(tmp_path):
    files = StageFiles(tmp_path, "a", IDENTITY)
    assert files.load() is None
    assert files.finished() is None


def test_a_checkpoint_comes_back_and_the_last_one_counts(tmp_path):
    files = StageFiles(tmp_path, "a", IDENTITY)
    for step in (1, 2):
        files.save({"step": step, "module": {"w": torch.full((2,), float(step))}})
    state = files.load()
    assert state is not None
    assert state["step"] == 2
    assert torch.equal(state["module"]["w"], torch.full((2,), 2.0))


def test_weights_that_share_memory_come_back(tmp_path):
    files = StageFiles(tmp_path, "a", IDENTITY)
    shared = torch.arange(6.0).reshape(2, 3)
    files.save({"step": 1})
    files.finish({"a": shared, "b": shared.T, "n": torch.tensor(3)}, {"steps": 1})
    found = files.finished()
    assert found is not None
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["b"], shared.T)
    assert found["n"] == 3
    assert files.steps() == 1
    assert files.load() is None


def test_weights_without_the_mark_are_not_finished(tmp_path):
    files = StageFiles(tmp_path, "a", IDENTITY)
    files.finish({"a": torch.ones(1)}, {})
    files.done.unlink()
    assert files.finished() is None


def test_a_mark_without_weights_is_damage(tmp_path):
    files = StageFiles(tmp_path, "a", IDENTITY)
    files.finish({"a": torch.ones(1)}, {})
    files.weights.unlink()
    with pytest.raises(
        DataError, match=r"a\.json: damaged .*; delete it to train this stage again"
    ):
        files.finished()


def test_another_identity_is_refused_and_says_what_differs(tmp_path):
    StageFiles(tmp_path, "a", IDENTITY).save({"step": 1})
    other = StageFiles(tmp_path, "a", {"lr": 0.2, "shape": (1, 2), "new": True})
    with pytest.raises(UsageError, match=r"\(lr was 0\.1 and is 0\.2, new was None and is True\)"):
        other.load()
    StageFiles(tmp_path, "a", IDENTITY).finish({}, {})
    with pytest.raises(UsageError, match=r"a\.json: is of another training \(lr was"):
        other.finished()
    assert StageFiles(tmp_path, "b", other.identity).load() is None
