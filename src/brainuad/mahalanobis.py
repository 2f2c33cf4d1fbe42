"""How far an image lies from restorations of it that were drawn at random."""

import torch
from jaxtyping import Float
from torch import Tensor

from brainuad.difference import precise
from brainuad.types import Brain, Images

RIDGE = 1e-2
"""Added to the diagonal of the covariance: squared intensity, images in [0, 1] (published)."""

Draws = Float[Tensor, "draws batch channel *space"]
"""At least two random restorations of each image, in the intensity of the image."""


def unexplained(x: Images, draws: Draws, brain: Brain, *, ridge: float = RIDGE) -> Images:
    r"""Each pixel's part in the squared Mahalanobis distance of an image to its draws.

    With d = image - mean of the draws over the brain's pixels (and channels) and Sigma = their
    covariance (divisor draws - 1) + ridge * identity, the value of pixel i is
    ridge * d_i * (Sigma^-1 d)_i, so the sum is the ridge times the squared distance. The factor
    makes it a squared intensity: d_i^2 where the draws agree, less where they vary along d, and
    below 0 where together they say more than the whole difference. It is the same for all images,
    so it changes no order. Outside the brain 0.

    The covariance has rank draws - 1: by the identity of Woodbury a system of as many equations as
    there are draws is solved, not one of as many as there are pixels.

    References:
        Behrendt et al. 2024, "Leveraging the Mahalanobis distance to enhance unsupervised brain
        MRI anomaly detection", MICCAI, arXiv 2407.12474.
    """
    count, mean = len(draws), draws.mean(0)
    difference = precise((x - mean) * brain).flatten(1)
    spread = precise((draws - mean) * brain).flatten(2).transpose(0, 1)
    system = spread @ spread.mT + ridge * (count - 1) * torch.eye(count).to(spread)
    weights = torch.linalg.solve(system, spread @ difference[..., None])
    explained = (spread.mT @ weights)[..., 0]
    return (difference * (difference - explained)).to(x.dtype).reshape(x.shape)
