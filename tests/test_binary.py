import pytest
import torch

from brainuad.autoencoder import AutoencoderOptions
from brainuad.binary import BinaryAutoencoder, straight_through
from brainuad.types import UsageError


def net(**changes) -> BinaryAutoencoder:
    torch.manual_seed(0)
    return BinaryAutoencoder(
        AutoencoderOptions(**{"preset": "tiny", "latent_channels": 5, **changes})
    )


def images(*size: int) -> torch.Tensor:
    return 2 * torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1)) - 1


def test_bits_pass_the_gradient_of_their_probabilities():
    probability = torch.tensor([[0.2, 0.7]], requires_grad=True)
    bits = torch.tensor([[1.0, 0.0]])
    through = straight_through(bits, probability)
    torch.testing.assert_close(through, bits)
    (through * torch.tensor([[3.0, -2.0]])).sum().backward()
    torch.testing.assert_close(probability.grad, torch.tensor([[3.0, -2.0]]))


@pytest.mark.parametrize(
    ("changes", "factor"),
    [({}, 4), ({"preset": "kl-f4-small"}, 4), ({"preset": "kl-f8-small"}, 8)],
)
def test_codes_are_bits_and_images_come_back_at_their_size(changes, factor):
    autoencoder, x = net(**changes), images(24, 32)
    code = autoencoder.encode(x)
    assert autoencoder.factor == factor
    assert code.shape == (2, 5, 24 // factor, 32 // factor)
    assert set(code.unique().tolist()) <= {0.0, 1.0}
    assert autoencoder.decode(code).shape == x.shape


def test_the_code_is_the_likelier_bit_and_the_same_each_time():
    autoencoder, x = net(), images(16, 16)
    code = autoencoder.encode(x)
    assert torch.equal(code, autoencoder.encode(x))
    probability = autoencoder.probability(x)
    assert ((probability > 0.5) == (code == 1)).all()
    assert 0 < code.mean() < 1


def test_the_encoder_learns_through_the_bits():
    autoencoder, x = net(), images(16, 16)
    probability = autoencoder.probability(x)
    bits = straight_through((probability > 0.5).float(), probability)
    (autoencoder.decode(bits) - x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in autoencoder.parameters())


def test_images_that_cells_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="image of 18 x 16 cannot be divided by 4; crop or pad"):
        net().encode(images(18, 16))
