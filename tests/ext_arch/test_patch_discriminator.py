"""The patch discriminator: published size, any image size, what one logit sees, gradients."""

import functools

import pytest
import small_networks
import torch
from small_networks import count, without_gradient

discriminator = functools.partial(small_networks.make, 'PatchDiscriminator')


@pytest.mark.parametrize(('norm', 'parameters'), [('instance', 1_030_273), ('batch', 1_030_273), ('none', 1_029_505)])
def test_parameter_counts(norm, parameters):
    with torch.device('meta'):
        assert count(discriminator(norm=norm)) == parameters
    with pytest.raises(ValueError, match="norm must be one of instance, batch, none, but is 'layer'"):
        discriminator(norm='layer')


@pytest.mark.parametrize('norm', ['instance', 'batch', 'none'])
@pytest.mark.parametrize('size', [(16, 16), (17, 30)])
def test_gradient_reaches_every_parameter(norm, size):
    net = discriminator(num_feat=4, norm=norm)
    logits = net(torch.rand(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    (logits * torch.rand(logits.shape)).sum().backward()
    assert without_gradient(net) <= ({'body.2.bias', 'body.5.bias'} if norm != 'none' else set())  # the mean is lost


def test_a_logit_sees_13_pixels():
    net = discriminator(num_feat=2, norm='none').double()
    image = torch.rand(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    net(image)[0, 0, 15, 15].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.tolist() == list(range(9, 22))


def test_with_instance_norm_the_default_images_do_not_meet():
    net = discriminator(num_feat=2)
    images = torch.rand(3, 3, 16, 16)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-5, atol=1e-6)
