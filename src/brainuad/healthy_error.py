"""How large an error is beside those of healthy images, for several kinds of error at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainuad.types import AnomalyMap, Brain, DataError, PerItem

Errors = Float[Tensor, "errors batch"]
"""Errors of each image, such as those of reconstructions from several noise levels."""


def means_in(sizes: Sequence[AnomalyMap], where: Brain) -> Errors:
    """Mean of each of several maps inside each image's region; 0 where the region is empty."""
    area = where.flatten(1).sum(1).clamp(min=1)
    return torch.stack([(size * where).flatten(1).sum(1) / area for size in sizes])


class HealthyErrors(nn.Module):
    """Mean and standard deviation of each error over healthy images.

    Args:
        starts: how many reconstructions are judged.
        kinds: in how many ways each is; its errors stand side by side.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, starts: int, *, kinds: int = 1):
        super().__init__()
        self.kinds = kinds
        self.register_buffer("mean", torch.zeros(starts * kinds))
        self.register_buffer("deviation", torch.ones(starts * kinds))

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
        """Mean over the starts of each image's z-scores, summed over the kinds."""
        return self.kinds * ((errors - self.mean[:, None]) / self.deviation[:, None]).mean(0)

    def weights(self) -> Float[Tensor, " errors"]:
        """Factors on the errors whose sum is :meth:`score`, but for a constant."""
        return self.kinds / (len(self.deviation) * self.deviation)


def check_enough(images: int) -> None:
    """Refuse to say how much errors differ from fewer than two images."""
    if images < 2:
        raise DataError(
            f"healthy errors: {images} image(s) to say how much they differ; give more scans, or "
            "hold out a larger share"
        )
