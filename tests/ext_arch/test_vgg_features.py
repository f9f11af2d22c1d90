"""VGGFeatures against BasicSR's extractor, and that it stays frozen."""

from types import SimpleNamespace

import pytest
import torch
import torchvision
from basicsr.archs import vgg_arch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from ext_arch.vgg_features_arch import VGGFeatures, vgg_layers

pytestmark = pytest.mark.wide_vgg


def build(layers, **options) -> VGGFeatures:
    torch.manual_seed(0)
    return ARCH_REGISTRY.get('VGGFeatures')(layers=layers, **{'vgg_type': 'vgg16', 'weights': 'random'} | options)


def images(height=32, width=32, channels=3) -> torch.Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(('vgg_type', 'configuration'), [('vgg16', 'D'), ('vgg19', 'E')])
@pytest.mark.parametrize('range_norm', [False, True])
def test_equals_basicsr_in_every_layer(monkeypatch, tmp_path, vgg_type, configuration, range_norm):
    torch.manual_seed(0)
    convolutions = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[configuration])
    torch.save({f'features.{key}': value for key, value in convolutions.state_dict().items()}, tmp_path / 'vgg.pth')
    monkeypatch.setattr(vgg_arch, 'VGG_PRETRAIN_PATH', 'absent')
    monkeypatch.setattr(vgg_arch.vgg, vgg_type, lambda pretrained: SimpleNamespace(features=convolutions))
    layers = vgg_layers(vgg_type)
    reference = vgg_arch.VGGFeatureExtractor(layers, vgg_type, range_norm=range_norm)
    ours = VGGFeatures(layers, vgg_type, str(tmp_path / 'vgg.pth'), range_norm=range_norm)
    expected, actual = reference(images()), ours(images())
    assert list(actual) == list(expected) == vgg_arch.NAMES[vgg_type]
    for layer, feature in expected.items():
        assert torch.equal(actual[layer], feature), layer


def test_ends_at_the_deepest_layer_and_returns_only_what_was_asked_for():
    net = build(['relu2_1', 'conv1_2'])
    assert [name for name, _ in net.vgg_net.named_children()][-1] == 'relu2_1'
    features = net(images(20, 33))
    assert {layer: tuple(feature.shape) for layer, feature in features.items()} == {
        'conv1_2': (2, 64, 20, 33),
        'relu2_1': (2, 128, 10, 16),
    }


def test_gradient_reaches_the_input_which_stays_as_it_is():
    x = images().requires_grad_()
    before = x.detach().clone()
    features = build(['conv1_1', 'pool5'])(x)
    for layer, feature in features.items():
        (gradient,) = torch.autograd.grad(feature.square().sum(), x, retain_graph=True)
        assert gradient.abs().sum() > 0, layer
    assert torch.equal(x, before)


def test_frozen_inside_a_network_that_is_trained_and_saved():
    parent = nn.ModuleDict({'features': build(['conv2_1']), 'head': nn.Conv2d(128, 1, 1)})
    parent.train().requires_grad_(True)
    assert not any(module.training for module in parent['features'].modules())
    assert not list(parent['features'].parameters())
    assert not any(buffer.requires_grad for buffer in parent['features'].buffers())
    assert list(parent.state_dict()) == ['head.weight', 'head.bias']
    parent.load_state_dict(parent.state_dict(), strict=True)
    source, target = build(['conv1_2'], save_weights=True), build(['conv1_2'], save_weights=True)
    target.vgg_net.conv1_1.weight.zero_()
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(target(images())['conv1_2'], source(images())['conv1_2'])


def test_input_conventions():
    x = images()
    net = build(['relu1_2'])
    assert torch.equal(build(['relu1_2'], range_norm=True)(x * 2 - 1)['relu1_2'], net((x * 2 - 1 + 1) / 2)['relu1_2'])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.equal(build(['relu1_2'], use_input_norm=False)(normalised)['relu1_2'], net(x)['relu1_2'])
    grey = images(channels=1)
    assert torch.equal(net(grey)['relu1_2'], net(grey.repeat(1, 3, 1, 1))['relu1_2'])


def test_float64_and_channels_last():
    net = build(['conv2_2'])
    expected = net(images())['conv2_2']
    last = net.to(memory_format=torch.channels_last)(images().to(memory_format=torch.channels_last))['conv2_2']
    torch.testing.assert_close(last, expected)
    double = net.double()(images().double())['conv2_2']
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected)


def test_in_mixed_precision_the_weights_are_those_of_autocast():
    net, x = build(['conv2_2']), images()
    with torch.autocast('cpu', torch.bfloat16):
        for _ in range(2):  # the second pass takes the copy that the first one made
            expected = (x - net.mean) / net.std
            for layer in net.vgg_net:
                conv = hasattr(layer, 'weight')
                expected = F.conv2d(expected, layer.weight, layer.bias, padding=1) if conv else layer(expected.clone())
            assert torch.equal(net(x)['conv2_2'], expected)
            assert expected.dtype == torch.bfloat16
            net.vgg_net.conv1_1.weight.neg_()  # as load_state_dict changes it
    assert net(x)['conv2_2'].dtype == torch.float32


@pytest.mark.parametrize(
    ('layer', 'size'), [('conv1_1', 1), ('pool1', 2), ('conv3_3', 4), ('conv5_3', 16), ('pool5', 32)]
)
def test_smallest_input(layer, size):
    net = build([layer])
    assert net(images(size, size + 5))[layer].numel() > 0
    if size > 1:
        with pytest.raises(ValueError, match=f'{layer}, which needs at least {size} px: enlarge gt_size'):
            net(images(size + 5, size - 1))


@pytest.mark.parametrize(
    ('layers', 'vgg_type', 'said'),
    [
        (['conv5_4'], 'vgg16', "vgg16 has no layer 'conv5_4'; its last convolution of block 5 is conv5_3"),
        (['relu9_9'], 'vgg19', "vgg19 has no layer 'relu9_9'; layers are conv1_1"),
        ('conv5_3', 'vgg16', 'must be a list'),
        ([], 'vgg16', 'must be a list'),
        (['conv1_1'], 'vgg11', "vgg_type: 'vgg11'"),
    ],
)
def test_layers_that_do_not_exist(layers, vgg_type, said):
    with pytest.raises(ValueError, match=said):
        build(layers, vgg_type=vgg_type)
