import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.equalise import equalise


def drawn(seed, shape=(2, 1, 12, 14)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator) > 0.3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_values_become_ranks(seed):
    x, brain = drawn(seed, (1, 1, 30, 30))
    out = equalise(x, brain)[brain]
    share = (x[brain][:, None] >= x[brain][None]).float().mean(1)
    # voxels that share one of 256 bins share their rank
    assert (out - share).abs().max() < 0.05
    order = x[brain].argsort()
    assert (out[order].diff() >= 0).all()
    assert out.max() == 1


def test_a_monotone_change_of_contrast_changes_nothing():
    x, brain = drawn(1)
    steps = (x * 15).round() / 15
    assert torch.equal(equalise(steps, brain), equalise(steps**2, brain))


def test_outside_is_zero_and_images_are_independent():
    x, brain = drawn(2)
    both = equalise(x, brain)
    assert (both[~brain] == 0).all()
    assert torch.equal(both[1:], equalise(x[1:], brain[1:]))


def test_an_empty_brain_gives_zeros():
    x, brain = drawn(3)
    assert (equalise(x, torch.zeros_like(brain)) == 0).all()
