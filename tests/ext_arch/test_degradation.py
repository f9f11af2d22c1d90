"""DegradationNet: sizes, parameters, and where it is centred."""

import functools

import pytest
import small_networks
import torch
from small_networks import count, without_gradient
from torch import nn

make = functools.partial(small_networks.make, 'DegradationNet')


@pytest.mark.parametrize(
    ('kernels', 'shared', 'channel'),
    [({}, 109_822, 109_987), ([5, 5, 3, 3], 112_510, 112_675), ([1, 5, 1, 1], 82_046, 82_211)],
)
def test_parameter_counts(kernels, shared, channel):
    for prelu, expected in (('shared', shared), ('channel', channel)):
        assert count(make(prelu=prelu, **({'kernel_sizes': kernels} if kernels else {}))) == expected
    counts = [count(layer) for layer in make().body]
    assert counts == [1568, 1, 78_456, 1, 28_280, 1, 1515]
    assert [layer.weight.item() for layer in make().body if isinstance(layer, nn.PReLU)] == [0.25] * 3


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('strided', [5, 7])
def test_output_is_exactly_the_input_divided_by_the_scale(scale, strided):
    net = make(scale=scale, num_in_ch=1, num_feat=4, kernel_sizes=[3, strided, 3, 3]).double()
    for size in ((1, 1), (5, 8)):
        hr = torch.rand(2, 1, scale * size[0], scale * size[1], dtype=torch.float64)
        assert net(hr).shape == (2, 3, *size)
    with pytest.raises(ValueError, match=f'{4 * scale} x {4 * scale + 1} .*multiple of {scale}'):
        net(torch.rand(1, 3, 4 * scale, 4 * scale + 1))


def pass_through(scale: int, strided: int = 5) -> nn.Module:
    """A network whose kernels are one in the centre: it shows which HR pixel an LR pixel is centred on."""
    net = make(scale=scale, num_feat=3, kernel_sizes=[3, strided, 3, 3])
    for layer in (layer for layer in net.body if isinstance(layer, nn.Conv2d)):
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)
    return net


@pytest.mark.parametrize(('scale', 'centre'), [(2, 0), (3, 1), (4, 0)])
@pytest.mark.parametrize('strided', [5, 7])
def test_centre_of_an_lr_pixel(scale, centre, strided):
    hr = torch.rand(1, 3, 6 * scale, 7 * scale)
    assert torch.equal(pass_through(scale, strided)(hr), hr[..., centre::scale, centre::scale])


def test_receptive_field_at_scale_4():
    hr = torch.rand(1, 3, 64, 64, requires_grad=True)
    torch.manual_seed(0)
    make(num_feat=8)(hr)[0, :, 8, 8].sum().backward()
    rows = hr.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (32 - 11, 32 + 11)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('prelu', ['shared', 'channel'])
def test_gradient_reaches_every_parameter(scale, prelu):
    net = make(scale=scale, num_feat=8, prelu=prelu)
    net(torch.rand(2, 3, 4 * scale, 4 * scale)).square().sum().backward()
    assert without_gradient(net) == set()


def test_output_activations():
    torch.manual_seed(0)
    hr = 40 * torch.randn(1, 3, 32, 32)
    nets = {act: make(num_feat=8, output_act=act) for act in ('none', 'sigmoid', 'clamp')}
    for net in nets.values():
        net.load_state_dict(nets['none'].state_dict())
    linear = nets['none'](hr)
    assert linear.min() < 0
    assert linear.max() > 1
    assert torch.equal(nets['sigmoid'](hr), linear.sigmoid())
    assert torch.equal(nets['clamp'](hr), linear.clamp(0, 1))


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'scale': 8}, 'scale must be 2, 3 or 4'),
        ({'kernel_sizes': [3, 4, 3, 3]}, 'four odd numbers'),
        ({'kernel_sizes': [3, 5, 3]}, 'four odd numbers'),
        ({'kernel_sizes': [3, 3, 3, 3]}, 'skip pixels at scale 4. Choose at least 5'),
        ({'kernel_sizes': [3, 1, 3, 3], 'scale': 3}, 'Choose at least 3'),
        ({'prelu': 'each'}, 'prelu must be'),
        ({'output_act': 'tanh'}, 'output_act must be'),
    ],
)
def test_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)
