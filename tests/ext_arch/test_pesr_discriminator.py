"""PESR's discriminator: published sizes, shapes, gradients, errors."""

import functools

import pytest
import small_networks
import torch
from small_networks import count, without_gradient

discriminator = functools.partial(small_networks.make, 'PESRDiscriminator')


@pytest.mark.parametrize(('size', 'linear'), [(96, 18_876_417), (192, 75_499_521), (256, 134_219_777)])
def test_parameter_counts(size, linear):
    """The convolutions and BatchNorms of the published network, and linear layers that grow with the crop."""
    with torch.device('meta'):
        net = discriminator(input_size=size)
    assert (count(net.features), count(net.classifier)) == (4_687_296, linear)


@pytest.mark.parametrize('spectral_norm', [False, True])
def test_gradient_reaches_every_parameter(spectral_norm):
    net = discriminator(num_feat=4, input_size=32, num_hidden=8, spectral_norm=spectral_norm)
    logits = net(torch.rand(3, 3, 32, 32))
    assert logits.shape == (3, 1)
    logits.square().sum().backward()
    # of the last layer the loss may well be stationary
    assert {name for name in without_gradient(net) if not name.endswith('2.bias')} == set()


def test_spectral_norm_bounds_the_layers():
    net = discriminator(num_feat=4, input_size=16, num_hidden=8, spectral_norm=True)
    for _ in range(30):  # the power iteration converges
        net(torch.rand(2, 3, 16, 16))
    largest = torch.linalg.matrix_norm(net.classifier[0].weight, 2)
    assert largest.item() == pytest.approx(1, rel=1e-3)


def test_errors_name_the_size():
    with pytest.raises(ValueError, match='multiple of 16'):
        discriminator(input_size=100)
    with pytest.raises(ValueError, match='input_size'):
        discriminator(num_feat=2, input_size=32)(torch.rand(1, 3, 48, 48))
