"""SRCNN: its size, its function, its start."""

import pytest
import torch
from basicsr.utils.matlab_functions import imresize
from small_networks import images, loosened, make
from torch.nn import functional as F


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('kernels', [(9, 5, 5), (9, 1, 5)])
def test_equals_its_definition(scale, channels, kernels):
    net = loosened(make('SRCNN', num_in_ch=channels, num_out_ch=channels, kernel_sizes=kernels, upscale=scale))
    lr, w = images(channels), net.state_dict()
    enlarged = torch.stack([imresize(image.float(), scale) for image in lr]).double()
    features = F.conv2d(enlarged, w['conv1.weight'], w['conv1.bias'], padding=4).clamp(min=0)
    features = F.conv2d(features, w['conv2.weight'], w['conv2.bias'], padding=kernels[1] // 2).clamp(min=0)
    expected = F.conv2d(features, w['conv3.weight'], w['conv3.bias'], padding=2)
    got = net(lr)
    assert got.shape == (2, channels, 7 * scale, 9 * scale)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)  # imresize computes in float32
    assert expected.std() > 0.1
    torch.testing.assert_close(net(lr), got, rtol=0, atol=0)


def test_starts_from_a_narrow_gaussian():
    net = make('SRCNN')
    for layer in (net.conv1, net.conv2, net.conv3):
        assert layer.weight.std().item() == pytest.approx(1e-3, rel=0.1)
        assert layer.weight.abs().max() > 2.5e-3  # no uniform distribution
        assert not layer.bias.any()
