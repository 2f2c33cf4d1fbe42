import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training import Dots

from brainuad.feed import Feed


def feed(count: int = 10, size: int = 3, seed: int = 0, stage: str = "a") -> Feed:
    return Feed(Dots(count), size=size, seed=seed, stage=stage)


@given(st.integers(1, 30), st.data())
def test_an_epoch_shows_each_image_at_most_once_and_leaves_out_less_than_a_batch(count, data):
    size = data.draw(st.integers(1, count))
    with feed(count, size) as images:
        for epoch in range(3):
            steps = range(epoch * (count // size), (epoch + 1) * (count // size))
            seen = [i for step in steps for i in images.indices(step)]
            assert len(seen) == len(set(seen)) == count - count % size
            assert set(seen) <= set(range(count))


def test_the_order_follows_from_seed_stage_and_step_alone():
    with feed() as a, feed() as b, feed(seed=1) as c, feed(stage="b") as d:
        forward = [a.indices(step) for step in range(9)]
        backward = [b.indices(step) for step in reversed(range(9))][::-1]
        assert forward == backward
        assert forward != [c.indices(step) for step in range(9)]
        assert forward != [d.indices(step) for step in range(9)]
        assert forward[:3] != forward[3:6]


def test_batches_are_those_of_their_steps_also_after_a_jump():
    with feed() as images:
        for step in (0, 1, 2, 7, 8, 3, 3):
            wanted = images.batches.get(images.indices(step))
            found = images.take(step)
            assert found.keys == wanted.keys
            assert torch.equal(found.x, wanted.x)


def test_the_next_batch_is_read_in_another_thread():
    readers = []

    class Watched(Dots):
        def get(self, indices):
            readers.append(threading.current_thread() is threading.main_thread())
            return super().get(indices)

    with Feed(Watched(10), size=3, seed=0, stage="a") as images:
        for step in range(4):
            images.take(step)
    assert readers[0] is True
    assert not any(readers[1:])


def test_what_goes_wrong_while_reading_ahead_is_raised():
    class Broken(Dots):
        def get(self, indices):
            raise OSError("the disk is gone")

    with feed() as images:
        images.take(0)
        images.batches = Broken()
        images.take(1)
        with pytest.raises(OSError, match="the disk is gone"):
            images.take(2)
