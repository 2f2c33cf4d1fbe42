import pytest
import torch
from tests.family import Stand, ready

from brainuad import testing
from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.method import preset_options
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.types import UsageError


def made(preset="tiny", **changes):
    return Ddpm(build(DdpmOptions, {**preset_options("ddpm", preset), **changes}, where="ddpm"))


@pytest.mark.golden
def test_published_presets_have_the_published_parameters(golden):
    counts = golden("parameter_counts")
    known = dict(zip(counts["names"].tolist(), counts["counts"].tolist(), strict=True))
    for preset in ("paper", "code"):
        assert sum(p.numel() for p in made(preset).net.parameters()) in known.values()


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_the_residual_has_the_asked_sign(sign):
    batch = testing.Blobs(2, "axial").get(range(2))
    found = ready(made(sign=sign), Stand()).detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.healthy is not None
    d = (batch.x - found.healthy) * batch.brain
    expected = {"absolute": d.abs(), "dark": (-d).clamp(min=0), "bright": d.clamp(min=0)}[sign]
    torch.testing.assert_close(found.anomaly, expected)


def test_squared_maps_are_the_squares_of_plain_ones():
    batch = testing.Blobs(2, "axial").get(range(2))
    plain, squared = (
        ready(made(residual=r), Stand()).detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
        for r in ("l1", "squared")
    )
    torch.testing.assert_close(squared, plain.square())


def test_a_walk_of_more_calls_than_steps_is_refused():
    with pytest.raises(UsageError, match="a walk of 30 calls from level 20"):
        DdpmOptions(levels=(20,), walk=30)


def test_the_walk_ends_where_the_exact_flow_ends():
    """Images that are all one value: the best net says that value, and so must any walk."""
    batch = testing.Blobs(2, "axial").get(range(2))

    class Flat(torch.nn.Module):
        def forward(self, x, t):
            return torch.full_like(x, 0.2)

    method = ready(made(net=TINY, levels=[400], walk=10), Flat())
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0)).healthy
    torch.testing.assert_close(found, 0.6 * batch.brain.float(), atol=1e-5, rtol=0)
