import numpy as np
import pytest
import torch

from brainuad.healthy_error import HealthyErrors
from brainuad.types import DataError


def errors(kinds: int = 3, images: int = 40) -> torch.Tensor:
    drawn = torch.randn(kinds, images, generator=torch.Generator().manual_seed(0))
    return 5 + torch.tensor([1.0, 10.0, 0.1])[:kinds, None] * drawn


def learned() -> HealthyErrors:
    healthy = HealthyErrors(3)
    healthy.learn(errors())
    return healthy


def test_mean_and_deviation_are_those_of_numpy():
    healthy, found = learned(), errors().numpy()
    np.testing.assert_allclose(healthy.mean, found.mean(1), rtol=1e-5)
    np.testing.assert_allclose(healthy.deviation, found.std(1, ddof=1), rtol=1e-5)


def test_healthy_images_score_0_on_average_and_each_kind_counts_alike():
    healthy = learned()
    assert float(healthy.score(errors()).mean()) == pytest.approx(0, abs=1e-4)
    for kind in range(3):
        worse = healthy.mean.clone()
        worse[kind] += 3 * healthy.deviation[kind]
        assert float(healthy.score(worse[:, None])) == pytest.approx(1, abs=1e-4)


def test_weighted_errors_are_the_score_but_for_a_constant():
    healthy = learned()
    gap = (healthy.weights()[:, None] * errors()).sum(0) - healthy.score(errors())
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.ones(3, 1), r"1 image\(s\) to say how much they differ; give more scans"),
        (torch.ones(3, 5), "those of 5 images do not differ; give images of several people"),
    ],
)
def test_errors_that_say_nothing_are_refused(found, message):
    with pytest.raises(DataError, match=message):
        HealthyErrors(3).learn(found)
