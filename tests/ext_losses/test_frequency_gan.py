"""The frequency adversarial loss: closed forms of its readings; the gradient of its filter is in test_frequency.py."""

import math

import pytest
import torch
from basicsr.losses import build_loss

from ext_losses.frequency import HighPass

Z = (-3.0, 0.0, 3.0)
REAL = 0.5  # another image's logit, which only the relativistic form looks at


def make(**kwargs):
    return build_loss({'type': 'FrequencyGANLoss', **kwargs})


def sp(z: float) -> float:
    return math.log1p(math.exp(z))


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


VALUES = {
    'nonsaturating': lambda z: sp(-z),
    'minimax': lambda z: -sp(z),
    'ragan': lambda z: (sp(REAL - z) + sp(-(z - REAL))) / 2,
}
SLOPES = {'nonsaturating': lambda z: -sigma(-z), 'minimax': lambda z: -sigma(z), 'ragan': lambda z: -sigma(REAL - z)}


@pytest.mark.parametrize('gan_form', list(VALUES))
@pytest.mark.parametrize('z', Z)
def test_generator_closed_form(gan_form, z):
    logits = torch.full((2, 1), z, dtype=torch.float64, requires_grad=True)
    loss = make(gan_form=gan_form, loss_weight=0.5).generator_loss(torch.full_like(logits, REAL), logits)
    assert loss.item() == pytest.approx(0.5 * VALUES[gan_form](z), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.sum().item() == pytest.approx(0.5 * SLOPES[gan_form](z), rel=1e-12)


@pytest.mark.parametrize('gan_form', list(VALUES))
@pytest.mark.parametrize('z', Z)
def test_discriminator_closed_form(gan_form, z):
    losses = make(gan_form=gan_form, loss_weight=0.5).discriminator_losses(
        torch.full((2, 1), REAL, dtype=torch.float64), torch.full((2, 1), z, dtype=torch.float64)
    )
    expected = {'l_d_real': sp(-REAL), 'l_d_fake': sp(z)}
    if gan_form == 'ragan':
        expected = {'l_d_real': sp(z - REAL) / 2, 'l_d_fake': sp(z - REAL) / 2}
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-12)


def test_extreme_logits_stay_finite():
    for gan_form in VALUES:
        logits = torch.tensor([[-1000.0], [1000.0]], requires_grad=True)
        loss = make(gan_form=gan_form)
        total = loss.generator_loss(logits.detach(), logits) + sum(
            loss.discriminator_losses(logits.detach(), logits).values()
        )
        (gradient,) = torch.autograd.grad(total, logits)
        assert total.isfinite()
        assert gradient.isfinite().all()


def photograph(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_filter_options_reach_the_filter():
    sr, gt = photograph(1, 3, 24, 24).float(), photograph(1, 3, 24, 24, seed=1).float()
    options = {'filter': 'average', 'kernel_size': 5, 'pad': 'zero', 'shift': True}
    fake, real = make(**options)(sr, gt)
    assert torch.equal(fake, HighPass(**options)(sr))
    assert torch.equal(real, HighPass(**options)(gt))
    assert torch.equal(make(kernel_size=7, sigma=1.0)(sr, gt)[0], HighPass(kernel_size=7, sigma=1.0)(sr))
    assert not make().state_dict()
    assert {buffer.dtype for buffer in make().buffers()} == {torch.float32}


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match='gan_form must be one of nonsaturating, minimax, ragan'):
        make(gan_form='lsgan')
