"""The critic of an autoencoder: each part follows its own aim, balanced as published."""

import pytest
import torch
from tests.training import Dots
from torch import nn

from brainuad.autoencoder import Autoencoder, AutoencoderOptions
from brainuad.critic import CriticOptions, Judged, distance, fit_autoencoder, hinge, mean, seeded
from brainuad.train import Trainer, TrainSettings

OPTIONS = CriticOptions(width=4, layers=1, start=0)


class Copier(nn.Module):
    """The smallest autoencoder: one convolution there, one back."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(1, 3, 3, padding=1)
        self.decoder = nn.Sequential(nn.SiLU(), nn.Conv2d(3, 1, 3, padding=1))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def copier():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Copier()


def played(options=OPTIONS):
    """Judged copier, images, their copies, the plain error."""
    judged = seeded(copier(), 1, options)
    x = Dots(4).x
    decoded = judged.autoencoder(x)
    return judged, x, decoded, mean((decoded - x).abs())


def gradients(value, module):
    return torch.autograd.grad(value, list(module.parameters()), retain_graph=True)


def test_hinge_is_zero_for_a_sure_and_right_critic_and_one_for_a_silent_one():
    sure = torch.full((2, 1, 3, 3), 1.5)
    assert hinge(sure, -sure).tolist() == [0, 0]
    assert hinge(0 * sure, 0 * sure).tolist() == [1, 1]
    assert hinge(-sure, sure).tolist() == [2.5, 2.5]


def test_features_that_agree_cost_nothing_and_the_truth_gets_no_gradient():
    a = [torch.rand(2, 3, 4, 4, requires_grad=True) for _ in range(2)]
    assert distance(a, a).tolist() == [0, 0]
    moved = distance([x + 0.25 for x in a], a)
    torch.testing.assert_close(moved, torch.full((2,), 0.25))
    b = [torch.rand(2, 3, 4, 4, requires_grad=True) for _ in range(2)]
    distance(a, b).sum().backward()
    assert all(x.grad is None for x in b)
    assert all(x.grad is not None for x in a)


def test_each_part_follows_its_own_aim():
    judged, x, decoded, error = played()
    total = judged.loss(x, decoded, error).mean()
    real, fake = judged.critic(x), judged.critic(decoded)
    own = error + distance(fake[:-1], real[:-1])
    aims = {
        judged.critic: hinge(real[-1], judged.critic(decoded.detach())[-1]).mean(),
        judged.autoencoder: (
            own - 0.5 * ratio(own, -mean(fake[-1]), judged) * mean(fake[-1])
        ).mean(),
    }
    for part, aim in aims.items():
        for got, want in zip(gradients(total, part), gradients(aim, part), strict=True):
            torch.testing.assert_close(got, want)


def ratio(error, verdict, judged):
    """How much harder the plain loss pulls the last convolution than the verdict does."""
    last = judged.autoencoder.decoder[1].weight
    pulls = [
        torch.autograd.grad(part.mean(), last, retain_graph=True)[0].norm()
        for part in (error, verdict)
    ]
    return pulls[0] / (pulls[1] + 1e-4)


def test_the_verdict_counts_from_its_first_step():
    judged, x, decoded, error = played(CriticOptions(width=4, layers=1, start=2))
    without = [judged.loss(x, decoded, error) for _ in range(2)]
    torch.testing.assert_close(without[0], without[1])
    assert int(judged.steps) == 2
    assert not torch.allclose(judged.loss(x, decoded, error), without[0])


def test_no_weight_leaves_the_plain_loss_and_the_critics_own():
    judged, x, decoded, error = played(
        CriticOptions(width=4, layers=1, start=0, adversarial=0.0, perceptual=0.0)
    )
    found = judged.loss(x, decoded, error)
    own = hinge(judged.critic(x)[-1], judged.critic(decoded)[-1])
    torch.testing.assert_close(found, error + own)


def reconstruct(net):
    def of(batch, rng):
        decoded = net(batch.x)
        return batch.x, decoded, mean((decoded - batch.x).abs())

    return of


@pytest.mark.parametrize("critic", [None, OPTIONS], ids=["plain", "judged"])
def test_the_stage_trains_freezes_and_goes_on_where_it_stopped(tmp_path, critic):
    settings = TrainSettings(steps=8, batch_size=4, checkpoint_steps=3)

    def fitted(folder, **how):
        net = copier()
        trainer = Trainer(settings, folder=folder, progress=False, **how)
        fit_autoencoder(net, reconstruct(net), Dots(), critic, trainer)
        return net

    whole = fitted(tmp_path / "whole")
    assert not any(p.requires_grad for p in whole.parameters())
    assert any(
        (a != b).any() for a, b in zip(whole.parameters(), copier().parameters(), strict=True)
    )

    def interrupt(stage, step, module):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", on_step=interrupt, on_step_every=1)
    again = fitted(tmp_path / "parts")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_critic_sharpens_an_autoencoder_of_volumes_too():
    net = Autoencoder(AutoencoderOptions(preset="tiny", dimensions=3, fold=1))
    judged = Judged(net, 1, OPTIONS)
    x = torch.rand(2, 1, 8, 8, 8)
    decoded = net.decode(net.encode(x)[0])
    assert judged.loss(x, decoded, mean((decoded - x).abs())).shape == (2,)
