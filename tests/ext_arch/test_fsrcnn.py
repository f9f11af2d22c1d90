"""FSRCNN: its size, its function, its start."""

import pytest
import torch
from small_networks import count, images, loosened, make
from torch import nn
from torch.nn import functional as F


@pytest.mark.parametrize(
    ('d', 's', 'm', 'channels', 'weights', 'biases', 'slopes'),
    [
        (56, 12, 4, 1, 12_464, 173, 172),
        (32, 5, 1, 1, 25 * 32 + 2 * 32 * 5 + 9 * 25 + 81 * 32, 32 + 5 + 5 + 32 + 1, 32 + 5 + 5 + 32),
        (56, 12, 4, 3, 12_464 + 2 * (25 + 81) * 56, 175, 172),
    ],
)
def test_parameter_counts(d, s, m, channels, weights, biases, slopes):
    net = make('FSRCNN', d=d, s=s, m=m, num_in_ch=channels, num_out_ch=channels)
    assert sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.PReLU)) == slopes
    assert count(net) == weights + biases + slopes


def prelu(x, slopes):
    return torch.where(x > 0, x, x * slopes.view(1, -1, 1, 1))


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('m', [0, 2])
def test_equals_its_definition(scale, channels, m):
    net = loosened(make('FSRCNN', num_in_ch=channels, num_out_ch=channels, d=6, s=3, m=m, upscale=scale))
    w, features = net.state_dict(), images(channels)
    for name in ('extract', 'shrink', *(f'mapping.{number}' for number in range(m)), 'expand'):
        kernel = w[f'{name}.0.weight']
        features = F.conv2d(features, kernel, w[f'{name}.0.bias'], padding=kernel.shape[-1] // 2)
        features = prelu(features, w[f'{name}.1.weight'])
    # the transposed convolution as what it is: zeros between the pixels, then a convolution with the turned kernel
    spread = torch.zeros(2, 6, 7 * scale, 9 * scale, dtype=torch.float64)
    spread[..., ::scale, ::scale] = features
    kernel = w['deconv.weight'].flip(-1, -2).transpose(0, 1)
    expected = F.conv2d(spread, kernel, w['deconv.bias'], padding=4)
    got = net(images(channels))
    assert got.shape == (2, channels, 7 * scale, 9 * scale)
    torch.testing.assert_close(got, expected)
    assert expected.std() > 0.05


def test_starts_by_hes_method_for_prelu():
    net = make('FSRCNN')
    for layer in (net.extract[0], net.shrink[0], net.mapping[0][0], net.expand[0]):
        fan_in = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / (1 + 0.25**2) / fan_in) ** 0.5, rel=0.15)
        assert not layer.bias.any()
    assert net.deconv.weight.std().item() == pytest.approx(1e-3, rel=0.1)
    assert not net.deconv.bias.any()
    assert all((layer.weight == 0.25).all() for layer in net.modules() if isinstance(layer, nn.PReLU))
