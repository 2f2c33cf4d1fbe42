import warnings

import numpy as np
import pytest
import torch
from tests.family import Stand, ready
from torch import nn

from brainuad import testing
from brainuad.config import build
from brainuad.diffusion import TINY, Start
from brainuad.layers import Residual
from brainuad.method import preset_options
from brainuad.methods.cddpm import Cddpm, CddpmOptions
from brainuad.methods.ddpm import Ddpm, DdpmOptions
from brainuad.rng import Rng
from brainuad.types import UsageError

STATED = {"code": 68_619_329, "default": 68_619_329}


def made(**changes):
    options = {**preset_options("cddpm", "tiny"), **changes}
    return Cddpm(build(CddpmOptions, options, where="cddpm"))


class Constant(nn.Module):
    """Says the same of every slice."""

    def __init__(self, value=0.5):
        super().__init__()
        self.value, self.calls = value, 0

    def forward(self, x):
        self.calls += 1
        return torch.full((len(x), 3), self.value)


@pytest.mark.golden
def test_ensemble_and_loss_equal_the_published_ones(golden):
    g = golden("cddpm_ensemble")
    x, condition = torch.from_numpy(g["image"])[:, None], torch.from_numpy(g["cond"])
    noise = torch.from_numpy(g["noise_f16"].astype(np.float32))
    eps = [n.expand_as(x) for n in noise]
    levels = [int(t) + 1 for t in g["t_index"]]
    starts = [Start(n, e, Rng([0])) for n, e in zip(levels, eps, strict=True)]
    method = ready(made(levels=levels), Stand())
    found = torch.stack(method.told(x, condition, starts))
    np.testing.assert_allclose(found[:, :, 0], g["recon_single"], atol=1e-5)
    np.testing.assert_allclose(found.mean(0)[:, 0], g["recon_ensemble"], atol=1e-5)
    t = torch.from_numpy(g["train_t"])
    loss = method.conditioned_loss(2 * x - 1, condition, t, eps[0]).mean()
    np.testing.assert_allclose(loss.item(), g["train_loss"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("preset", STATED)
def test_published_presets_have_the_stated_parameters(preset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        with torch.device("meta"):
            method = Cddpm(build(CddpmOptions, preset_options("cddpm", preset), where="cddpm"))
    assert sum(p.numel() for p in method.parameters()) == STATED[preset]


@pytest.mark.slow
def test_the_paper_has_a_short_vector_and_no_layers_on_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        with torch.device("meta"):
            paper, code = (
                Cddpm(build(CddpmOptions, preset_options("cddpm", p), where="cddpm"))
                for p in ("paper", "code")
            )
    assert isinstance(paper.net.condition, nn.Identity)
    told = 4 * paper.options.net.width
    assert (paper.net.features, code.net.features) == (told + 128, told + 512)
    unet, encoder = 44_068_481, 24_550_848  # as stated for a vector of 512
    layers = 2 * (512 * 512 + 512)
    blocks = [m for m in code.net.modules() if isinstance(m, Residual)]
    shorter = sum((512 - 128) * m.inject.out_features for m in blocks)
    assert sum(p.numel() for p in paper.net.parameters()) == unet - layers - shorter
    assert sum(p.numel() for p in paper.encoder.parameters()) == encoder - (512 - 128) * 2049


def test_the_code_has_the_released_augmentation_and_depth():
    options = build(CddpmOptions, preset_options("cddpm", "code"), where="cddpm")
    change = options.augment
    assert (change.gamma, change.probability) == (0.3, 0.5)
    assert (change.bias, change.bias_probability) == (0.5, 0.25)
    assert (change.blur_px, change.blur_probability) == (2.0, 0.25)
    assert (change.ghosting_least, change.ghosting) == (0.5, 1.0)
    assert options.encoder.drop == 0.05


def test_without_layers_and_with_stochastic_depth_it_keeps_the_contract():
    changes = {
        "net": {**TINY, "condition": 8, "condition_layers": False},
        "encoder": {"kind": "small", "widths": [4, 8], "drop": 0.3},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own imports
        made(**changes)
    for check in (testing.map_is_valid, testing.weights_carry_everything):
        check(lambda: made(**changes), view="axial")


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_so_many_images_are_trained_without_their_condition(share):
    method = ready(made(drop_condition=share), Stand())
    method.encoder, told = Constant(), []
    method.net.forward = lambda x, t, condition: told.append(condition) or x
    batch = testing.Blobs(400, "axial").get(range(400))
    method.loss(batch, batch.rng(0))
    (condition,) = told
    assert set(condition.unique().tolist()) <= {0.0, 0.5}
    without = (condition == 0).all(1)
    assert torch.equal(without, (condition == 0).any(1))
    # 400 draws: five standard deviations are 0.11.
    assert without.float().mean().item() == pytest.approx(share, abs=0.115 * (share > 0))


def test_the_levels_are_the_published_ones():
    assert CddpmOptions().levels == (250, 500, 750)


def test_with_a_constant_condition_it_is_a_ddpm_with_that_condition():
    batch = testing.Blobs(3, "axial").get(range(3))
    ours = ready(made(), Stand())
    ours.encoder = Constant(0.5)

    class Fixed(Stand):
        def forward(self, x, t, condition=None):
            return super().forward(x, t, torch.full((len(x), 3), 0.5))

    options = build(DdpmOptions, {"net": TINY, "levels": [250, 500, 750]}, where="ddpm")
    theirs = ready(Ddpm(options), Fixed())
    maps = [m.detect(batch.x, batch.brain, rng=batch.rng(0)).anomaly for m in (ours, theirs)]
    torch.testing.assert_close(*maps)
    torch.testing.assert_close(*(m.loss(batch, batch.rng(1)) for m in (ours, theirs)))


def test_ensemble_is_the_mean_of_the_single_levels_with_the_same_noise():
    batch = testing.Blobs(2, "axial").get(range(2))
    several = ready(made(), Stand())

    def healthy(*levels):
        method = ready(made(levels=list(levels)), Stand())
        method.encoder = several.encoder
        return method.detect(batch.x, batch.brain, rng=batch.rng(4)).healthy

    singles = torch.stack([healthy(n) for n in (250, 500, 750)])
    torch.testing.assert_close(healthy(250, 500, 750), singles.mean(0))


@pytest.mark.parametrize("draws", [0, 4])
def test_condition_is_made_once_per_detection_of_the_slice_in_its_own_range(draws):
    batch = testing.Blobs(2, "axial").get(range(2))
    method, seen = ready(made(mahalanobis=draws), Stand()), []

    class Watch(Constant):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    method.encoder = Watch()
    method.detect(batch.x, batch.brain, rng=batch.rng(0))
    assert len(seen) == 1
    assert torch.equal(seen[0], batch.x)
    method.loss(batch, batch.rng(0))
    torch.testing.assert_close(seen[1], batch.x, atol=1e-6, rtol=0)


def test_encoder_and_denoiser_are_trained_together():
    batch = testing.Blobs(4, "axial").get(range(4))
    method = made(net={**TINY, "condition": 8, "zero_init": False})
    method.loss(batch, batch.rng(0)).sum().backward()
    for part in (method.encoder, method.net):
        assert all(p.grad is not None for p in part.parameters())
        assert any((p.grad != 0).any() for p in part.parameters())


@pytest.mark.parametrize("pretrain", [True, False])
def test_stages_are_those_that_the_class_promises(pretrain):
    seen = {}

    def note(stage, module, loss, batches):
        seen[stage] = {id(p) for p in module.parameters()}
        testing.few_steps(stage, module, loss, batches)

    method = made(pretrain=pretrain)
    method.fit(testing.Blobs(6, "axial"), minimise=note)
    assert list(seen) == [*Cddpm.stages][not pretrain :]
    assert seen["denoiser"] == {id(p) for p in method.parameters()}
    levels = {id(p) for p in method.encoder.levels.parameters()}
    assert not pretrain or levels < seen["pretrain"]


def test_pretraining_moves_the_encoder_and_starts_alike_in_every_run():
    first, second = (made() for _ in range(2))
    second.load_state_dict(first.state_dict())
    a, b = (m.make_pretraining() for m in (first, second))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    before = [p.clone() for p in first.encoder.levels.parameters()]
    batch = testing.Blobs(6, "axial")
    testing.few_steps("pretrain", a, lambda d, rng: a.loss(d.x, rng=rng), batch)
    after = first.encoder.levels.parameters()
    assert any(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


def test_a_net_without_condition_is_refused():
    with pytest.raises(UsageError, match=r"net\.condition is 0; use the number of features"):
        made(net=TINY)
