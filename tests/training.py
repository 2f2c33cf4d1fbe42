"""A task that trains in milliseconds, shared by the tests of the trainer."""

from collections.abc import Sequence

import torch
from torch import nn

from brainuad.method import Batch, Batches, Loss


class Dots(Batches):
    """Random 6 x 6 images in memory."""

    def __init__(self, count: int = 20):
        self.x = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def get(self, indices: Sequence[int]) -> Batch:
        rows = list(indices)
        keys = tuple(f"sub-{row:02d}/axial-000" for row in rows)
        return Batch(x=self.x[rows], brain=torch.ones_like(self.x[rows]).bool(), keys=keys)


def tiny_net(dropout: float = 0.3) -> nn.Module:
    """A net whose steps depend on dropout, on a frozen parameter and on a buffer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Dropout(dropout),
            nn.SiLU(),
            nn.Conv2d(4, 1, 3, padding=1),
        )
    net[1].requires_grad_(False)
    return net


def denoising(net: nn.Module) -> Loss:
    """Squared error of a denoised image."""

    def loss(batch, rng):
        noisy = batch.x + 0.3 * rng.normal_like(batch.x)
        return (net(noisy) - batch.x).square().flatten(1).mean(1)

    return loss
