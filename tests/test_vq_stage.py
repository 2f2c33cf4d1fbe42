import pytest
import torch

from brainuad import testing
from brainuad.augment import Augment
from brainuad.types import UsageError
from brainuad.vq import VqAutoencoder, VqOptions
from brainuad.vq_stage import VqStage, check_codes


def fitted(**changes):
    torch.manual_seed(0)
    stage = VqStage(autoencoder=VqAutoencoder(VqOptions(preset="tiny")), **changes)
    return stage, stage.fit(testing.Blobs(6, "axial"), minimise=testing.few_steps)


def test_the_cache_holds_the_numbers_of_the_codes():
    stage, cache = fitted()
    batch = testing.Blobs(6, "axial").get(range(6))
    found = cache.get(range(6))
    assert torch.equal(found.x.long(), stage.autoencoder.indices(batch.x))
    share = torch.nn.functional.avg_pool2d(batch.brain.float(), stage.autoencoder.factor)
    assert torch.equal(found.brain, share >= 0.5)


def test_the_autoencoder_is_frozen_when_its_stage_is_over():
    stage, _ = fitted()
    assert not stage.autoencoder.training
    assert not any(p.requires_grad for p in stage.autoencoder.parameters())


def test_counts_and_deviation_are_those_of_the_latents():
    stage, cache = fitted()
    numbers = cache.get(range(6)).x.long()
    counts = [(numbers == code).sum().item() for code in range(len(stage.codes))]
    assert stage.counts(cache).tolist() == counts
    latents = stage.autoencoder.quantiser.lookup(numbers)
    assert stage.deviation(cache) == pytest.approx(latents.std().item(), rel=1e-3)


def test_copies_but_the_first_are_augmented():
    stage, cache = fitted(copies=2, augment=Augment())
    assert len(cache) == 12
    plain = stage.autoencoder.indices(testing.Blobs(6, "axial").get(range(6)).x)
    assert torch.equal(cache.get(range(6)).x.long(), plain)
    assert not torch.equal(cache.get(range(6, 12)).x.long(), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (VqOptions(codes=5000), "who: 5000 codes; use at most 2048"),
        (VqOptions(dimensions=3), "who: autoencoder of 3 dimensions; slices have 2, leave it out"),
    ],
)
def test_autoencoders_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        check_codes("who", options)
