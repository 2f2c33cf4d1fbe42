"""Parity with the published nets, and what holds for every net of the family."""

import pytest
import torch
from torch import nn

from brainuad.layers import Residual
from brainuad.published import import_madad_unet, import_unet
from brainuad.types import UsageError
from brainuad.unet import UNet, UNetOptions, ddpm_options, mad_ad_options, mad_ad_unet, sinusoid

TINY = {"width": 8, "multipliers": (1, 2), "blocks": 1, "heads": 2, "groups": 4}
STATED_COUNTS = {
    "XS": 16_142_149,
    "S": 64_478_853,
    "M": 145_010_117,
    "L": 257_735_941,
    "XL": 402_656_325,
}


def net(**options) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetOptions(**{**TINY, "zero_init": False, **options})).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def weights_of(arrays) -> dict[str, torch.Tensor]:
    mark = "param__"
    return {
        k.removeprefix(mark): torch.from_numpy(v).float()
        for k, v in arrays.items()
        if k.startswith(mark)
    }


def tensors_of(arrays, *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(arrays[n]) for n in names]


def multipliers_of(arrays) -> tuple[int, ...]:
    return tuple(int(m) for m in arrays["channel_mult"])


@pytest.mark.golden
def test_madad_net_matches_the_published_one(golden):
    arrays = golden("net_madad_unet_tiny")
    x, t, x0, keep = tensors_of(arrays, "x", "t", "out_x0", "out_keep_prob")
    multipliers, heads = multipliers_of(arrays), int(arrays["num_heads"])
    options = UNetOptions(
        channels_in=x.shape[1],
        channels_out=x0.shape[1],
        width=int(arrays["base_channels"]),
        multipliers=multipliers,
        blocks=int(arrays["num_res_blocks"]),
        heads=heads,
        attention=tuple(range(len(multipliers))),
        mask_head=True,
    )
    ours = UNet(options).eval()
    ours.load_state_dict(import_madad_unet(weights_of(arrays), heads=heads))
    with torch.no_grad():
        mine, logit = ours(x, t)
    assert count(ours) == arrays["n_params"]
    torch.testing.assert_close(mine, x0, atol=2e-4, rtol=0)
    torch.testing.assert_close(1 - logit.sigmoid(), keep, atol=2e-4, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize(
    "name", ["net_ddpm_unet_tiny_additive", "net_ddpm_unet_tiny_film", "net_cddpm_unet_tiny"]
)
def test_ddpm_nets_match_the_published_ones(golden, name):
    arrays = golden(name)
    x, t, out = tensors_of(arrays, "x", "t", "out")
    condition = torch.from_numpy(arrays["cond"]) if "cond" in arrays else None
    options = UNetOptions(
        width=int(arrays["base_channels"]),
        multipliers=multipliers_of(arrays),
        blocks=int(arrays["num_res_blocks"]),
        head_channels=int(arrays["head_channels"]),
        injection="film" if int(arrays.get("film", 1)) else "additive",
        resample="block",
        condition=int(arrays.get("cond_dim", 0)),
    )
    ours = UNet(options).eval()
    ours.load_state_dict(import_unet(weights_of(arrays)))
    with torch.no_grad():
        mine = ours(x, t, condition)
    assert count(ours) == arrays["n_params"]
    torch.testing.assert_close(mine, out, atol=2e-4, rtol=0)


@pytest.mark.golden
def test_parameter_counts_equal_the_published_ones(golden):
    arrays = golden("parameter_counts")
    known = dict(zip(arrays["names"].tolist(), arrays["counts"].tolist(), strict=True))
    with torch.device("meta"):
        built = {
            "madad_UNet_XS": count(UNet(mad_ad_options("XS"))),
            "madad_UNet_L": count(UNet(mad_ad_options("L"))),
            "ddpm_additive": count(UNet(ddpm_options(film=False))),
            "pddpm_mddpm_film": count(UNet(ddpm_options())),
        }
    assert built == {name: known[name] for name in built}


@pytest.mark.parametrize("size", STATED_COUNTS)
def test_madad_sizes_have_the_stated_parameters(size):
    with torch.device("meta"):
        assert count(UNet(mad_ad_options(size))) == STATED_COUNTS[size]


def test_conditioned_ddpm_has_the_stated_parameters():
    with torch.device("meta"):
        assert count(UNet(ddpm_options(condition=512))) == 44_068_481


def test_nano_is_smaller_than_every_published_size_and_has_two_heads():
    with torch.device("meta"):
        small = mad_ad_unet("nano", channels=3)
        x0, mask = small(torch.zeros(2, 3, 20, 24), torch.zeros(2))
    assert (x0.shape, mask.shape) == ((2, 3, 20, 24), (2, 1, 20, 24))
    assert count(small) < STATED_COUNTS["XS"]


def test_unknown_size_lists_the_choices():
    with pytest.raises(
        UsageError, match=r"'XXS': unknown; choose from tiny, micro, nano, XS, S, M, L, XL"
    ):
        mad_ad_options("XXS")


@pytest.mark.parametrize("resample", ["conv", "block"])
@pytest.mark.parametrize("injection", ["additive", "film"])
@pytest.mark.parametrize("space", [(8, 12), (4, 6, 8)])
def test_output_has_the_size_of_the_input(resample, injection, space):
    options = {"attention": (1,), "resample": resample, "injection": injection}
    made = net(channels_in=2, channels_out=3, dimensions=len(space), **options)
    assert made(images(2, 2, *space), torch.tensor([0, 5])).shape == (2, 3, *space)


@pytest.mark.parametrize("space", [(7, 8), (9, 5), (1, 1)])
def test_sizes_the_levels_do_not_divide_are_padded_and_cropped(space):
    made = net(multipliers=(1, 1, 2))
    x = images(1, 1, *space)
    assert made(x, torch.tensor([3])).shape == x.shape


def test_padding_repeats_the_border():
    made, t = net(), torch.tensor([3])
    x = images(1, 1, 8, 7)
    wide = torch.cat([x, x[..., -1:]], dim=-1)
    assert torch.equal(made(x, t), made(wide, t)[..., :7])


def test_zero_initialised_heads_say_nothing():
    made = net(zero_init=True, mask_head=True, attention=(0, 1))
    x0, mask = made(images(2, 1, 8, 8), torch.tensor([0, 9]))
    assert not x0.any()
    assert not mask.any()


def test_each_image_is_on_its_own():
    made = net(attention=(0, 1), injection="film")
    x, t = images(3, 1, 8, 8), torch.tensor([1, 4, 7])
    alone = torch.cat([made(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(made(x, t), alone, atol=1e-5, rtol=1e-5)


def test_channels_last_changes_no_result():
    made = net(attention=(0, 1))
    x, t = images(2, 1, 8, 8), torch.tensor([1, 4])
    expected = made(x, t)
    last = torch.channels_last
    for p in made.parameters():
        p.data = p.data.contiguous(memory_format=last) if p.ndim == 4 else p.data
    mine = made(x.contiguous(memory_format=last), t)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("injection", ["additive", "film"])
def test_time_and_condition_change_the_output(injection):
    made = net(condition=5, injection=injection)
    x, c = images(1, 1, 8, 8), images(1, 5)
    base = made(x, torch.tensor([2]), c)
    assert not torch.allclose(base, made(x, torch.tensor([3]), c))
    assert not torch.allclose(base, made(x, torch.tensor([2]), c + 1))


def test_a_condition_without_layers_joins_the_time_as_it_is():
    made, plain = net(condition=5, condition_layers=False), net()
    t, vector = torch.tensor([3, 8]), images(2, 5)
    embedding = made.embed(t, vector)
    assert torch.equal(embedding[:, -5:], vector)
    assert embedding.shape == (2, plain.features + 5)
    blocks = [m for m in plain.modules() if isinstance(m, Residual)]
    more = sum(5 * m.inject.out_features for m in blocks)  # five inputs more in every block
    assert count(made) == count(plain) + more


def test_without_layers_the_condition_still_changes_the_output():
    made = net(condition=5, condition_layers=False)
    x, t = images(1, 1, 16, 16), torch.tensor([4])
    a, b = (made(x, t, torch.full((1, 5), v)) for v in (0.0, 1.0))
    assert (a - b).abs().max() > 1e-4


def test_a_missing_condition_is_refused():
    with pytest.raises(UsageError, match=r"condition is missing, the net is built .* size 5"):
        net(condition=5)(images(1, 1, 8, 8), torch.tensor([2]))


def test_a_surplus_condition_is_refused():
    with pytest.raises(UsageError, match=r"condition is given, the net is built .* size 0"):
        net()(images(1, 1, 8, 8), torch.tensor([2]), images(1, 5))


def test_middle_attention_can_be_left_out():
    assert count(net(middle_attention=False)) < count(net())


def test_dropout_acts_in_training_alone():
    made = net(dropout=0.5)
    x, t = images(1, 1, 8, 8), torch.tensor([2])
    assert torch.equal(made(x, t), made(x, t))
    with torch.random.fork_rng():
        made.train()
        assert not torch.equal(made(x, t), made(x, t))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attention": (2,)}, r"attention at levels \(2,\) of 2; number the levels from 0"),
        ({"heads": 3}, "16 channels at level 1 cannot be split into 3 heads"),
        ({"head_channels": 5}, "cannot be split into heads of 5 channels"),
        ({"width": 7}, "use numbers above 0 and an even width"),
        ({"blocks": 0}, "blocks 0"),
        ({"multipliers": ()}, "use numbers above 0"),
    ],
)
def test_options_that_cannot_be_built_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        UNetOptions(**{**TINY, **options})


def test_sinusoid_starts_with_cosine_then_sine_of_t_itself():
    t = torch.tensor([0.0, 2.0])
    made = sinusoid(t, 6)
    torch.testing.assert_close(made[:, 0], t.cos())
    torch.testing.assert_close(made[:, 3], t.sin())
    torch.testing.assert_close(made[:, :3] ** 2 + made[:, 3:] ** 2, torch.ones(2, 3))
    torch.testing.assert_close(made[1, 4], torch.sin(torch.tensor(2 * 10000 ** (-1 / 3))))


def test_a_small_net_learns_to_copy():
    made = net(width=8)
    x, t = images(4, 1, 8, 8), torch.zeros(4)
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    first = last = 0.0
    for step in range(40):
        loss = (made(x, t) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first / 4


@pytest.mark.parametrize("size", [(16, 24), (15, 22), (9, 9)])
def test_a_folded_net_keeps_size_and_images_apart(size):
    options = UNetOptions(width=8, multipliers=(1, 2), heads=2, groups=4, fold=2, zero_init=False,
                          mask_head=True)  # fmt: skip
    net = UNet(options).eval()
    x = torch.randn(3, 1, *size, generator=torch.Generator().manual_seed(0))
    out, mask = net(x, torch.tensor([1, 2, 3]))
    assert out.shape == mask.shape == x.shape
    alone, _ = net(x[1:2], torch.tensor([2]))
    torch.testing.assert_close(out[1:2], alone, atol=1e-5, rtol=0)


def test_folding_volumes_is_refused():
    with pytest.raises(UsageError, match="fold 2 of volumes; fold is for slices"):
        UNetOptions(width=8, heads=2, dimensions=3, fold=2)
