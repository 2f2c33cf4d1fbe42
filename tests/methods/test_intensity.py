import torch

from brainuad import testing
from brainuad.methods.intensity import Intensity, IntensityOptions
from brainuad.rng import Rng


def detected(x, brain, **options):
    method = Intensity(IntensityOptions(**options))
    method.mark_fitted()
    return method.detect(x, brain, rng=Rng([0])).anomaly


def test_brightest_and_darkest_voxel_lead():
    batch = testing.Blobs(1, "axial").get([0])
    x = batch.x.clone()
    x[0, 0, 16, 24], x[0, 0, 12, 20] = 1.0, 0.0
    for equalise in (True, False):
        bright = detected(x, batch.brain, equalise=equalise)
        dark = detected(x, batch.brain, equalise=equalise, dark=True)
        assert bright[0, 0, 16, 24] == bright.max()
        assert dark[0, 0, 12, 20] == dark.max()


def test_raw_bright_map_is_the_image():
    batch = testing.Blobs(2, "volume").get([0, 1])
    assert torch.equal(
        torch.cat(
            [detected(batch.x[i : i + 1], batch.brain[i : i + 1], equalise=False) for i in (0, 1)]
        ),
        batch.x * batch.brain,
    )


def test_equalised_map_does_not_know_the_scanner_gain():
    batch = testing.Blobs(1, "axial").get([0])
    levels = (batch.x * 31).round() / 31
    assert torch.equal(detected(levels, batch.brain), detected(levels.sqrt(), batch.brain))
