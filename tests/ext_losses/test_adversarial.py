"""Adversarial objectives against their closed forms in float64."""

import math

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss


def softplus(z) -> np.ndarray:
    return np.logaddexp(0, z)


def logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(5, 1, generator=generator), 3 * torch.randn(5, 1, generator=generator) - 1


def test_standard_form():
    real, fake = logits()
    r, f = real.double().numpy(), fake.double().numpy()
    loss = build_loss({'type': 'AdversarialLoss', 'loss_weight': 0.25})
    assert loss.generator_loss(real, fake).item() == pytest.approx(0.25 * softplus(-f).mean(), rel=1e-6)
    on_real, on_fake = loss.discriminator_losses(real, fake)
    assert on_real.item() == pytest.approx(softplus(-r).mean(), rel=1e-6)
    assert on_fake.item() == pytest.approx(softplus(f).mean(), rel=1e-6)


def test_relativistic_average_form():
    real, fake = logits()
    r, f = real.double().numpy(), fake.double().numpy()
    loss = build_loss({'type': 'RelativisticAdversarialLoss', 'loss_weight': 0.25})
    expected_g = (softplus(r - f.mean()).mean() + softplus(-(f - r.mean())).mean()) / 2
    assert loss.generator_loss(real, fake).item() == pytest.approx(0.25 * expected_g, rel=1e-6)
    on_real, on_fake = loss.discriminator_losses(real, fake)
    assert on_real.item() == pytest.approx(softplus(-(r - f.mean())).mean() / 2, rel=1e-6)
    assert on_fake.item() == pytest.approx(softplus(f - r.mean()).mean() / 2, rel=1e-6)


@pytest.mark.parametrize('name', ['AdversarialLoss', 'RelativisticAdversarialLoss'])
def test_equilibrium_values(name):
    """A discriminator that knows nothing gives log 2 to every term."""
    zeros = torch.zeros(4, 1)
    loss = build_loss({'type': name})
    scale = 0.5 if name.startswith('Rel') else 1.0
    assert loss.generator_loss(zeros, zeros).item() == pytest.approx(math.log(2))
    for part in loss.discriminator_losses(zeros, zeros):
        assert part.item() == pytest.approx(scale * math.log(2))


@pytest.mark.parametrize('name', ['AdversarialLoss', 'RelativisticAdversarialLoss'])
def test_generator_gradient_reaches_the_fake_logits_only(name):
    real, fake = (value.requires_grad_() for value in logits())
    loss = build_loss({'type': name}).generator_loss(real, fake)
    from_real, from_fake = torch.autograd.grad(loss, (real, fake), allow_unused=True)
    assert from_real is None
    assert (from_fake < 0).all()  # raising a fake's logit lowers the generator's loss


def test_saturated_logits_keep_a_gradient():
    """BCE on logits stays exact where log(sigmoid) would be cut off."""
    fake = torch.full((1, 1), -40.0, requires_grad=True)
    loss = build_loss({'type': 'AdversarialLoss'}).generator_loss(fake.detach(), fake)
    assert loss.item() == pytest.approx(40.0)
    assert torch.autograd.grad(loss, fake)[0].item() == pytest.approx(-1.0)
