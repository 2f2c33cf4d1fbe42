import pytest
import torch

from brainuad.compact import Compact, CompactOptions, kl_to_standard, stretched
from brainuad.types import UsageError

SMALL = CompactOptions(widths=(8, 8, 16), code_size=16, cells=(4, 4))


def test_the_divergence_of_a_standard_normal_is_zero():
    zero = torch.zeros(3, 5)
    assert torch.equal(kl_to_standard(zero, zero), torch.zeros(3))


def test_the_divergence_equals_that_of_torch():
    mean, logvar = torch.linspace(-2, 2, 12).reshape(2, 6), torch.linspace(-3, 1, 12).reshape(2, 6)
    own = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(own, standard).mean(1)
    torch.testing.assert_close(kl_to_standard(mean, logvar), expected)


@pytest.mark.parametrize("kind", ["dense", "spatial"])
@pytest.mark.parametrize("space", [(32, 32), (33, 47), (9, 24)])
def test_any_size_comes_back_in_its_own_size(kind, space):
    net = Compact(SMALL, kind=kind)
    x = torch.rand(2, 1, *space)
    code = net.encode(x)
    assert net.decode(code, space).shape == x.shape
    grid = tuple(-(-n // 8) for n in space)
    assert tuple(code.shape[1:]) == ((16,) if kind == "dense" else (16, *grid))


def test_the_published_size_needs_no_stretching():
    net = Compact(CompactOptions())
    grid = net.encoder(torch.zeros(1, 1, 128, 128))
    assert tuple(grid.shape) == (1, 16, 8, 8)
    assert stretched(grid, (8, 8)) is grid


def test_two_moments_are_two_codes():
    assert Compact(SMALL, moments=2).encode(torch.zeros(1, 1, 16, 16)).shape == (1, 32)
    spatial = Compact(SMALL, kind="spatial", moments=2)
    assert spatial.encode(torch.zeros(1, 1, 16, 16)).shape == (1, 32, 2, 2)


def test_group_norm_leaves_each_image_alone_while_training():
    net = Compact(SMALL).train()
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(net.encode(x)[:1], net.encode(x[:1]), atol=1e-5, rtol=0)
    coupled = Compact(CompactOptions(widths=(8, 8, 16), norm="batch")).train()
    assert (coupled.encode(x)[:1] - coupled.encode(x[:1])).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("wrong", "message"), [({"widths": ()}, "at least one level"), ({"kernel": 4}, "kernel 4")]
)
def test_nets_that_cannot_be_built_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        CompactOptions(**wrong)
