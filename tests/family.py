"""The analytic stand-in of the DDPM family that the golden numbers were made with."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Stand(nn.Module):
    """tanh(0.7 x + 0.3 mean over 5 x 5 + 0.1 t / 1000 [+ 0.2 mean of the condition])."""

    def forward(self, x, t, condition=None):
        mean = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=True)
        inner = 0.7 * x + 0.3 * mean + 0.1 * t.reshape(-1, 1, 1, 1) / 1000
        if condition is not None:
            inner = inner + 0.2 * condition.mean(1).reshape(-1, 1, 1, 1)
        return torch.tanh(inner)


class Copy(nn.Module):
    """Says that what it sees is clean."""

    def forward(self, x, t, condition=None):
        return x


def ready(method, net) -> Any:
    """A method with a stand-in for its net, as if it had been fitted."""
    method.net = net
    method.mark_fitted()
    return method.eval()
