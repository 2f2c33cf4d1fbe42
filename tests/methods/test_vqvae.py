import pytest
import torch

from brainuad import testing
from brainuad.config import build
from brainuad.method import Batch, preset_options
from brainuad.methods.latent_ddpm import LatentDdpm, LatentDdpmOptions
from brainuad.methods.vqvae import Vqvae, VqvaeOptions


def made(**changes) -> Vqvae:
    plain = {**preset_options("vqvae", "tiny"), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Vqvae(build(VqvaeOptions, plain, where="vqvae"))


def two_stages() -> LatentDdpm:
    plain = {**preset_options("latent_ddpm", "tiny"), "held_out": 0.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LatentDdpm(build(LatentDdpmOptions, plain, where="latent_ddpm"))


def fitted(**changes) -> Vqvae:
    return testing.fitted(lambda: made(**changes), "axial")  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("sign", ["absolute", "dark", "bright"])
def test_the_map_is_what_the_codes_cannot_say(sign):
    method = fitted(sign=sign)
    batch = testing.lesioned("axial")
    found = method.detect(batch.x, batch.brain, rng=batch.rng(0))
    book = method.autoencoder.quantiser
    z = method.autoencoder.encoder(batch.x)
    rows = z.movedim(1, -1).reshape(-1, z.shape[1])
    nearest = book.codes[torch.cdist(rows, book.codes).argmin(1)]
    copy = method.autoencoder.decoder(nearest.reshape(z.movedim(1, -1).shape).movedim(-1, 1))
    d = (batch.x - copy) * batch.brain
    wanted = {"absolute": d.abs(), "dark": (-d).clamp(min=0), "bright": d.clamp(min=0)}[sign]
    torch.testing.assert_close(found.anomaly, wanted)
    torch.testing.assert_close(found.healthy, copy * batch.brain)


def test_it_is_the_first_stage_of_latent_ddpm():
    state = testing.fitted(two_stages, "axial").state_dict()
    for name, value in fitted().autoencoder.state_dict().items():
        assert torch.equal(value, state[f"autoencoder.{name}"]), name


def test_training_lowers_the_loss():
    method, batch = made(), testing.Blobs(4, "axial").get(range(4))
    adam = torch.optim.Adam(method.autoencoder.parameters(), lr=5e-3)
    method.autoencoder.train()
    seen = []
    for step in range(80):
        loss = method.reconstruct(batch, batch.rng(0, step))[2].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]


@pytest.mark.parametrize("space", [(30, 45), (32, 48)])
def test_slices_of_any_size_are_copied(space):
    def cut(batch):
        window = (..., *map(slice, space))
        return Batch(x=batch.x[window], brain=batch.brain[window], keys=batch.keys)

    method = made()
    healthy = cut(testing.Blobs(4, "axial").get(range(4)))
    method.fit(testing.Fixed(healthy), minimise=testing.few_steps)
    batch = cut(testing.lesioned("axial"))
    found = method.eval().detect(batch.x, batch.brain, rng=batch.rng(0))
    assert found.anomaly.shape[2:] == space
    assert (found.anomaly[batch.brain] > 0).any()


def test_with_a_critic_the_autoencoder_alone_is_kept():
    method = fitted(critic={"width": 4, "layers": 1, "start": 0})
    assert set(method.state_dict()) == set(made().state_dict())


def test_a_codebook_that_is_mostly_unused_is_said(caplog):
    class Idle(testing.Blobs):
        """All images alike: one code is enough for every cell of the background."""

        def get(self, indices):
            batch = super().get(indices)
            return Batch(x=0 * batch.x, brain=batch.brain, keys=batch.keys)

    method = made(autoencoder={"preset": "tiny", "revive": 0.0})
    method.fit(Idle(4, "axial"), minimise=testing.few_steps)
    assert "codebook of 16 codes: perplexity" in caplog.text
    (note,) = method.notes()
    used = method.autoencoder.quantiser.perplexity()
    assert used < 8
    assert note.endswith(f"on healthy images: {used:.0f} of at most 16.")
