"""ESPCN: its size, its function, the order of its sub-pixels."""

import pytest
import torch
from small_networks import images, loosened, make
from torch.nn import functional as F


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
def test_equals_its_definition(scale, channels):
    """The sub-pixels one by one, against the shuffle."""
    net = loosened(make('ESPCN', num_in_ch=channels, num_out_ch=channels, num_feat=(6, 5), upscale=scale))
    w, features = net.state_dict(), images(channels)
    for number, kernel in ((1, 5), (2, 3), (3, 3)):
        features = F.conv2d(features, w[f'conv{number}.weight'], w[f'conv{number}.bias'], padding=kernel // 2)
        if number < 3:
            features = torch.tanh(features)
    expected = torch.empty(2, channels, 7 * scale, 9 * scale, dtype=torch.float64)
    for channel in range(channels):
        for i in range(scale):
            for j in range(scale):
                source = features[:, channel * scale**2 + i * scale + j]
                for y in range(7):
                    for x in range(9):
                        expected[:, channel, scale * y + i, scale * x + j] = source[:, y, x]
    got = net(images(channels))
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected)
    assert expected.abs().max() > 1  # a final tanh would not let it


def glorots_bound(layer):
    fans = (layer.in_channels + layer.out_channels) * layer.kernel_size[0] ** 2
    return (6 / fans) ** 0.5


def test_starts_by_glorots_method():
    net = make('ESPCN')
    for weight, bound in (
        (net.conv1.weight[:8], glorots_bound(net.conv1)),
        (net.conv2.weight, glorots_bound(net.conv2)),
        (net.conv3.weight, glorots_bound(net.conv3)),
    ):
        assert 0.95 * bound < weight.abs().max() <= bound
    assert not any(layer.bias.any() for layer in (net.conv1, net.conv2, net.conv3))


@pytest.mark.parametrize('channels', [1, 3])
def test_most_first_filters_start_on_details(channels):
    """Blind to brightness, and strong enough to leave the linear middle of tanh: 40 times Glorot's deviation."""
    net = make('ESPCN', num_in_ch=channels, num_out_ch=channels)
    details = net.conv1.weight[8:]
    assert details.sum((1, 2, 3)).abs().max() < 1e-3
    deviation = glorots_bound(net.conv1) / 3**0.5
    size = channels * 25
    assert details.std().item() == pytest.approx(40 * deviation * ((size - 1) / size) ** 0.5, rel=0.05)
