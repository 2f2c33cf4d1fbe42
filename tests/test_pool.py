"""Work shared by processes gives what one process gives."""

import math

import pytest

from brainuad.pool import Pool
from brainuad.types import UsageError


def test_every_item_comes_back_with_its_result_and_an_error_reaches_the_caller():
    for workers in (1, 2):
        with Pool(workers, progress=False) as pool:
            found = dict(pool.map(math.factorial, [3, 1, 7], "factorials"))
            assert found == {3: 6, 1: 1, 7: 5040}
            assert dict(pool.map(math.factorial, [], "nothing")) == {}
            with pytest.raises(ValueError, match="not defined"):
                dict(pool.map(math.factorial, [2, -1, 3], "factorials"))


def test_bar_names_the_work(capsys: pytest.CaptureFixture[str]):
    with Pool(1, progress=True) as pool:
        assert dict(pool.map(math.factorial, [2, 3], "factorials")) == {2: 2, 3: 6}
    assert "factorials" in capsys.readouterr().err


def test_no_workers_is_refused():
    with pytest.raises(UsageError, match="workers: 0 is too few; give 1 or more"):
        Pool(0)
