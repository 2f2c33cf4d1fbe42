import pytest
import torch
from tests.family import Stand, ready

from brainuad import testing
from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.method import preset_options
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.methods.pddpm import Pddpm
from brainuad.patched import PatchedOptions


@pytest.mark.golden
def test_published_preset_has_the_published_parameters(golden):
    counts = golden("parameter_counts")
    known = dict(zip(counts["names"].tolist(), counts["counts"].tolist(), strict=True))
    method = Pddpm(build(PatchedOptions, preset_options("pddpm", "code"), where="pddpm"))
    assert sum(p.numel() for p in method.net.parameters()) == known["pddpm_mddpm_film"]


def test_one_box_is_the_whole_image_method():
    batch = testing.Blobs(2, "axial").get(range(2))
    one = ready(Pddpm(build(PatchedOptions, {"net": TINY, "patches": 1}, where="")), Stand())
    whole = ready(Ddpm(build(DdpmOptions, {"net": TINY}, where="")), Stand())
    square = batch.x[..., :32]
    brain = batch.brain[..., :32]
    maps = [m.detect(square, brain, rng=batch.rng(0)).anomaly for m in (one, whole)]
    torch.testing.assert_close(*maps)


def test_the_quadrant_sees_a_lesion_elsewhere():
    """The context leaks, as the page says: a change in one quadrant reaches the next one."""
    batch = testing.Blobs(1, "axial").get([0])
    method = ready(Pddpm(build(PatchedOptions, {"net": TINY}, where="")), Stand())
    changed = batch.x.clone()
    changed[..., :16, :24] = 1.0
    eps = torch.zeros_like(batch.x)
    before, after = (method.restored(x, batch.brain, 500, eps) for x in (batch.x, changed))
    other = (before != after)[..., :16, 24:]
    assert other.any()
