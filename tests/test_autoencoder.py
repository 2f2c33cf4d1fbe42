"""Parity with the published autoencoder, and what holds for every size of it."""

import pytest
import torch

from brainuad.autoencoder import Architecture, Autoencoder, AutoencoderOptions
from brainuad.published import import_kl_autoencoder
from brainuad.types import UsageError


def built(**options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderOptions(**{"preset": "tiny", **options})).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.golden
def test_published_weights_give_the_published_latents_and_images(golden):
    arrays = golden("net_kl_autoencoder_tiny")
    mark = "param__"
    state = {
        k.removeprefix(mark): torch.from_numpy(v).float()
        for k, v in arrays.items()
        if k.startswith(mark)
    }
    ours = built(
        width=int(arrays["base_channels"]),
        multipliers=tuple(int(m) for m in arrays["channel_mult"]),
        blocks=int(arrays["num_res_blocks"]),
        latent_channels=arrays["latent_mean"].shape[1],
        middle_attention=True,
        groups=32,
        fold=1,
    )
    ours.load_state_dict(import_kl_autoencoder(state))
    names = ("x", "latent_mean", "latent_logvar", "recon_of_mean")
    x, *wanted = (torch.from_numpy(arrays[n]) for n in names)
    with torch.no_grad():
        mean, logvar = ours.encode(x)
        image = ours.decode(mean)
    assert count(ours) == arrays["n_params"]
    for mine, theirs in zip((mean, logvar, image), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=0)


@pytest.mark.golden
def test_kl_f8_has_the_published_parameters(golden):
    arrays = golden("parameter_counts")
    known = dict(zip(arrays["names"].tolist(), arrays["counts"].tolist(), strict=True))
    with torch.device("meta"):
        ours = built(preset="kl-f8")
    assert count(ours) == known["klf8_total"] == 83_649_253
    assert count(ours.encoder) + count(ours.quant) == known["klf8_encoder_incl_quant"]
    assert count(ours.decoder) + count(ours.post_quant) == known["klf8_decoder_incl_post_quant"]


@pytest.mark.parametrize(
    ("preset", "factor", "latent"),
    [
        ("kl-f8", 8, 4),
        ("kl-f4", 4, 3),
        ("kl-f8-small", 8, 4),
        ("kl-f4-small", 4, 4),
        ("tiny", 4, 2),
    ],
)
def test_presets_shrink_by_their_factor_and_grow_back(preset, factor, latent):
    with torch.device("meta"):
        ours = built(preset=preset)
        mean, logvar = ours.encode(torch.zeros(2, 1, 80, 96))
        image = ours.decode(mean)
    assert (ours.factor, ours.latent_channels) == (factor, latent)
    assert mean.shape == logvar.shape == (2, latent, 80 // factor, 96 // factor)
    assert image.shape == (2, 1, 80, 96)


def test_kl_f4_is_kl_f8_without_its_coarsest_level_and_with_three_channels():
    with torch.device("meta"):
        f4, f8 = built(preset="kl-f4"), built(preset="kl-f8", multipliers=(1, 2, 4))
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (f4, f8)]
    edges = ("encoder.out", "quant", "post_quant", "decoder.stem")
    differing = {n for n in shapes[0] if shapes[0][n] != shapes[1][n]}
    assert shapes[0].keys() == shapes[1].keys()
    assert differing
    assert all(n.startswith(edges) for n in differing)


def test_volumes_work_like_slices():
    ours = built(dimensions=3, fold=1, multipliers=(1, 1, 1), channels=2)
    mean, _ = ours.encode(images(1, 2, 8, 4, 12))
    assert mean.shape == (1, 2, 2, 1, 3)
    assert ours.decode(mean).shape == (1, 2, 8, 4, 12)


def test_log_variance_is_cut():
    ours = built()
    torch.nn.init.constant_(ours.quant.bias, 1e3)
    assert ours.encode(images(1, 1, 8, 8))[1].max() == 20
    torch.nn.init.constant_(ours.quant.bias, -1e3)
    assert ours.encode(images(1, 1, 8, 8))[1].min() == -30


def test_each_image_is_on_its_own():
    ours = built(preset="kl-f4-small")
    x = images(2, 1, 8, 12)
    with torch.no_grad():
        together = ours.decode(ours.encode(x)[0])
        alone = torch.cat([ours.decode(ours.encode(one[None])[0]) for one in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_an_image_the_factor_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="image of 80 x 98 cannot be divided by 4; crop or pad"):
        built().encode(images(1, 1, 80, 98))


def test_options_override_the_preset_and_leave_the_rest():
    options = AutoencoderOptions(preset="kl-f8", latent_channels=3)
    expected = Architecture(
        width=128, multipliers=(1, 2, 4, 4), blocks=2, latent_channels=3, groups=32
    )
    assert options.architecture == expected


@pytest.mark.parametrize("wrong", [{"multipliers": ()}, {"width": 0}, {"channels": 0}])
def test_sizes_that_cannot_be_built_are_refused(wrong):
    with pytest.raises(UsageError, match="use at least one level and numbers above 0"):
        AutoencoderOptions(**wrong)


def test_a_small_autoencoder_learns_to_reconstruct():
    ours = built()
    x = images(4, 1, 1, 1).expand(4, 1, 8, 8) * torch.linspace(0, 1, 8)
    optimiser = torch.optim.Adam(ours.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = (ours.decode(ours.encode(x)[0]) - x).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_folding_keeps_sizes_and_saves_work():
    x = torch.rand(2, 1, 16, 24)
    for preset, factor in (("kl-f4-small", 4), ("kl-f8-small", 8)):
        net = Autoencoder(AutoencoderOptions(preset=preset))
        mean, _ = net.encode(x)
        assert mean.shape == (2, 4, 16 // factor, 24 // factor)
        assert net.decode(mean).shape == x.shape


def test_volumes_are_not_folded():
    with pytest.raises(UsageError, match="fold 2 in 3 dimensions"):
        AutoencoderOptions(preset="kl-f4-small", dimensions=3)
