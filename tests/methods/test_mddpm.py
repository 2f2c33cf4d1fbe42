import pytest
import torch
from tests.family import Stand, ready
from torch import nn

from brainuad import testing
from brainuad.boxes import inside
from brainuad.config import build
from brainuad.diffusion import TINY
from brainuad.method import preset_options
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.methods.mddpm import Mddpm, MddpmOptions
from brainuad.methods.pddpm import Pddpm
from brainuad.patched import PatchedOptions

MASKED = {"margin_px": 1, "rectangles": 4}
UNMASKED = {"rectangles": 0}


def made(net=None, **changes):
    method = Mddpm(build(MddpmOptions, {"net": TINY, **changes}, where="mddpm"))
    return ready(method, net or Stand())


def pddpm():
    return ready(Pddpm(build(PatchedOptions, {"net": TINY}, where="pddpm")), Stand())


@pytest.mark.golden
@pytest.mark.parametrize("preset", ["default", "paper", "code"])
def test_published_presets_have_the_published_parameters(golden, preset):
    counts = golden("parameter_counts")
    known = dict(zip(counts["names"].tolist(), counts["counts"].tolist(), strict=True))
    with torch.device("meta"):
        method = Mddpm(build(MddpmOptions, preset_options("mddpm", preset), where="mddpm"))
    assert sum(p.numel() for p in method.net.parameters()) == known["pddpm_mddpm_film"]


def test_without_rectangles_the_loss_is_that_of_pddpm():
    batch = testing.Blobs(6, "axial").get(range(6))
    ours, theirs = (m.loss(batch, batch.rng(5)) for m in (made(masks=UNMASKED), pddpm()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("mode", ["ipm", "fpm", "fpm_cm"])
def test_every_mask_mode_changes_what_the_net_sees_but_not_what_it_should_say(mode):
    batch = testing.Blobs(6, "axial").get(range(6))
    seen = []

    class Watch(nn.Module):
        def forward(self, x, t):
            seen.append(x)
            return 2 * batch.x - 1

    method = made(Watch(), mask_mode=mode, masks=MASKED)
    loss = method.loss(batch, batch.rng(0))
    assert loss == pytest.approx(torch.zeros(6), abs=1e-6)
    pddpm = ready(made(masks=UNMASKED), method.net)
    pddpm.loss(batch, batch.rng(0))
    changed = (seen[0] != seen[1]).flatten(1).any(1)
    assert changed.any()
    assert mode != "fpm" or changed.all()


def test_no_gradient_outside_the_box():
    batch = testing.Blobs(4, "axial").get(range(4))
    output = torch.zeros_like(batch.x, requires_grad=True)

    class Given(nn.Module):
        def forward(self, x, t):
            return output

    method, rng = made(Given(), masks=MASKED), batch.rng(0)
    method.loss(batch, rng).sum().backward()
    chosen = inside(method.drawn_boxes(batch.x, rng.fork("box")), batch.x)
    assert output.grad is not None
    assert (output.grad[~chosen] == 0).all()
    assert (output.grad[chosen] != 0).all()


def test_detection_is_that_of_pddpm_and_knows_no_masks():
    batch = testing.Blobs(3, "axial").get(range(3))
    maps = [
        m.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly
        for m in (made(masks=MASKED), made(mask_mode="ipm"), pddpm())
    ]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


@pytest.mark.parametrize("random_boxes", [False, True])
def test_without_patch_noise_it_is_a_ddpm_on_slices_of_any_shape(random_boxes):
    batch = testing.Blobs(3, "axial").get(range(3))
    whole = ready(Ddpm(build(DdpmOptions, {"net": TINY}, where="ddpm")), Stand())
    method = made(patch_noise=False, masks=UNMASKED, random_boxes=random_boxes)
    maps = [m.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly for m in (method, whole)]
    torch.testing.assert_close(*maps)
    losses = [m.loss(batch, batch.rng(2)) for m in (method, whole)]
    torch.testing.assert_close(*losses)


def test_loss_of_an_image_does_not_depend_on_its_batch():
    blobs, method = testing.Blobs(3, "axial"), made(masks=MASKED)
    batch = blobs.get(range(3))
    together = method.loss(batch, batch.rng(0))
    for n in range(3):
        one = blobs.get([n])
        torch.testing.assert_close(method.loss(one, one.rng(0)), together[n : n + 1])
