"""SRResNet with batch normalisation: its size, its definition, and what its statistics break."""

import pytest
import torch
from small_networks import count, images, loosened, make
from torch.nn import functional as F

SMALL = {'num_feat': 6, 'num_block': 2}


def parameters(f: int, blocks: int, factors: list[int]) -> int:
    """9 x 9 convolutions with biases, 3 x 3 ones without where a BatchNorm (2 f) follows, a slope for each PReLU."""
    ends = (3 * f * 81 + f) + (f * 3 * 81 + 3) + 1
    up = sum(9 * f * f * r * r + f * r * r + 1 for r in factors)
    return ends + blocks * (2 * (9 * f * f + 2 * f) + 1) + (9 * f * f + 2 * f) + up


@pytest.mark.parametrize(('upscale', 'factors'), [(2, [2]), (3, [3]), (4, [2, 2])])
def test_sizes(upscale, factors):
    assert count(make('SRResNet', upscale=upscale)) == parameters(64, 16, factors)
    assert parameters(64, 16, [2, 2]) == 1_547_350
    small = make('SRResNet', upscale=upscale, **SMALL)
    assert count(small) == parameters(6, 2, factors)
    assert small(torch.rand(2, 3, 7, 9)).shape == (2, 3, 7 * upscale, 9 * upscale)


def test_equals_its_definition():
    """In evaluation, with running statistics that are not 0 and 1."""
    net = loosened(make('SRResNet', **SMALL))
    net(images(3, 24, 24))  # moves the running statistics
    w, x = net.eval().state_dict(), images(3)

    def normalised(x, name):
        mean, var = w[f'{name}.running_mean'], w[f'{name}.running_var']
        assert mean.abs().min() > 0
        scale = (w[f'{name}.weight'] / (var + 1e-5).sqrt())[:, None, None]
        return (x - mean[:, None, None]) * scale + w[f'{name}.bias'][:, None, None]

    def prelu(x, name):
        return x.clamp(min=0) + w[f'{name}.weight'] * x.clamp(max=0)

    def conv(x, name):
        kernel = w[f'{name}.weight']
        return F.conv2d(x, kernel, w.get(f'{name}.bias'), padding=kernel.shape[-1] // 2)

    first = features = prelu(conv(x, 'head.0'), 'head.1')
    for block in ('body.0.body', 'body.1.body'):
        inner = prelu(normalised(conv(features, f'{block}.0'), f'{block}.1'), f'{block}.2')
        features = features + normalised(conv(inner, f'{block}.3'), f'{block}.4')
    features = first + normalised(conv(features, 'body.2'), 'body.3')
    for number in (0, 3):
        features = prelu(F.pixel_shuffle(conv(features, f'up.{number}'), 2), f'up.{number + 2}')
    torch.testing.assert_close(net(x), conv(features, 'tail'))


@pytest.mark.parametrize(('kind', 'same'), [('MSRResNet', True), ('SRResNet', False)])
def test_halves_of_a_batch_have_the_gradient_of_the_whole_only_without_batch_norm(kind, same):
    """What two processes and train:accumulate rest on; the reason why the recipes keep MSRResNet."""
    net, x = make(kind, **SMALL).double().train(), images(3)

    def gradient(*parts):
        net.zero_grad()
        for part in parts:
            (net(part).square().mean() / len(parts)).backward()
        return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])

    whole, halves = gradient(x), gradient(x[:1], x[1:])
    assert torch.allclose(whole, halves, rtol=1e-9, atol=1e-12) == same
