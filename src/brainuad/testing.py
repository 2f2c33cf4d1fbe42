"""The contract that every method keeps, as plain functions for any test suite.

A package with a method of its own runs them in one parametrised test::

    @pytest.mark.parametrize("check", brainuad.testing.CHECKS, ids=lambda c: c.__name__)
    def test_contract(check):
        check(lambda: MyMethod(MyOptions(...)), view="axial")
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from brainuad.config import build
from brainuad.method import Batch, Batches, Loss, Method, method_class
from brainuad.rng import Rng
from brainuad.slices import REACH
from brainuad.types import DataError, UnavailableError, UsageError

Factory = Callable[[], Method]
SHAPES = {"axial": (32, 48), "axial3": (32, 48), "volume": (16, 24, 16)}
TOLERANCE = 1e-5


class Blobs(Batches):
    """Smooth ellipse-shaped "brains", different for each number, the same in every run."""

    def __init__(self, count: int, view: str):
        self.count = count
        self.shape = SHAPES[view]
        self.channels = 1 + 2 * REACH.get(view, 0)

    def __len__(self) -> int:
        return self.count

    def get(self, indices: Sequence[int]) -> Batch:
        """Images with these numbers."""
        keys = tuple(f"blob-{i:03d}" for i in indices)
        rng = Rng.named(7, keys)
        axes = [torch.linspace(-1, 1, n) for n in self.shape]
        radius = sum(g.square() for g in torch.meshgrid(*axes, indexing="ij"))
        assert isinstance(radius, torch.Tensor)
        size = rng.uniform(0.6, 0.9).reshape(-1, *[1] * (1 + len(self.shape)))
        brain = radius < size
        noise = rng.normal(self.channels, *self.shape)
        x = (0.5 + 0.3 * torch.cos(4 * radius) + 0.05 * noise) * brain
        return Batch(x=x.clamp(0, 1), brain=brain, keys=keys)


class Fixed(Batches):
    """The images of one batch."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch)

    def get(self, indices: Sequence[int]) -> Batch:
        """Images with these numbers."""
        rows = list(indices)
        keys = tuple(self.batch.keys[row] for row in rows)
        return Batch(x=self.batch.x[rows], brain=self.batch.brain[rows], keys=keys)


def few_steps(stage: str, module: nn.Module, loss: Loss, batches: Batches) -> None:
    """A stand-in for the trainer: two small gradient steps."""
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    module.train()
    for step in range(2):
        batch = batches.get(range(min(4, len(batches))))
        optimiser.zero_grad()
        loss(batch, batch.rng(0, stage, step)).mean().backward()
        optimiser.step()
    module.eval()


def small(name: str) -> Method:
    """The method called ``name`` at its smallest preset."""
    kind = method_class(name)
    preset = kind.presets.get("tiny", kind.presets["default"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(build(kind.Options, dict(preset), where=name))


def fitted(factory: Factory, view: str) -> Method:
    """A method after a short fit on blobs."""
    method = factory()
    method.fit(Blobs(12, view), minimise=few_steps)
    return method.eval()


def lesioned(view: str, count: int = 3) -> Batch:
    """Blobs with a dark square that no healthy blob has."""
    batch = Blobs(12 + count, view).get(range(12, 12 + count))
    x = batch.x.clone()
    x[(..., *[slice(n // 2 - 3, n // 2 + 3) for n in SHAPES[view]])] *= 0.2
    return Batch(x=x, brain=batch.brain, keys=batch.keys)


def detected(method: Method, batch: Batch, seed: int = 3) -> torch.Tensor:
    """The anomaly map of a batch."""
    return method.detect(batch.x, batch.brain, rng=batch.rng(seed, "detect")).anomaly


def map_is_valid(factory: Factory, *, view: str) -> None:
    """The map is finite, >= 0, 0 outside the brain; the counterpart has the shape of the brain."""
    method, batch = fitted(factory, view), lesioned(view)
    found = method.detect(batch.x, batch.brain, rng=batch.rng(3, "detect"))
    assert found.anomaly.shape == batch.brain.shape
    assert torch.isfinite(found.anomaly).all()
    assert (found.anomaly >= 0).all()
    assert (found.anomaly[~batch.brain] == 0).all()
    assert found.healthy is None or found.healthy.shape == batch.brain.shape


def same_seed_same_answer(factory: Factory, *, view: str) -> None:
    """Two detections with one seed are equal to the bit."""
    method, batch = fitted(factory, view), lesioned(view)
    assert torch.equal(detected(method, batch), detected(method, batch))


def global_randomness_untouched(factory: Factory, *, view: str) -> None:
    """Neither reads nor moves the global random state."""
    method, batch = fitted(factory, view), lesioned(view)
    before = torch.random.get_rng_state()
    first = detected(method, batch)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(first, detected(method, batch))


def input_not_modified(factory: Factory, *, view: str) -> None:
    """Images and brains are the same after a detection."""
    method, batch = fitted(factory, view), lesioned(view)
    x, brain = batch.x.clone(), batch.brain.clone()
    detected(method, batch)
    assert torch.equal(x, batch.x)
    assert torch.equal(brain, batch.brain)


def weights_carry_everything(factory: Factory, *, view: str) -> None:
    """A fresh method with the saved state gives the same map."""
    method, batch = fitted(factory, view), lesioned(view)
    other = factory()
    other.restore(method.state_dict())
    assert torch.equal(detected(method, batch), detected(other.eval(), batch))


def batch_size_changes_nothing(factory: Factory, *, view: str) -> None:
    """A batch of n equals n batches of one, but for rounding; large values round more coarsely."""
    method, batch = fitted(factory, view), lesioned(view)
    whole = detected(method, batch)
    tolerance = TOLERANCE * max(1.0, float(whole.max()))
    for n, key in enumerate(batch.keys):
        single = Batch(x=batch.x[n : n + 1], brain=batch.brain[n : n + 1], keys=(key,))
        assert (detected(method, single) - whole[n : n + 1]).abs().max() <= tolerance


def passes_are_counted(factory: Factory, *, view: str) -> None:
    """``passes`` is the largest number of calls of the net that an image goes through."""
    method, batch = fitted(factory, view), lesioned(view)
    wanted = method.passes(tuple(batch.x.shape[2:]))
    net = getattr(method, "denoiser", getattr(method, "net", None))
    seen: list[int] = []
    if net is not None:
        net.register_forward_hook(lambda m, given, found: seen.append(len(given[0])))
    detected(method, batch)
    if wanted <= 1:  # a closed form, or autoencoders, whose two halves are called by name
        assert sum(seen) in (0, len(batch))
    elif hasattr(method, "threshold") or view == "volume":  # what is needed depends on the image
        assert 0 < sum(seen) <= wanted * len(batch)
    else:
        assert sum(seen) == wanted * len(batch)


def poor_images_get_an_answer(factory: Factory, *, view: str) -> None:
    """No brain at all gives an empty map; brains without any contrast or light, a finite one."""
    method, batch = fitted(factory, view), lesioned(view)
    x, brain = batch.x.clone(), batch.brain.clone()
    brain[0], x[0] = False, 0.0  # as the slices above and below a brain
    x[1], x[2] = 0.5 * brain[1], 0.0
    found = method.detect(x, brain, rng=batch.rng(3, "detect"))
    assert (found.anomaly[0] == 0).all()
    assert torch.isfinite(found.anomaly).all()
    assert (found.anomaly >= 0).all()
    assert found.healthy is None or torch.isfinite(found.healthy).all()


def odd_sizes_are_answered_or_refused(factory: Factory, *, view: str) -> None:
    """Sides that no net can halve: a map of the same size, or an error that says what to do."""
    method, odd = factory(), tuple(n - 3 for n in SHAPES[view])
    batch = Blobs(3, view).get(range(3))
    cut = (..., *[slice(n) for n in odd])
    healthy = Batch(x=batch.x[cut], brain=batch.brain[cut], keys=batch.keys)
    map_or_advice(method, Fixed(healthy), healthy)


def one_healthy_image_is_answered_or_refused(factory: Factory, *, view: str) -> None:
    """A fit on a single image ends in a detector, or in an error that says what to do."""
    map_or_advice(factory(), Blobs(1, view), lesioned(view))


def map_or_advice(method: Method, healthy: Batches, batch: Batch) -> None:
    """Fit and detect: a finite map of the size of the images, or an error with advice."""
    advice, anomaly = "", None
    try:
        method.fit(healthy, minimise=few_steps)
        anomaly = detected(method.eval(), batch)
    except (DataError, UsageError) as error:
        advice = str(error)
    if anomaly is None:
        assert "; " in advice, "an error says what is wrong; and what to do"
        return
    assert anomaly.shape == batch.brain.shape
    assert torch.isfinite(anomaly).all()


def unfitted_is_refused(factory: Factory, *, view: str) -> None:
    """``detect`` before ``fit`` says so."""
    batch = lesioned(view)
    message = ""
    try:
        detected(factory().eval(), batch)
    except UnavailableError as error:
        message = str(error)
    assert "fit" in message, "detect before fit must raise UnavailableError and say so"


CHECKS = (
    map_is_valid,
    same_seed_same_answer,
    global_randomness_untouched,
    input_not_modified,
    weights_carry_everything,
    batch_size_changes_nothing,
    passes_are_counted,
    poor_images_get_an_answer,
    odd_sizes_are_answered_or_refused,
    one_healthy_image_is_answered_or_refused,
    unfitted_is_refused,
)
