import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brainuad.shard import Shard, write_shard
from brainuad.types import DataError, UsageError

CODES = arrays.arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 4096))


@settings(max_examples=30)
@given(CODES)
def test_slices_come_back_as_written(tmp_path_factory, codes):
    path = tmp_path_factory.mktemp("shard") / "sub-01"
    write_shard(path, codes, {"subject": "sub-01"})
    found = Shard(path)
    assert found.shape == codes.shape
    assert found.attributes["subject"] == "sub-01"
    for k in reversed(range(len(codes))):
        np.testing.assert_array_equal(found.read(k), codes[k])
    np.testing.assert_array_equal(found.read_all(), codes)


def test_a_shard_is_never_overwritten(tmp_path):
    codes = np.ones((2, 3, 4), np.uint16)
    write_shard(tmp_path / "a", codes, {})
    with pytest.raises(UsageError, match="a: something else stands there"):
        write_shard(tmp_path / "a", codes * 2, {})
    np.testing.assert_array_equal(Shard(tmp_path / "a").read_all(), codes)


def test_what_is_no_shard_is_damage(tmp_path):
    with pytest.raises(DataError, match=r"nothing: damaged \(.*\); delete this folder"):
        Shard(tmp_path / "nothing")
