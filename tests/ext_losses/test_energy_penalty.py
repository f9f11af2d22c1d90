"""The gradient penalty against closed forms and finite differences of VGGUAE; the step with it: test_energy_gan.py."""

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


def test_units():
    """loss_weight / (3 h w) on sums of squared errors weighs as much beside them as loss_weight on means."""
    x = images().requires_grad_()
    count = x[0].numel()
    means, sums = (x - 0.3) ** 2, count * (x - 0.3) ** 2
    on_means = make(loss_weight=10.0)(means, x) / means.mean()
    on_sums = make(loss_weight=10.0 / count)(sums, x) / sums.mean()
    assert on_sums.item() == pytest.approx(on_means.item(), rel=1e-12)
    wide = (2 * x.detach() - 1).requires_grad_()  # the same images in [-1, 1]
    on_wide = make(loss_weight=40.0)(((wide + 1) / 2 - 0.3) ** 2, wide)
    assert on_wide.item() == pytest.approx(make(loss_weight=10.0)(means, x).item(), rel=1e-12)


@pytest.mark.parametrize('wrt', ['input', 'params'])
@pytest.mark.parametrize('energy_space', ['pixel', 'feature'])
def test_double_backward_through_the_frozen_encoder(wrt, energy_space):
    """Along a direction of the decoder's weights, the penalty changes as its gradient says."""
    torch.manual_seed(0)
    network = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1, 'energy_space': energy_space}
    net = build_network(network).double()
    x = images(size=16)[:1].requires_grad_(wrt == 'input')
    weights = list(net.parameters())
    direction = [torch.randn_like(weight) / weight.numel() ** 0.5 for weight in weights]
    penalty, step = make(wrt=wrt), 1e-6

    def moved(step: float) -> Tensor:
        with torch.no_grad():
            for weight, change in zip(weights, direction, strict=True):
                weight.add_(step * change)
        return penalty(net(x), x if wrt == 'input' else weights)

    # a bias that only shifts the reconstruction may leave the penalty as it is
    gradients = torch.autograd.grad(moved(0), weights, allow_unused=True)
    slope = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True) if g is not None)
    assert slope != 0
    above, below = moved(step).item(), moved(-2 * step).item()
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(('option', 'value'), [('wrt', 'weights'), ('every', 0), ('every', 1.5), ('every', True)])
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} must be'):
        make(**{option: value})
