import dataclasses
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training import Dots

from brainuad.method import (
    Batch,
    Detection,
    Method,
    method_class,
    method_names,
    preset_options,
)
from brainuad.slices import VIEWS
from brainuad.types import UnavailableError, UsageError


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    level: float = 0.5


class Constant(Method):
    """Says that everything above a level is abnormal; for tests."""

    title, paper, space = "constant", "none", "intensity"
    Options = NoOptions

    def fit(self, batches, *, minimise):
        self.mark_fitted()

    def detect(self, x, brain, *, rng):
        self.check_fitted()
        return Detection(anomaly=(x - self.options.level).clamp(min=0) * brain)


def detect(method: Method) -> Detection:
    batch = Dots(3).get([0, 1])
    return method.detect(batch.x, batch.brain, rng=batch.rng(0))


def test_a_method_must_be_fitted_before_it_detects():
    method = Constant()
    with pytest.raises(UnavailableError, match="Constant: not fitted yet; call fit, or load"):
        detect(method)
    method.fit(Dots(3), minimise=lambda stage, module, loss, batches: None)
    assert detect(method).anomaly.max() > 0


def test_saved_weights_remember_that_they_were_fitted():
    fitted, fresh = Constant(), Constant()
    fitted.mark_fitted()
    fresh.restore(fitted.state_dict())
    assert torch.equal(detect(fresh).anomaly, detect(fitted).anomaly)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        fresh.restore({**fitted.state_dict(), "other": torch.zeros(1)})


def test_options_are_the_defaults_or_those_given():
    assert Constant().options == NoOptions()
    assert Constant(NoOptions(level=0.2)).options.level == pytest.approx(0.2)


@given(st.integers(1, 12), st.integers(1, 12))
def test_in_order_gives_every_image_once(count, size):
    images = Dots(count)
    batches = list(images.in_order(size))
    assert torch.equal(torch.cat([batch.x for batch in batches]), images.x)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size


def test_streams_of_a_batch_are_those_of_its_images():
    images = Dots(4)
    whole = images.get([3, 1]).rng(5, "step", 2).normal(4)
    single = [images.get([i]).rng(5, "step", 2).normal(4) for i in (3, 1)]
    assert torch.equal(whole, torch.cat(single))
    assert not torch.equal(whole, images.get([3, 1]).rng(5, "step", 3).normal(4))


def test_a_batch_moves_whole():
    batch = Dots(2).get([0, 1])
    moved = batch.to("meta")
    assert (moved.x.device.type, moved.brain.device.type) == ("meta", "meta")
    assert moved.keys == batch.keys


def test_a_batch_cannot_be_changed():
    batch = Dots(1).get([0])
    assert isinstance(batch, Batch)
    with pytest.raises(dataclasses.FrozenInstanceError, match="keys"):
        batch.keys = ()  # type: ignore[misc]


def test_unknown_names_list_the_choices():
    with pytest.raises(UsageError, match=r"method 'dea': unknown; choose from .*dae.*intensity"):
        method_class("dea")
    with pytest.raises(UsageError, match=r"method 'dae': unknown preset 'huge'; choose from .*d"):
        preset_options("dae", "huge")


@pytest.mark.parametrize("name", method_names())
def test_every_method_says_what_it_is(name):
    kind = method_class(name)
    assert issubclass(kind, Method)
    assert kind.title
    assert kind.paper
    assert kind.space in {"pixel", "latent", "intensity"}
    assert set(kind.views) <= set(VIEWS)
    assert all(share > 0 for share in kind.stages.values())
    assert dataclasses.is_dataclass(kind.Options)
    assert "default" in kind.presets


def test_preset_options_are_a_copy():
    options = preset_options("dae", "default")
    options["other"] = 1
    assert "other" not in preset_options("dae", "default")
