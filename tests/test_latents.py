"""What of the training images is held out: whole scans, of any site, whatever their order."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad import testing
from brainuad.latents import split
from brainuad.method import Batch
from brainuad.slices import image_key


def images(*scans):
    """Images of scans, given as (name, number of slices)."""
    keys = tuple(image_key(name, k) for name, count in scans for k in range(count))
    x = torch.arange(len(keys)).float()[:, None, None, None].expand(-1, 1, 2, 2)
    return testing.Fixed(Batch(x=x, brain=x > -1, keys=keys))


def scans_of(part):
    return {key.partition("/")[0] for key in part.all_keys()}


@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=12),
    held_out=st.floats(0.01, 0.5),
)  # fmt: skip
def test_whole_scans_are_held_out_and_no_image_is_lost(counts, held_out):
    every = images(*((f"sub-{n:02d}", count) for n, count in enumerate(counts)))
    training, rest = split(every, held_out)
    wanted = round(held_out * len(every))
    if not wanted:
        assert training is every
        assert rest is every
        return
    assert not scans_of(training) & scans_of(rest)
    assert sorted(training.all_keys() + rest.all_keys()) == sorted(every.all_keys())
    assert len(training) >= 1
    # What was asked for, unless one scan would be left to learn from; at most one scan more.
    assert len(rest) >= wanted or len(scans_of(training)) == 1
    assert len(rest) < wanted + max(counts)


def test_both_sites_are_among_what_is_held_out():
    names = [f"IXI{n:03d}" for n in range(60)] + [f"sub-{n:02d}" for n in range(60)]
    _, rest = split(images(*((name, 2) for name in names)), 0.2)
    found = scans_of(rest)
    assert len(found) == 24
    assert any(name.startswith("IXI") for name in found)
    assert any(name.startswith("sub") for name in found)
    again = split(images(*((name, 2) for name in reversed(names))), 0.2)[1]
    assert scans_of(again) == found


def test_images_of_the_parts_are_those_of_their_keys():
    every = images(("a", 3), ("b", 3), ("c", 3))
    for part in split(every, 0.3):
        batch = part.get(range(len(part)))
        numbers = [every.batch.keys.index(key) for key in batch.keys]
        assert batch.x[:, 0, 0, 0].tolist() == numbers


def test_of_a_single_scan_nothing_is_held_out():
    every = images(("a", 9))
    assert split(every, 0.5) == (every, every)
