"""DSGANGenerator: parameters, shapes, range, gradients."""

import pytest
import torch
from basicsr.archs import build_network


def make(**arguments):
    return build_network({'type': 'DSGANGenerator', **arguments})


def test_parameter_count():
    assert sum(p.numel() for p in make().parameters()) == 594_380


@pytest.mark.parametrize('size', [(1, 1), (7, 12)])
def test_keeps_the_size_and_stays_in_range(size):
    torch.manual_seed(0)
    net = make(num_in_ch=1, num_out_ch=2, num_feat=4, num_block=2)
    output = net(torch.rand(2, 1, *size))
    assert output.shape == (2, 2, *size)
    assert (output > 0).all()
    assert (output < 1).all()


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    net = make(num_feat=8, num_block=3)
    net(torch.rand(2, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_blocks_are_residual():
    """Blocks whose last convolution is 0 change nothing: the network is its first and last layer."""
    torch.manual_seed(0)
    net = make(num_feat=4, num_block=2)
    for block in net.body:
        torch.nn.init.zeros_(block[2].weight)
        torch.nn.init.zeros_(block[2].bias)
    images = torch.rand(1, 3, 6, 6)
    assert torch.equal(net(images), torch.sigmoid(net.tail(net.head(images))))


def test_sees_the_bicubic_image():
    assert make(num_feat=4, num_block=1).INPUT == 'lq'
