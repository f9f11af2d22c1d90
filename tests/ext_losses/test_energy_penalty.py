"""The gradient penalty against closed forms and finite differences of VGGUAE."""

import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor


def make(**kwargs):
    return build_loss({'type': 'EnergyGradientPenalty', **kwargs})


def images(seed: int = 0, size: int = 4) -> Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('every', [1, 4])
def test_input_penalty_of_a_quadratic_energy(every):
    """U = mean(c x^2): the gradient is 2 c x / N, N values an image."""
    x, c = images().requires_grad_(), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    value = make(loss_weight=7.0, every=every)(c * x**2, x)
    values = x.detach().numpy().reshape(3, -1)
    squares = (values**2).sum(axis=1).mean() / values.shape[1] ** 2
    assert value.item() == pytest.approx(7 * every * 4 * 1.5**2 * squares, rel=1e-12)
    (by_c,) = torch.autograd.grad(value, c)
    assert by_c.item() == pytest.approx(7 * every * 8 * 1.5 * squares, rel=1e-12)


def test_parameter_penalty_of_a_quadratic_energy():
    """E U = mean(a x^2 + b): its gradient is (mean(x^2), 1)."""
    x = images()
    a, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.5, 2.0))
    value = make(loss_weight=0.3, wrt='params')(a**2 * x**2 + b, [a, b])
    square = (x.numpy() ** 2).mean()
    assert value.item() == pytest.approx(0.3 * (square**2 + 1), rel=1e-12)  # 2 a = 1
    (by_a,) = torch.autograd.grad(value, a)
    assert by_a.item() == pytest.approx(0.3 * 2 * square * 2 * square, rel=1e-12)


@pytest.mark.parametrize('wrt', ['input', 'params'])
@pytest.mark.parametrize('energy_space', ['pixel', 'feature'])
def test_double_backward_through_the_frozen_encoder(wrt, energy_space):
    """Along a direction of the decoder's weights, the penalty changes as its gradient says."""
    torch.manual_seed(0)
    net = build_network(
        {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1, 'energy_space': energy_space}
    ).double()
    x = images(size=16)[:2].requires_grad_(wrt == 'input')
    weights = list(net.parameters())
    direction = [torch.randn_like(weight) / weight.numel() ** 0.5 for weight in weights]
    penalty = make(wrt=wrt)

    def value() -> Tensor:
        return penalty(net(x), x if wrt == 'input' else weights)

    def shifted(step: float) -> float:
        with torch.no_grad():
            for weight, change in zip(weights, direction, strict=True):
                weight.add_(step * change)
        result = value().item()
        with torch.no_grad():
            for weight, change in zip(weights, direction, strict=True):
                weight.sub_(step * change)
        return result

    # a bias that only shifts the reconstruction may leave the penalty as it is
    gradients = torch.autograd.grad(value(), weights, allow_unused=True)
    slope = sum(
        ((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None), start=torch.zeros(())
    )
    step = 1e-6
    assert slope.item() != 0
    assert (shifted(step) - shifted(-step)) / (2 * step) == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize(('option', 'value'), [('wrt', 'weights'), ('every', 0), ('every', 1.5), ('every', True)])
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} must be'):
        make(**{option: value})
