"""DSGANGenerator: parameters, shapes, range, gradients."""

import functools

import pytest
import small_networks
import torch
from small_networks import count, without_gradient

make = functools.partial(small_networks.make, 'DSGANGenerator')


@pytest.mark.parametrize('size', [(1, 1), (7, 12)])
def test_keeps_the_size_and_stays_in_range(size):
    net = make(num_in_ch=1, num_out_ch=2, num_feat=4, num_block=2)
    output = net(torch.rand(2, 1, *size))
    assert output.shape == (2, 2, *size)
    assert 0 < output.min() <= output.max() < 1
    output.square().mean().backward()
    assert without_gradient(net) == set()
    assert count(make()) == 594_380
    assert net.INPUT == 'lq'


def test_blocks_are_residual():
    """Blocks whose last convolution is 0 change nothing: the network is its first and last layer."""
    net = make(num_feat=4, num_block=2)
    for block in net.body:
        torch.nn.init.zeros_(block[2].weight)
        torch.nn.init.zeros_(block[2].bias)
    images = torch.rand(1, 3, 6, 6)
    assert torch.equal(net(images), torch.sigmoid(net.tail(net.head(images))))
