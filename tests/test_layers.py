"""The residual block against the published one; resampling and padding against their laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.layers import Attention, Layers, Residual, grow, padded, shrink
from brainuad.published import UNET_NAMES, renamed


def block_of(arrays, name: str, resize: str) -> tuple[Residual, list[torch.Tensor]]:
    mark = f"{name}__param__"
    state = {
        renamed(k.removeprefix(mark), UNET_NAMES): torch.from_numpy(v).float()
        for k, v in arrays.items()
        if k.startswith(mark)
    }
    c_out, c_in = state["conv1.weight"].shape[:2]
    features = state["inject.weight"].shape[1]
    layers = Layers(film="film" in name)
    block = Residual(c_in, c_out, features, layers, resize)
    block.load_state_dict(state)
    return block, [torch.from_numpy(arrays[f"{name}__{part}"]) for part in ("h", "emb", "out")]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "resize"),
    [("film", "keep"), ("film_down", "down"), ("film_up", "up"), ("additive", "keep")],
)
def test_residual_block_matches_the_published_one(golden, name, resize):
    block, (h, embedding, out) = block_of(golden("cddpm_film_block"), name, resize)
    torch.testing.assert_close(block(h, embedding), out, atol=1e-4, rtol=0)


def test_a_block_without_features_takes_no_embedding():
    block = Residual(4, 4, 0, Layers(groups=2))
    assert block.inject is None
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)  # zero-initialised branch: the skip alone


@pytest.mark.parametrize("space", [(4, 6), (2, 4, 6)])
def test_shrink_undoes_grow(space):
    x = torch.randn(1, 2, *space, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shrink(grow(x)), x)


def test_attention_does_not_know_positions():
    layers = Layers(groups=2, zero_init=False)
    torch.manual_seed(0)
    attention = Attention(8, 2, layers)
    x = torch.randn(1, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    expected = attention(x).flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(attention(shuffled), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_padding_is_least_and_keeps_the_image(rows, columns, multiple):
    x = torch.arange(rows * columns, dtype=torch.float32).reshape(1, 1, rows, columns)
    wide = padded(x, multiple)
    assert torch.equal(wide[..., :rows, :columns], x)
    for have, need in zip(wide.shape[2:], x.shape[2:], strict=True):
        assert have % multiple == 0
        assert need <= have < need + multiple


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (16, 16), (24, 8), (7, 1)])
def test_group_norm_takes_the_greatest_common_divisor(channels, groups):
    assert Layers(groups=32).norm(channels).num_groups == groups
