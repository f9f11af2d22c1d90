"""VGGUAE: sizes, an independent float64 reference, a frozen encoder that is not saved, and one pass for two uses."""

import pytest
import torch
import torchvision
from basicsr.archs import build_network
from small_networks import count, without_gradient
from torch import Tensor
from torch.nn import functional as F

from ext_arch.vgg_features_arch import VGGFeatures

TAPS = {'vgg16': (3, 8, 15, 22, 29), 'vgg19': (3, 8, 17, 26, 35)}  # last ReLU of each block in torchvision's numbering


def build(seed: int = 0, **options):
    torch.manual_seed(seed)
    return build_network({'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1, **options})


def images(height: int = 16, width: int = 16, seed: int = 1) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.wide_vgg
@pytest.mark.parametrize(
    ('options', 'decoder', 'encoder'),
    [
        ({'vgg_type': 'vgg16'}, 8_007_235, 14_714_688),
        ({'vgg_type': 'vgg19', 'num_conv': 2}, 11_141_635, 20_024_384),
        ({'vgg_type': 'vgg19', 'bottleneck': 'relu5_1'}, 8_007_235, 12_944_960),
    ],
)
def test_parameters_of_the_decoder_and_size_of_the_frozen_encoder(options, decoder, encoder):
    with torch.device('meta'):
        net = build(**options)
    assert count(net) == decoder
    assert sum(weight.numel() for weight in net.encoder.state_of().values()) == encoder


def reference(net, vgg_type: str, x: Tensor, skips=(1, 2, 3, 4), num_conv: int = 1) -> Tensor:
    """AE(x) in float64 from the definition: torchvision's VGG, then functional calls on the decoder's weights."""
    configuration = torchvision.models.vgg.cfgs[{'vgg16': 'D', 'vgg19': 'E'}[vgg_type]]
    layers = torchvision.models.vgg.make_layers(configuration).double().eval()
    for module, weight in zip(
        [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)],
        zip(*[iter(net.encoder.state_of().values())] * 2, strict=True),
        strict=False,
    ):
        module.weight.data, module.bias.data = (value.double() for value in weight)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((x - mean.view(3, 1, 1)) / std.view(3, 1, 1)).double()
    features = []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in TAPS[vgg_type]:
            features.append(x.clone())
            if len(features) == 5:
                break
    weights = {name: value.double() for name, value in net.state_dict().items() if name != 'encoder_sha256'}
    x = features[-1]
    for index, level in enumerate((4, 3, 2, 1)):
        x = F.conv_transpose2d(x, weights[f'levels.{index}.up.weight'], weights[f'levels.{index}.up.bias'], stride=2)
        x = torch.cat([x, features[level - 1]], dim=1) if level in skips else x
        for number in range(num_conv):
            name = f'levels.{index}.convs.{2 * number}'
            x = F.conv2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], padding=1).clamp(min=0)
    return F.conv2d(x, weights['last.0.weight'], weights['last.0.bias'], padding=1)


@pytest.mark.parametrize(
    ('vgg_type', 'options'), [('vgg16', {}), ('vgg19', {'num_conv': 2}), ('vgg16', {'skips': [2, 4], 'num_conv': 2})]
)
def test_energy_equals_the_reference(vgg_type, options):
    net, x = build(vgg_type=vgg_type, **options), images(16, 32)
    with torch.no_grad():
        reconstruction = reference(net, vgg_type, x, **options)
        expected = (reconstruction - (2 * x.double() - 1)) ** 2
        got = net(x)
        assert torch.allclose(net.reconstruct(x).double(), (reconstruction + 1) / 2, atol=1e-4)
    assert got.shape == (2, 3, 16, 32)
    assert torch.allclose(got.double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('energy_space', ['pixel', 'feature'])
def test_perfect_reconstruction_has_no_energy(energy_space, monkeypatch):
    net, x = build(energy_space=energy_space), images()
    assert net(x).max() > 0
    monkeypatch.setattr(net, '_decode', lambda features: 2 * x - 1)
    assert net(x).max() < 1e-10


def test_feature_energy_is_that_of_the_layer():
    net, x = build(energy_space='feature', energy_layer='relu3_1'), images()
    vgg = VGGFeatures(['relu3_1'], 'vgg16', 'random')
    vgg.load_state_dict({}, strict=False)
    vgg.vgg_net = net.encoder.vgg_net  # the same weights
    with torch.no_grad():
        got = net(x)
        expected = (vgg(net.reconstruct(x))['relu3_1'] - vgg(x)['relu3_1']) ** 2
    assert got.shape == (2, 16, 4, 4)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-8)


# ---------------------------------------------------------------------- the encoder


def test_gradient_reaches_every_weight_but_the_encoders_and_the_image():
    net, x = build(), images().requires_grad_()
    net.train().requires_grad_(True)
    net(x).mean().backward()
    assert x.grad.abs().max() > 0
    assert without_gradient(net) == set()
    assert not [name for name, _ in net.named_parameters() if 'encoder' in name]
    assert [name for name in net.state_dict() if 'encoder' in name] == ['encoder_sha256']


def test_weights_of_another_encoder_are_refused():
    one, same, other = build(seed=0), build(seed=0), build(seed=1)
    torch.nn.init.zeros_(same.last[0].bias)
    same.load_state_dict(one.state_dict())
    assert torch.equal(same(images()), one(images()))
    with pytest.raises(ValueError, match='trained on another VGG'):
        other.load_state_dict(one.state_dict())


def test_features_come_with_the_energy_from_one_pass():
    net, x = build(), images()
    net.encoder.take_also(['conv2_2', 'relu2_2'])
    passes = []
    net.encoder.vgg_net.conv1_1.register_forward_hook(lambda *_: passes.append(1))
    errors, features = net(x, return_features=True)
    assert len(passes) == 1
    assert torch.equal(errors, net(x))
    alone = VGGFeatures(['conv2_2', 'relu2_2'], 'vgg16', 'random')
    alone.vgg_net = net.encoder.vgg_net
    for layer, feature in alone(x, only=['conv2_2', 'relu2_2']).items():
        assert torch.equal(features[layer], feature)


def test_errors_are_float32_under_autocast():
    net, x = build(), images()
    expected = net(x)
    with torch.autocast('cpu', torch.bfloat16):
        got = net(x)
    assert got.dtype == torch.float32
    assert torch.allclose(got.mean(), expected.mean(), rtol=0.01)
    assert not torch.equal(got, expected)


# ---------------------------------------------------------------------- refusals
def test_sizes_that_do_not_fit_are_refused():
    net = build()
    for height, width in ((40, 32), (32, 8)):
        with pytest.raises(ValueError, match=f'multiples of 16, but got {height}x{width} px'):
            net(images(height, width))


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('num_conv', 0),
        ('skips', [0, 1]),
        ('skips', 4),
        ('bottleneck', 'relu4_3'),
        ('bottleneck', 'relu5_4'),  # of VGG19 only
        ('out_act', 'relu'),
        ('energy_space', 'image'),
    ],
)
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        build(**{option: value})
