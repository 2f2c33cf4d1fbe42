"""Options that make no sense are refused when a detector is made, before anything is trained."""

import pytest

from brainuad.detector_config import configured
from brainuad.method import method_class, method_names
from brainuad.prepare import recipe
from brainuad.types import UsageError

OUT_OF_RANGE = [
    ("mad_ad", {"copies": 0}, r"mad_ad.copies: .*greater than or equal to 1"),
    ("reflect", {"copies": 0}, r"reflect.copies: .*greater than or equal to 1"),
    ("mad_ad", {"map": {"clip": -1}}, r"mad_ad.map.clip: .*greater than or equal to 0"),
    ("mad_ad", {"kl_weight": -1}, r"mad_ad.kl_weight: .*greater than or equal to 0"),
    ("mad_ad", {"mask_weight": -1}, r"mad_ad.mask_weight: .*greater than or equal to 0"),
    ("mad_ad", {"noised_weight": -3}, r"mad_ad.noised_weight: .*greater than 0"),
    ("mad_ad", {"patches": {"brain_fraction": 5}}, r"patches.brain_fraction: .*equal to 1"),
    ("mad_ad", {"dropout": 2}, r"mad_ad.dropout: .*less than or equal to 1"),
    ("ddpm", {"net": {"dropout": -1}}, r"ddpm.net.dropout: .*greater than or equal to 0"),
    ("reflect", {"map": {"smooth_px": -2}}, r"reflect.map.smooth_px: .*greater than or equal to 0"),
    ("andi", {"noise": {"discount": -1}}, r"andi.noise.discount: .*greater than 0"),
    ("ddpm", {"noise": {"cell_px": 0}}, r"ddpm.noise.cell_px: .*greater than 0"),
    ("pddpm", {"stride": 0}, r"pddpm.stride: .*greater than 0"),
]
OF_OTHER_NETS = [
    ("ddpm", {"net": {"dimensions": 3}}, r"ddpm.net.dimensions: 3 is for other uses"),
    ("cddpm", {"net": {"mask_head": True}}, r"cddpm.net.mask_head: True is for other uses"),
    ("thor", {"net": {"channels_in": 4}}, r"thor.net.channels_in: 4 is for .*slices has 1, leave"),
    ("mad_ad", {"autoencoder": {"dimensions": 3, "fold": 1}}, "mad_ad.autoencoder.dimensions: 3"),
    ("latent_ddpm", {"autoencoder": {"dimensions": 3}}, "latent_ddpm.autoencoder.dimensions: 3"),
    ("dae", {"net": {"dimensions": 3}}, "dae.net.dimensions: 3 is for other uses"),
    ("vqvae", {"autoencoder": {"channels": 2}}, "vqvae.autoencoder.channels: 2 is for other uses"),
]


@pytest.mark.parametrize(("method", "options", "match"), [*OUT_OF_RANGE, *OF_OTHER_NETS])
def test_an_option_that_cannot_be_is_named(method, options, match):
    with pytest.raises(UsageError, match=match):
        configured(method, "default", options, recipe=recipe("phantom"))


@pytest.mark.parametrize("method", method_names())
def test_every_preset_can_be_configured(method):
    for preset in method_class(method).presets:
        found = configured(method, preset, {}, recipe=recipe("phantom"))
        assert found.preset == preset
