"""Clipping of gradients: exact values, each group's learning rate, behind a gradient scaler."""

import pytest
import torch
from recipes import PIXEL, build, options
from torch import nn

from ext_models.precision import Precision

VDSR = {'type': 'VDSR', 'num_feat': 4, 'num_conv': 3, 'pre_upsampled': 'training', 'upscale': 4}


def stepped(rates: list[float], amp: str | None = None, **clip) -> list[list[float]]:
    """Gradients of (3, -0.5, 0.02) for each group after ``Precision.step``, and the parameters' moves."""
    parameters = [nn.Parameter(torch.zeros(3)) for _ in rates]
    optimizer = torch.optim.SGD([{'params': [p], 'lr': lr} for p, lr in zip(parameters, rates, strict=True)], lr=1.0)
    precision = Precision(amp, 'cpu', clip)
    loss = sum((p * torch.tensor([3.0, -0.5, 0.02])).sum() for p in parameters)
    precision.scale(loss).backward()
    if amp == 'fp16':
        assert parameters[0].grad[0] == 3 * 65536  # scaled: clipping before unscaling would flatten all values
    precision.step(optimizer, parameters)
    precision.update()
    return [p.grad.tolist() for p in parameters] + [p.tolist() for p in parameters]


@pytest.mark.parametrize('amp', [None, 'fp16'])
def test_adjustable_clipping_follows_each_groups_rate(amp):
    first, second, third, *moves = stepped([0.1, 0.01, 0.0], amp, type='adjustable', theta=0.01)
    assert first == pytest.approx([0.1, -0.1, 0.02])  # 0.01 / 0.1
    assert second == pytest.approx([1.0, -0.5, 0.02])  # 0.01 / 0.01
    assert third == pytest.approx([3.0, -0.5, 0.02])  # does not move
    assert moves[0] == pytest.approx([-0.01, 0.01, -0.002])
    assert moves[1] == pytest.approx([-0.01, 0.005, -0.0002])
    assert moves[2] == [0, 0, 0]


@pytest.mark.parametrize('amp', [None, 'fp16'])
def test_clipping_by_value_and_norm(amp):
    assert stepped([1.0], amp, type='value', max=0.25)[0] == pytest.approx([0.25, -0.25, 0.02])
    norm = (9 + 0.25 + 0.0004) ** 0.5
    expected = [3 / norm, -0.5 / norm, 0.02 / norm]
    assert stepped([1.0], amp, type='norm', max=1.0)[0] == pytest.approx(expected, rel=1e-5)


def test_adjustable_clipping_takes_the_current_rate():
    """A schedule that lowers the rate tenfold widens the interval tenfold: the longest step stays theta."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    precision = Precision(None, 'cpu', {'type': 'adjustable', 'theta': 0.01})
    bounds = []
    for _ in range(3):
        parameter.grad = torch.tensor([1e6])
        precision.step(optimizer, [parameter])
        schedule.step()
        bounds.append(parameter.grad.item())
    assert bounds == pytest.approx([0.1, 1.0, 10.0])
    assert parameter.item() == pytest.approx(-0.03)


def test_unknown_clipping_is_named():
    with pytest.raises(ValueError, match=r"grad_clip must be like .*adjustable.*, but is .*'nrom'"):
        Precision(None, 'cpu', {'type': 'nrom', 'max': 1.0})


def test_vdsr_trains_on_luminance_and_is_evaluated_in_colour():
    """Plain SGD moves no weight by more than theta, though the first gradients are large; RGB in, RGB out."""
    opt = options(
        'ExtSRModel',
        discriminator=None,
        pixel_opt={**PIXEL, 'loss_weight': 1e4},
        optim_g={'type': 'SGD', 'lr': 0.1},
        grad_clip={'type': 'adjustable', 'theta': 0.01},
    )
    opt['network_g'] = VDSR
    model = build(opt)
    before = [parameter.detach().clone() for parameter in model.net_g.parameters()]
    torch.manual_seed(0)
    model.feed_data({'lq': torch.rand(2, 1, 16, 16), 'gt': torch.rand(2, 1, 16, 16)})
    model.optimize_parameters(1)
    moves = [(a - b).abs().max().item() for a, b in zip(before, model.net_g.parameters(), strict=True)]
    assert max(moves) == pytest.approx(0.01, rel=1e-4)
    model.feed_data({'lq': torch.rand(1, 3, 8, 9)})
    model.test()
    assert model.output.shape == (1, 3, 32, 36)
    model.feed_data({'lq': torch.rand(1, 3, 8, 9), 'gt': torch.rand(1, 3, 8, 9)})
    with pytest.raises(ValueError, match=r'VDSR with num_in_ch: 1 trains on luminance.*datasets:train:color: y'):
        model.optimize_parameters(2)
