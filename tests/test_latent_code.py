"""Every encoding leads from images to latents and back, and the cache gives the same latents."""

import numpy as np
import pytest
import torch

from brainuad.autoencoder import AutoencoderOptions, kl_reconstruction, posterior_sample
from brainuad.latent_code import Downsampling, EncodingOptions
from brainuad.latents import LatentCache
from brainuad.rng import Rng
from brainuad.testing import Blobs
from brainuad.types import UsageError
from brainuad.vq import VqOptions

KINDS = ("quantised", "non_quantised", "indices", "downsampling", "kl")


def made(kind, codes=16):
    options = EncodingOptions(kind=kind, kl=AutoencoderOptions(preset="tiny"))
    torch.manual_seed(0)
    vq = VqOptions(preset="tiny", codes=codes)
    return options.of(options.autoencoder(vq).eval().requires_grad_(False))


def images(count=3):
    return Blobs(count, "axial").get(range(count)).x


def cached(encoding, count=6):
    def encode(batch, copy):
        return encoding.kept(batch.x), batch.brain

    return LatentCache(Blobs(count, "axial"), encode)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_have_the_stated_channels_and_cells(kind):
    encoding, x = made(kind), images()
    z = encoding.latents(x)
    assert z.shape == (3, encoding.channels, 32 // encoding.factor, 48 // encoding.factor)
    assert encoding.images(z).shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_gives_the_latents_of_the_images(kind):
    encoding, x = made(kind), images()
    drawn = encoding.drawn(encoding.kept(x), Rng([1, 2, 3]))
    if kind == "kl":
        mean, logvar = encoding.autoencoder.encode(2 * x - 1)
        noise = Rng([1, 2, 3]).fork("posterior").normal_like(mean)
        torch.testing.assert_close(drawn, mean + (logvar / 2).exp() * noise)
        return
    torch.testing.assert_close(drawn, encoding.latents(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_deviation_is_that_of_all_latents(kind):
    encoding = made(kind)
    cache = cached(encoding)
    many = [encoding.drawn(cache.x.float(), Rng(range(n, n + len(cache)))) for n in range(0, 60, 6)]
    found = encoding.deviation(cache, encoding.counts(cache))
    assert found == pytest.approx(float(torch.stack(many).std()), rel=0.02)


@pytest.mark.parametrize("kind", ["quantised", "non_quantised", "indices"])
def test_codes_are_counted_as_they_occur(kind):
    encoding = made(kind)
    numbers = encoding.autoencoder.indices(Blobs(6, "axial").get(range(6)).x)
    expected = [int((numbers == n).sum()) for n in range(16)]
    assert encoding.counts(cached(encoding)).tolist() == expected


@pytest.mark.parametrize("kind", ["downsampling", "kl"])
def test_without_codes_none_are_counted_and_nothing_snaps(kind):
    encoding, x = made(kind), images()
    assert encoding.codes == 0
    assert encoding.counts(cached(encoding)) is None
    z = encoding.latents(x)
    assert torch.equal(encoding.snapped(z), z)


@pytest.mark.parametrize("kind", ["quantised", "non_quantised", "indices"])
def test_encodings_of_one_codebook_show_the_same_images(kind):
    encoding, x = made(kind), images()
    autoencoder = encoding.autoencoder
    expected = autoencoder.decode(autoencoder.encode(x))
    torch.testing.assert_close(encoding.images(encoding.latents(x)), expected)


def test_vectors_that_are_no_codes_are_decoded_as_their_nearest_code():
    encoding, x = made("non_quantised"), images()
    z = encoding.latents(x) + 0.01
    distance = torch.cdist(z.movedim(1, -1).flatten(0, -2), encoding.book.codes)
    numbers = distance.argmin(1).reshape(3, 1, 8, 12)
    expected = encoding.autoencoder.decode(encoding.book.lookup(numbers))
    torch.testing.assert_close(encoding.images(z), expected)


def test_indices_run_from_minus_one_to_one_and_are_rounded_to_the_nearest():
    encoding = made("indices", codes=5)
    kept = torch.tensor([0.0, 1, 2, 3, 4]).reshape(1, 1, 1, 5)
    z = encoding.drawn(kept, Rng([0]))
    assert z.flatten().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    exact = encoding.images(z)
    for shift in (-0.24, 0.24):
        assert torch.equal(encoding.images(z + shift), exact)
    assert not torch.equal(encoding.images(z[..., :4] + 0.26), exact[..., :16])
    assert torch.equal(encoding.images(z + 50), encoding.images(torch.ones_like(z)))


def test_small_images_are_means_of_blocks():
    encoding, x = made("downsampling"), images()
    z = encoding.latents(x).numpy()
    for i, j in np.ndindex(8, 12):
        block = x[:, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        np.testing.assert_allclose(z[:, 0, i, j], 2 * block.mean((1, 2)) - 1, atol=1e-6)


@pytest.mark.parametrize("space", [(8, 12), (4, 8, 12)])
def test_a_flat_image_survives_downsampling_and_a_ramp_does_inside(space):
    small = Downsampling(4)
    flat = torch.full((1, 1, *space), 0.3)
    torch.testing.assert_close(small.decode(small.encode(flat)), flat)
    ramp = torch.arange(float(space[-1])).expand(1, 1, *space)
    back = small.decode(small.encode(ramp))
    torch.testing.assert_close(back[..., 2:-2], ramp[..., 2:-2])


def test_an_image_that_blocks_do_not_tile_is_refused():
    with pytest.raises(UsageError, match="cannot be divided by 4; crop or pad"):
        Downsampling(4).encode(torch.zeros(1, 1, 8, 10))


def test_a_posterior_sample_has_the_stated_moments():
    mean, logvar = torch.full((1, 1, 60, 60), 0.7), torch.full((1, 1, 60, 60), -1.0)
    z = posterior_sample(torch.cat([mean, logvar], 1), Rng([5]))
    assert float(z.mean()) == pytest.approx(0.7, abs=0.03)
    assert float(z.var()) == pytest.approx(np.exp(-1.0), rel=0.06)


def test_the_loss_of_the_autoencoder_is_error_plus_weighted_divergence():
    class Known:
        def encode(self, x):
            return torch.full_like(x, 2.0), torch.full_like(x, -30.0)

        def decode(self, z):
            return z

    x = torch.zeros(2, 1, 4, 4)
    _, loss = kl_reconstruction(Known(), x, 0.5, Rng([1, 2]))
    divergence = (2.0**2 + np.exp(-30.0) + 30.0 - 1) / 2
    assert loss.tolist() == pytest.approx([2.0 + 0.5 * divergence] * 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["non_quantised", "indices", "downsampling", "kl"])
def test_only_codes_can_be_decoded_as_they_were_sampled(kind):
    options = EncodingOptions(kind=kind)
    with pytest.raises(UsageError, match=f"requantise has no meaning for the encoding {kind}"):
        options.check(requantise=False, critic=False, codes=16)
    options.check(requantise=True, critic=False, codes=16)


def test_what_nothing_learns_needs_no_critic():
    with pytest.raises(UsageError, match="critic has no meaning for the encoding downsampling"):
        EncodingOptions(kind="downsampling").check(requantise=True, critic=True, codes=16)


def test_large_codebooks_are_refused_only_where_their_numbers_are_cached():
    with pytest.raises(UsageError, match="5000 codes; use at most 2048"):
        EncodingOptions(kind="indices").check(requantise=True, critic=False, codes=5000)
    EncodingOptions(kind="non_quantised").check(requantise=True, critic=False, codes=5000)
