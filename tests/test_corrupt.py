import pytest
import torch

from brainuad.corrupt import BlobLaw, WalkLaw, blobs, centres, draw_walks, filled, lengths, picked
from brainuad.rng import Rng
from brainuad.types import UsageError


def discs(count, rows=24, columns=28):
    r, c = torch.meshgrid(
        torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"
    )
    return (r.square() + c.square() < 0.8).expand(count, 1, rows, columns)


def test_centres_are_spread_evenly_over_the_brain_and_lie_in_it():
    brain = torch.zeros(1, 1, 5, 7, dtype=torch.bool)
    brain[..., 1, 2] = brain[..., 4, 6] = brain[..., 0, 0] = True
    places = centres(brain, 3000, rng=Rng([1]))[0]
    found, counts = places.unique(dim=0, return_counts=True)
    assert found.tolist() == [[0, 0], [1, 2], [4, 6]]
    assert (counts / 3000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_no_brain_means_no_shape():
    brain = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    assert not draw_walks(WalkLaw(), brain, rng=Rng([1, 2])).any()
    assert (blobs(BlobLaw(), brain, rng=Rng([1, 2])) == 0).all()


def test_a_smooth_circle_has_the_area_of_one():
    brain = torch.ones(1, 1, 101, 101, dtype=torch.bool)
    law = BlobLaw(radius_min=10.0, radius_max=10.0, rough=0.0, blurred=0.0)
    areas = [blobs(law, brain, rng=Rng([s])).sum().item() for s in range(20)]
    assert max(areas) == pytest.approx(torch.pi * 100, rel=0.02)


def test_blobs_are_weights_inside_the_brain_and_do_not_depend_on_the_batch():
    brain = discs(4)
    whole = blobs(BlobLaw(), brain, rng=Rng([1, 2, 3, 4]))
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert (whole[~brain] == 0).all()
    assert torch.equal(whole[2:3], blobs(BlobLaw(), brain[:1], rng=Rng([3])))


def test_a_polygon_is_filled_with_its_corners():
    corners = torch.tensor([[1, 1], [1, 5], [4, 5], [4, 1]])
    shape = filled(corners, (7, 8))
    expected = torch.zeros(7, 8, dtype=torch.bool)
    expected[1:4, 1:5] = True  # half-open, and the corners on the far side
    expected[4, 1] = expected[4, 5] = expected[1, 5] = True
    assert torch.equal(shape, expected)


def test_a_standing_walk_is_one_cell():
    assert filled(torch.tensor([[2, 3]] * 4), (5, 5)).nonzero().tolist() == [[2, 3]]


def test_fewer_objects_are_more_likely_in_proportion():
    seeds = Rng(range(2000))
    shapes = draw_walks(WalkLaw(), discs(2000, 8, 8), rng=seeds)
    number = shapes.flatten(2).any(2).sum(1)
    expected = torch.tensor([1, 1 / 2, 1 / 3, 1 / 4]) / (25 / 12)
    share = torch.stack([(number == n).float().mean() for n in range(1, 5)])
    torch.testing.assert_close(share, expected, atol=0.04, rtol=0)


def test_walks_lie_in_the_brain_and_do_not_depend_on_the_batch():
    cells = discs(3)
    whole = draw_walks(WalkLaw(), cells, rng=Rng([1, 2, 3]))
    assert whole.shape == (3, 4, 24, 28)
    assert not (whole & ~cells).any()
    # the longest walk of a batch sets how many numbers are drawn, not which
    alone = [draw_walks(WalkLaw(), cells[:1], rng=Rng([s])) for s in (1, 2, 3)]
    assert torch.equal(whole, torch.cat(alone))


def test_short_walks_are_more_likely_by_the_stated_weight():
    u = torch.linspace(0, 1 - 1e-6, 200001)[None]
    steps = lengths(WalkLaw(heaviest=10.0), torch.tensor([11]), u)[0]
    counts = torch.bincount(steps)
    assert len(counts) == 11
    assert (counts[0] / counts[10]).item() == pytest.approx(10, rel=0.01)
    assert (counts[5] / counts[10]).item() == pytest.approx(5.5, rel=0.01)


def test_choices_of_no_weight_are_never_taken():
    u = torch.linspace(0, 1 - 1e-7, 1001)[None]
    assert set(picked(torch.tensor([[0.0, 2.0, 0.0, 1.0]]), u)[0].tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("law", "wrong", "message"),
    [
        (BlobLaw, {"radius_min": 9.0, "radius_max": 3.0}, "radius 9.0 to 3.0"),
        (BlobLaw, {"rough": 1.5}, "rough 1.5"),
        (WalkLaw, {"steps": ()}, "at least one bound"),
    ],
)
def test_laws_that_are_none_are_refused(law, wrong, message):
    with pytest.raises(UsageError, match=message):
        law(**wrong)
