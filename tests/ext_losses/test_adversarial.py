"""Adversarial objectives against their closed forms in float64."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss


def softplus(z) -> np.ndarray:
    return np.logaddexp(0, z)


def logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(5, 1, generator=generator), 3 * torch.randn(5, 1, generator=generator) - 1


def stock():
    """BasicSR's, of which its models make both forms."""
    return build_loss({'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.25})


def test_standard_form():
    """-log D(fake); -log D(real) and -log(1 - D(fake)): the weight is the generator's alone."""
    real, fake = (value.double() for value in logits())
    r, f = real.numpy(), fake.numpy()
    loss = build_loss({'type': 'AdversarialLoss', 'loss_weight': 0.25})
    parts = loss.discriminator_losses(real, fake)
    for value, expected in (
        (loss.generator_loss(real, fake), 0.25 * softplus(-f)),
        (stock()(fake, True, is_disc=False), 0.25 * softplus(-f)),
        (parts['l_d_real'], softplus(-r)),
        (stock()(real, True, is_disc=True), softplus(-r)),
        (parts['l_d_fake'], softplus(f)),
        (stock()(fake, False, is_disc=True), softplus(f)),
    ):
        assert value.item() == pytest.approx(expected.mean(), rel=1e-12)


def test_relativistic_average_form():
    real, fake = (value.double() for value in logits())
    r, f = real.numpy(), fake.numpy()
    loss = build_loss({'type': 'RelativisticAdversarialLoss', 'loss_weight': 0.25})
    expected = 0.25 * (softplus(r - f.mean()).mean() + softplus(r.mean() - f).mean()) / 2
    assert loss.generator_loss(real, fake).item() == pytest.approx(expected, rel=1e-12)
    of_basicsr = (stock()(real - fake.mean(), False) + stock()(fake - real.mean(), True)) / 2
    assert of_basicsr.item() == pytest.approx(expected, rel=1e-12)
    parts = loss.discriminator_losses(real, fake)
    assert parts['l_d_real'].item() == pytest.approx(softplus(f.mean() - r).mean() / 2, rel=1e-12)
    assert parts['l_d_fake'].item() == pytest.approx(softplus(f - r.mean()).mean() / 2, rel=1e-12)


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.5])
def test_focal_relativistic_form(gamma):
    real, fake = logits()
    z = (fake - real).double().numpy()  # how much more real the fake looks
    p = 1 / (1 + np.exp(-z))
    loss = build_loss({'type': 'FocalRelativisticAdversarialLoss', 'gamma': gamma, 'loss_weight': 0.25})
    assert loss.generator_loss(real, fake).item() == pytest.approx(
        0.25 * ((1 - p) ** gamma * softplus(-z)).mean(), rel=1e-6
    )
    assert loss.discriminator_losses(real, fake)['l_d'].item() == pytest.approx(softplus(z).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ('detach', 'gamma', 'expected'),
    [
        # d/dz of sigmoid(-z)^gamma softplus(-z) at z = -3, -1, 0, 1, 3
        (False, 1.0, [-1.045, -0.793, -0.423, -0.134, -0.004]),
        (True, 1.0, [-0.907, -0.534, -0.250, -0.072, -0.002]),
        (False, 0.0, [-0.953, -0.731, -0.500, -0.269, -0.047]),
    ],
)
def test_focal_gradients(detach, gamma, expected):
    """Where the generator wins its pair the gradient fades; the weight's own gradient strengthens it elsewhere."""
    fake = torch.tensor([-3.0, -1, 0, 1, 3], dtype=torch.float64, requires_grad=True)
    arguments = {'gamma': gamma, 'detach_weight': detach}
    loss = build_loss({'type': 'FocalRelativisticAdversarialLoss', **arguments})
    # not a mean, but a sum of pairs
    gradient = torch.autograd.grad(5 * loss.generator_loss(torch.zeros_like(fake), fake), fake)[0]
    assert gradient.tolist() == pytest.approx(expected, abs=6e-4)
    if not detach:
        with torch.no_grad():
            for pair, shift in enumerate(1e-5 * torch.eye(5, dtype=torch.float64)):
                above, below = (loss.generator_loss(torch.zeros(5), fake + sign * shift) for sign in (1, -1))
                assert 5 * (above - below).item() / 2e-5 == pytest.approx(gradient[pair].item(), rel=1e-6)


@pytest.mark.parametrize('name', ['AdversarialLoss', 'FocalRelativisticAdversarialLoss'])
def test_hopeless_fakes_keep_their_gradient(name):
    """Where log(sigmoid) would be cut off."""
    fake = torch.full((1, 1), -200.0, requires_grad=True)
    loss = build_loss({'type': name}).generator_loss(torch.zeros(1, 1), fake)
    assert loss.item() == pytest.approx(200)
    assert torch.autograd.grad(loss, fake)[0].item() == pytest.approx(-1)
    with pytest.raises(ValueError, match='gamma'):
        build_loss({'type': 'FocalRelativisticAdversarialLoss', 'gamma': -1})


@pytest.mark.parametrize('name', ['AdversarialLoss', 'RelativisticAdversarialLoss', 'FocalRelativisticAdversarialLoss'])
def test_generator_gradient_reaches_the_fake_logits_only(name):
    real, fake = (value.requires_grad_() for value in logits())
    loss = build_loss({'type': name}).generator_loss(real, fake)
    from_real, from_fake = torch.autograd.grad(loss, (real, fake), allow_unused=True)
    assert from_real is None
    assert (from_fake < 0).all()  # raising a fake's logit lowers the generator's loss
