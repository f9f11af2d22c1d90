"""The patch discriminator: published size, any image size, what one logit sees, gradients."""

import pytest
import torch
from basicsr.archs import build_network


def discriminator(**arguments):
    return build_network({'type': 'PatchDiscriminator', **arguments})


@pytest.mark.parametrize(('norm', 'count'), [('instance', 1_030_273), ('batch', 1_030_273), ('none', 1_029_505)])
def test_parameter_counts(norm, count):
    with torch.device('meta'):
        net = discriminator(norm=norm)
    assert sum(p.numel() for p in net.parameters()) == count


def test_instance_norm_is_the_default():
    assert any(isinstance(layer, torch.nn.InstanceNorm2d) for layer in discriminator(num_feat=2).body)


@pytest.mark.parametrize('norm', ['instance', 'batch', 'none'])
@pytest.mark.parametrize('size', [(16, 16), (17, 30)])
def test_gradient_reaches_every_parameter(norm, size):
    torch.manual_seed(0)
    net = discriminator(num_feat=4, norm=norm)
    logits = net(torch.rand(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    (logits * torch.rand(logits.shape)).sum().backward()
    normalised = {'body.2.bias', 'body.5.bias'} if norm != 'none' else set()  # a norm takes the mean away again
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert name in normalised or parameter.grad.abs().max() > 0, name


def test_a_logit_sees_13_pixels():
    torch.manual_seed(0)
    net = discriminator(num_feat=2, norm='none').double()
    image = torch.rand(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    net(image)[0, 0, 15, 15].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.tolist() == list(range(9, 22))


def test_with_instance_norm_images_do_not_meet():
    torch.manual_seed(0)
    net = discriminator(num_feat=2)
    images = torch.rand(3, 3, 16, 16)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-5, atol=1e-6)


def test_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be one of instance, batch, none, but is 'layer'"):
        discriminator(norm='layer')
