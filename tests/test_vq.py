"""The VQ-VAE: its codebook by hand-computed batches, its shapes, its refusals."""

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from brainuad.types import UsageError
from brainuad.vq import EmaQuantiser, VqAutoencoder, VqOptions, perplexity


def book(**changes):
    q = EmaQuantiser(VqOptions(codes=2, latent_channels=1, revive=0.0, eps=1e-9, **changes))
    q.codes.copy_(torch.tensor([[0.0], [10.0]]))
    q.counts.fill_(1.0)
    q.sums.copy_(q.codes)
    return q


def cells(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, -1, 1)


def test_running_means_equal_two_batches_computed_by_hand():
    q = book(decay=0.5).train()
    q(cells(1.0, 3.0, 9.0))
    # counts .5 + .5 [2, 1]; sums .5 [0, 10] + .5 [4, 9]
    np.testing.assert_allclose(q.counts, [1.5, 1.0])
    np.testing.assert_allclose(q.codes[:, 0], [2 / 1.5, 9.5], rtol=1e-5)
    q(cells(2.0, 8.0, 8.0))
    np.testing.assert_allclose(q.counts, [1.25, 1.5])
    np.testing.assert_allclose(q.codes[:, 0], [2 / 1.25, 12.75 / 1.5], rtol=1e-5)


def test_the_codebook_rests_outside_training_and_when_asked_for_numbers():
    q = book().eval()
    q(cells(1.0, 3.0))
    q.train().nearest(cells(1.0, 3.0))
    np.testing.assert_allclose(q.codes[:, 0], [0, 10])


def test_codes_are_the_nearest_and_gradients_pass_straight_through():
    q = book(commitment=0.25).eval()
    z = cells(1.0, 6.0).requires_grad_()
    codes, loss = q(z)
    np.testing.assert_allclose(codes.detach().flatten(), [0, 10])
    assert loss.item() == pytest.approx(0.25 * (1 + 16) / 2)
    codes.sum().backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.flatten(), 1)


TWO = torch.tensor([[1.0, 3.0, 9.0, 2.0], [8.0, 8.0, 0.5, 300.0]])


def one_of_two(rank: int, folder: str) -> None:
    """A process of two that share a codebook: two batches of its own, then writes it down."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    q = book(decay=0.5).train()
    for _ in range(2):
        q(cells(*TWO[rank].tolist()))
    torch.manual_seed(0)  # the same first codes in both, as distributed training sees to
    revived = EmaQuantiser(VqOptions(codes=8, latent_channels=1, revive=0.5)).train()
    revived(cells(*TWO[rank].tolist()))
    torch.save([dict(q.state_dict()), revived.codes], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_learn_the_codebook_of_one_with_the_joined_batch(tmp_path):
    spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    (first, alike), (second, again) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    whole = book(decay=0.5).train()
    for _ in range(2):
        whole(cells(*TWO.flatten().tolist()))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(first[name], value)
        assert torch.equal(first[name], second[name])
    # Dead codes start anew at cells of the first process, in both.
    assert torch.equal(alike, again)


def test_a_dead_code_starts_anew_at_a_cell_of_the_batch_the_same_in_every_run():
    def run() -> EmaQuantiser:
        q = EmaQuantiser(VqOptions(codes=4, latent_channels=1, revive=0.1)).train()
        q.codes.copy_(torch.tensor([[0.0], [10.0], [500.0], [-500.0]]))
        q.counts.copy_(torch.tensor([9.0, 9.0, 0.0, 0.0]))
        q.sums.copy_(q.codes * q.counts[:, None])
        q(cells(0.0, 1.0, 9.0, 30.0))
        return q

    first, second = run(), run()
    assert torch.equal(first.codes, second.codes)
    assert set(first.codes[2:, 0].tolist()) <= {0.0, 1.0, 9.0, 30.0}


@pytest.mark.parametrize(("counts", "value"), [([5, 5, 5, 5], 4.0), ([7, 0, 0], 1.0)])
def test_perplexity_counts_the_codes_in_use(counts, value):
    assert perplexity(torch.tensor(counts)) == pytest.approx(value)


@pytest.mark.parametrize(("preset", "factor"), [("tiny", 4), ("vq-f4-small", 4), ("vq-f4", 4)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_shapes_there_and_back(preset, factor, dimensions):
    net = VqAutoencoder(VqOptions(preset=preset, dimensions=dimensions, widths=(4, 4), units=1))
    size = (16, 24, 8)[:dimensions]
    x = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    z = net.eval().encode(x)
    assert net.factor == factor
    assert z.shape == (2, net.latent_channels, *(n // factor for n in size))
    assert net.decode(z).shape == x.shape
    torch.testing.assert_close(net(x)[0], net.decode(z))


def test_training_lowers_the_error_and_uses_the_codebook():
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.avg_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = VqAutoencoder(VqOptions(preset="tiny")).train()
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    errors = []
    for _ in range(150):
        out, commitment = net(x)
        error = (out - x).abs().mean()
        adam.zero_grad()
        (error + commitment.mean()).backward()
        adam.step()
        errors.append(error.item())
    assert np.mean(errors[-5:]) < 0.6 * errors[0]
    assert net.quantiser.perplexity() > 4


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="image of 18 x 24 cannot be divided by 4; crop or pad"):
        VqAutoencoder(VqOptions(preset="tiny")).encode(torch.zeros(1, 1, 18, 24))
    with pytest.raises(UsageError, match="use at least one level and numbers above 0"):
        VqOptions(codes=0)
