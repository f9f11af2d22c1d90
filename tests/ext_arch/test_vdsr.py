"""VDSR: its size, its residual, its start."""

import pytest
import torch
from small_networks import images, loosened, make
from torch.nn import functional as F

from ext_arch.resize import bicubic_upscale


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('bias', [True, False])
def test_equals_its_definition(scale, channels, bias):
    arguments = {'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': 6, 'num_conv': 4, 'bias': bias}
    net = loosened(make('VDSR', upscale=scale, **arguments))
    lr, w = images(channels), net.state_dict()
    names = sorted({int(name.split('.')[1]) for name in w})
    assert len(names) == 4
    enlarged = bicubic_upscale(lr, scale)
    features = enlarged
    for name in names:
        features = F.conv2d(features, w[f'body.{name}.weight'], w.get(f'body.{name}.bias'), padding=1)
        if name != names[-1]:
            features = features.clamp(min=0)
    got = net(lr)
    assert got.shape == (2, channels, 7 * scale, 9 * scale)
    torch.testing.assert_close(got, enlarged + features)
    assert features.std() > 0.05


def test_one_set_of_weights_serves_all_scales():
    nets = [loosened(make('VDSR', num_feat=4, num_conv=3, upscale=scale)) for scale in (2, 3, 4)]
    for net in nets[1:]:
        net.load_state_dict(nets[0].state_dict())
    hr = images(1, 24, 24)
    always = loosened(make('VDSR', num_feat=4, num_conv=3, pre_upsampled='always'))
    for scale, net in zip((2, 3, 4), nets, strict=True):
        lr = hr[..., ::scale, ::scale]
        torch.testing.assert_close(net(lr), always(bicubic_upscale(lr, scale)))


def test_starts_by_hes_method():
    convolutions = [layer for layer in make('VDSR').body if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 20
    for layer in convolutions:
        fan_in = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.15)
        assert not layer.bias.any()
