import pytest
import torch
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.equalise import equalise, rank_table
from brainuad.methods.fpi import Fpi, FpiOptions, coordinates
from brainuad.rng import Rng
from brainuad.types import DataError, UsageError

BLOBS = testing.Blobs(12, "volume")


def made(net=None, **options):
    tiny = {**Fpi.presets["tiny"], **options}
    method = Fpi(build(FpiOptions, tiny, where="fpi"))
    method.learn_levels(BLOBS)
    if net is not None:
        method.net = net
    method.mark_fitted()
    return method


class Says(nn.Module):
    """Restores by adding ``change`` and marks with the logit ``mark``, everywhere."""

    def __init__(self, change, mark):
        super().__init__()
        self.change, self.mark = change, mark
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        ones = torch.ones_like(x[:, :1])
        return torch.cat([self.change * ones, self.mark * ones], dim=1)


def test_levels_are_mean_and_deviation_of_equalised_healthy_scans():
    method = made()
    batch = BLOBS.get(range(12))
    ranks = torch.stack(
        [equalise(batch.x[n : n + 1], batch.brain[n : n + 1])[0, 0] for n in range(12)]
    )
    everywhere = batch.brain[:, 0].all(0)
    mean, deviation = method.mean.movedim(0, 2), method.deviation.movedim(0, 2)
    assert torch.allclose(mean[everywhere], ranks.mean(0)[everywhere], atol=1e-5)
    high = everywhere & (deviation > deviation[everywhere].median())
    assert torch.allclose(deviation[high], ranks.std(0)[high], atol=1e-5)
    assert (deviation[~batch.brain[:, 0].any(0)] == 0).all()


def test_places_that_few_brains_cover_have_no_level():
    method = made(minimum_count=12)
    everywhere = BLOBS.get(range(12)).brain[:, 0].all(0)
    assert ((method.deviation.movedim(0, 2) > 0) == everywhere).all()
    with pytest.raises(DataError, match="no place lies inside 13 healthy brains"):
        made(minimum_count=13)


def test_the_map_is_the_lifted_logit_and_the_counterpart_the_restored_tissue():
    batch = BLOBS.get([0, 5])
    for mark, lifted in ((-20.0, 0.0), (-3.0, 5.0), (0.0, 8.0), (11.0, 16.0)):
        found = made(Says(0.1, mark)).detect(batch.x, batch.brain, rng=batch.rng(0))
        assert torch.allclose(found.anomaly[batch.brain], torch.tensor(lifted))
        assert (found.anomaly[~batch.brain] == 0).all()
    expected = (batch.x + 0.1).clamp(0, 1) * batch.brain
    assert torch.allclose(found.healthy, expected)


def test_the_loss_of_a_perfect_net_is_that_of_its_marks_alone():
    batch = BLOBS.get([1, 2, 3])
    silent = made(Says(0.0, -20.0), whole=1.0).loss(batch, batch.rng(0))
    assert torch.allclose(silent, torch.zeros(3), atol=1e-6)
    unsure = made(Says(0.0, 0.0), whole=1.0).loss(batch, batch.rng(0))
    # Each brain pixel costs log 2, the others nothing: the share of brain in the slabs follows.
    share = unsure / 0.6931472
    assert ((share > 0.1) & (share < 0.9)).all()
    wrong = made(Says(0.25, 0.0), whole=1.0).loss(batch, batch.rng(0))
    assert torch.allclose(wrong - unsure, 0.5 * share, atol=1e-5)


def test_marks_end_half_way_down_a_soft_border():
    along = torch.arange(32.0)
    profile = 0.4 * torch.sigmoid((along - 16) / 1.5)
    change = profile.expand(1, 1, 32, 32)
    halves = made(edge=0.5).marked(change)[0, 0, 5]
    assert torch.equal(halves, (along >= 16).float())
    feet = made(edge=0.0, visible=0.04).marked(change)[0, 0, 5]
    assert torch.equal(feet, (profile > 0.04).float())
    assert feet.sum() > halves.sum()


def test_a_weak_anomaly_beside_a_strong_one_is_marked_too():
    change = torch.zeros(1, 1, 32, 32)
    change[..., 4:8, 4:8], change[..., 20:24, 20:24] = 0.6, 0.1
    assert torch.equal(made(edge=0.5).marked(change), (change > 0).float())


def test_other_intensities_are_shown_but_healthy_people_stay_what_they_are():
    method = made(augment={"probability": 1.0, "gamma": 0.5, "noise": 0.0})
    stack = torch.rand(2, 11, 8, 8) + 0.1
    found = method.recoloured(stack, Rng([1, 2]))
    assert (found[:, 3:10] == stack[:, 3:10]).all()
    for shown in (0, 1, 2, 10):
        assert (found[:, shown] != stack[:, shown]).any()


def test_slivers_of_brain_are_trained_on_only_where_there_is_nothing_else():
    batch = BLOBS.get([4])
    x, brain, table = made().upright(batch.x[0, 0], batch.brain[0, 0])
    size = brain.flatten(1).sum(1)
    largest = int(size.max())
    for least, smallest in ((largest - 5, largest - 5), (10 * largest, largest)):
        method = made(least=least)
        for seed in range(20):
            _, inside = method.example(x, brain, table, rng=Rng([seed]))
            assert int(inside.sum()) >= smallest


def test_an_example_shows_the_sick_slab_its_deviation_and_the_place():
    method = made(whole=0.0, sign="dark")
    batch = BLOBS.get([4])
    x, brain, table = method.upright(batch.x[0, 0], batch.brain[0, 0])
    shown, inside = method.example(x, brain, table, rng=Rng([3]))
    slab, z, mean, place, healthy = shown.split([3, 3, 1, 3, 1])
    assert (slab[1] <= healthy[0] + 0.05).all()
    assert torch.equal(inside[0], healthy[0] > 0)
    k = round(float((place[2, 0, 0] + 1) / 2 * len(x)))
    assert torch.allclose(healthy[0], x[k])
    assert torch.allclose(mean[0], method.mean[k] * inside[0])
    assert z.abs().max() <= 8 / 3 + 1e-6


def test_deviations_are_standard_deviations_of_the_ranks():
    method = made()
    batch = BLOBS.get([6])
    x, brain, table = method.upright(batch.x[0, 0], batch.brain[0, 0])
    k = 8
    seen = method.features(method.around(x, k), method.around(brain, k), k, table)
    ranks = equalise(batch.x, batch.brain)[0, 0, :, :, k]
    z = (ranks - method.mean[k]) / method.deviation[k].clamp(min=1e-3)
    known = brain[k] & (method.deviation[k] > 0)
    assert torch.allclose(seen[4][known], z[known].clamp(-8, 8) / 3, atol=1e-4)
    assert torch.equal(table, rank_table(x, brain))


@pytest.mark.parametrize("k", [0, 7, 15])
def test_beyond_the_volume_neighbours_are_empty(k):
    method = made()
    volume = torch.arange(16.0)[:, None, None].expand(16, 4, 4) + 1
    slab = method.around(volume, k)
    expected = [v + 1 if 0 <= v < 16 else 0 for v in (k - 1, k, k + 1)]
    assert slab[:, 0, 0].tolist() == expected


def test_the_place_is_the_same_on_both_sides_of_the_middle():
    across, along, height = coordinates((16, 10, 12), 4)
    assert torch.equal(across, across.flip(0))
    assert float(along[0, 0]) == -1
    assert float(along[0, -1]) == 1
    assert torch.equal(height, torch.full((10, 12), -0.5))


def test_a_scan_on_another_grid_is_refused():
    method = made()
    x = torch.rand(1, 1, 8, 8, 8)
    with pytest.raises(UsageError, match=r"shape \(8, 8, 8\), healthy people are known on"):
        method.detect(x, x > 0, rng=Rng([0]))


def test_without_neighbours_the_net_sees_one_slice():
    method = made(neighbours=0)
    batch = BLOBS.get([0, 1])
    assert method.loss(batch, batch.rng(0)).shape == (2,)
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.shape == batch.x.shape


class Left(nn.Module):
    """Marks the first rows of what it is shown."""

    def forward(self, x):
        rows = torch.linspace(4, -4, x.shape[2])[None, None, :, None].expand_as(x[:, :1])
        return torch.cat([torch.zeros_like(rows), rows], dim=1)


def test_the_mean_over_an_image_and_its_mirror_has_no_preferred_side():
    batch = BLOBS.get([3])
    both = made(Left()).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    assert torch.allclose(both[batch.brain], torch.tensor(8.0), atol=1e-5)
    one = made(Left(), mirrored=False).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
    assert float(one.max()) > 9
