"""How large an error is beside those of healthy images, for several kinds of error at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainuad.types import DataError, PerItem

Errors = Float[Tensor, "kinds batch"]
"""Errors of each image, such as those of reconstructions from several noise levels."""


class HealthyErrors(nn.Module):
    """Mean and standard deviation of each kind of error over healthy images.

    Args:
        kinds: how many kinds of error there are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kinds: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(kinds))
        self.register_buffer("deviation", torch.ones(kinds))

    def learn(self, errors: Errors) -> None:
        """Take over mean and (unbiased) standard deviation of healthy images' errors.

        Raises:
            DataError: fewer than two images, or errors that do not differ from image to image.
        """
        check_enough(errors.shape[1])
        deviation = errors.std(1)
        if not (deviation > 0).all():
            raise DataError(
                f"healthy errors: those of {errors.shape[1]} images do not differ; give images of "
                "several people"
            )
        self.mean.copy_(errors.mean(1))
        self.deviation.copy_(deviation)

    def score(self, errors: Errors) -> PerItem:
        """Mean z-score of each image over the kinds."""
        return ((errors - self.mean[:, None]) / self.deviation[:, None]).mean(0)

    def weights(self) -> Float[Tensor, " kinds"]:
        """Factors on the errors whose sum is :meth:`score`, but for a constant."""
        return 1 / (len(self.deviation) * self.deviation)


def check_enough(images: int) -> None:
    """Refuse to say how much errors differ from fewer than two images."""
    if images < 2:
        raise DataError(
            f"healthy errors: {images} image(s) to say how much they differ; give more scans, or "
            "hold out a larger share"
        )
