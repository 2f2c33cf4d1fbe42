"""Every method that lies in brainuad/methods keeps the contract, in every view that it takes."""

import pytest

from brainuad import testing
from brainuad.method import method_class, method_names

CASES = [(name, view) for name in method_names() for view in method_class(name).views]


@pytest.mark.parametrize(("name", "view"), CASES)
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check, name, view):
    check(lambda: testing.small(name), view=view)


def test_contract_catches_a_method_that_ignores_the_brain():
    class Leaky(method_class("intensity")):
        def detect(self, x, brain, *, rng):
            found = super().detect(x, brain, rng=rng)
            return type(found)(anomaly=found.anomaly + 0.1)

    with pytest.raises(AssertionError):
        testing.map_is_valid(Leaky, view="axial")


def test_contract_catches_a_method_that_draws_globally():
    import torch

    class Noisy(method_class("intensity")):
        def detect(self, x, brain, *, rng):
            return type(super().detect(x, brain, rng=rng))(anomaly=torch.rand_like(x) * brain)

    with pytest.raises(AssertionError):
        testing.global_randomness_untouched(Noisy, view="axial")
