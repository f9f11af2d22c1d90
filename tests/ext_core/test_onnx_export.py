"""ONNX models of all generators agree with PyTorch on photographs of several sizes."""

import numpy as np
import onnx
import pytest
import torch
from basicsr.archs import build_network
from generator_zoo import DSGAN, ZOO, first, image, name_of, output, scale_of, tiny
from skimage import data
from spandrel.architectures.HAT import HAT

from ext_core.errors import UserError
from ext_core.networks.export import metadata_of
from ext_core.networks.files import GeneratorFile
from ext_core.networks.metadata import from_strings
from ext_core.networks.onnx_export import differences, export, session_of
from ext_core.networks.recognise import multiple_of

OTHER_SCALES = ('MSRResNet', 'EDSR', 'RRDBNet', 'FSRCNN')
PHOTOGRAPHS = [('cat', data.chelsea()[60:96, 96:156] / 255), ('face', data.astronaut()[40:89, 200:225] / 255)]


def opened(network: dict, tmp_path) -> GeneratorFile:
    scale, channels = scale_of(network), network.get('num_in_ch', 1)
    made = GeneratorFile(tmp_path / 'net.pth', tiny(network), network, scale, channels, None, 'weights')
    made.multiple = multiple_of(network, scale)
    return made


# each kind once, and those in all scales that say themselves how they enlarge, or from which others take it
KINDS = [network for network in ZOO if network == first(network['type']) or network['type'] in OTHER_SCALES]


@pytest.mark.parametrize('network', [*KINDS, DSGAN], ids=name_of)
def test_every_generator_agrees_on_all_sizes(network, tmp_path):
    generator = opened(network, tmp_path)
    found = differences(generator, export(generator), PHOTOGRAPHS)
    multiple = generator.multiple
    assert [one.size for one in found] == [(60, 36), (25 // multiple * multiple, 49 // multiple * multiple)]
    assert max(one.largest for one in found) < 2e-5
    assert output(generator.net).std() > 0.01


def swinir() -> torch.nn.Module:
    arguments = {'img_size': 16, 'window_size': 8, 'depths': [2], 'embed_dim': 12, 'num_heads': [2], 'mlp_ratio': 2}
    return build_network({'type': 'SwinIR', 'upscale': 2, 'upsampler': 'pixelshuffledirect', **arguments})


def hat() -> torch.nn.Module:
    return HAT(img_size=16, window_size=8, depths=[2], embed_dim=12, num_heads=[2], compress_ratio=3, squeeze_factor=4,
               mlp_ratio=2, upscale=2, upsampler='pixelshuffle')  # fmt: skip


@pytest.mark.parametrize(('make', 'multiple'), [(swinir, 8), (hat, 1)])
def test_networks_with_windows_and_the_sizes_that_they_take(make, multiple, tmp_path):
    """BasicSR's SwinIR takes multiples of its window; spandrel's networks pad by themselves."""
    torch.manual_seed(0)
    network = {'type': 'Windows'}  # a network of which nobody knows the sizes
    generator = GeneratorFile(tmp_path / 'net.pth', make().eval(), network, 2, 3, None, 'weights')
    model = export(generator)
    assert generator.multiple == multiple
    ending = '_multiple_of_8' if multiple == 8 else ''
    assert session_of(model).get_inputs()[0].shape[2:] == [f'height{ending}', f'width{ending}']
    found = differences(generator, model, PHOTOGRAPHS)
    assert [one.size for one in found] == [(56, 32), (24, 48)] if multiple == 8 else [(60, 36), (25, 49)]
    assert max(one.largest for one in found) < 2e-5


def test_what_takes_no_images_is_explained(tmp_path):
    generator = opened(first('MSRResNet'), tmp_path)
    generator.net = torch.nn.Conv2d(7, 3, 3)
    with pytest.raises(UserError, match=r'MSRResNet takes no images of 3 channels: .*expected input'):
        export(generator)


@pytest.mark.parametrize('kind', sorted({network['type'] for network in ZOO}))
def test_halves_take_and_give_floats_and_agree(kind, tmp_path):
    generator = opened(first(kind), tmp_path)
    whole, half = export(generator), export(generator, half=True)
    assert {weights.data_type for weights in onnx.load_from_string(half).graph.initializer if weights.dims} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
        onnx.TensorProto.FLOAT,
    }
    parts = {kind: sum(w.data_type == kind for w in onnx.load_from_string(half).graph.initializer) for kind in (1, 10)}
    assert parts[10] >= len(list(generator.net.parameters())) // 2 > parts[1]
    assert len(half) < len(whole) + 4000  # casts between, half the weights
    largest = max(one.largest for one in differences(generator, half, PHOTOGRAPHS))
    assert 1e-6 < largest < 0.01


@pytest.mark.parametrize('opset', [13, 20])
def test_operators_of_the_first_and_last_version(opset, tmp_path):
    generator = opened(first('SRCNN'), tmp_path)  # with bicubic interpolation
    model = export(generator, opset)
    assert onnx.load_from_string(model).opset_import[0].version == opset
    assert max(one.largest for one in differences(generator, model, PHOTOGRAPHS)) < 2e-5


def test_several_images_at_once(tmp_path):
    generator = opened(first('RCAN'), tmp_path)
    images = torch.cat([image(), image().flip(-1)])
    made = session_of(export(generator)).run(None, {'input': images.numpy()})[0]
    assert np.abs(made - output(generator.net, images).numpy()).max() < 2e-5


def test_network_that_takes_luminance_only(tmp_path):
    generator = opened({**first('MSRResNet'), 'num_in_ch': 1, 'num_out_ch': 1}, tmp_path)
    model = export(generator)
    assert session_of(model).get_inputs()[0].shape[1] == 1
    assert max(one.largest for one in differences(generator, model, PHOTOGRAPHS)) < 2e-5


def test_properties_tell_the_network_and_no_paths(tmp_path):
    generator = opened(first('EDSR'), tmp_path)
    model = export(generator, metadata=metadata_of(generator))
    strings = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    metadata = from_strings(strings, 'net.onnx')
    assert metadata is not None
    assert (metadata.network['type'], metadata.network['res_scale'], metadata.scale) == ('EDSR', 1, 2)
    assert str(tmp_path).encode() not in model
    assert b'.py' not in model  # places in the source


def test_other_outputs_are_noticed(tmp_path):
    model = export(opened(first('MSRResNet'), tmp_path))
    other = opened({**first('MSRResNet'), 'upscale': 3}, tmp_path)
    assert {one.largest for one in differences(other, model, PHOTOGRAPHS)} == {float('inf')}
    other = opened(first('MSRResNet'), tmp_path)
    other.net.conv_last.bias.data += 0.5
    assert min(one.largest for one in differences(other, model, PHOTOGRAPHS)) == pytest.approx(0.5, abs=1e-4)


def test_what_onnx_cannot_say_is_explained(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x)

    generator = opened(first('MSRResNet'), tmp_path)
    generator.net = Odd()
    with pytest.raises(UserError, match=r'MSRResNet cannot be exported with opset 17.*svd'):
        export(generator)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    for name in ('onnx', 'onnxruntime'):
        with monkeypatch.context() as patch:
            patch.setitem(__import__('sys').modules, name, None)
            with pytest.raises(UserError, match=f'pip install {name}'):
                export(opened(first('ESPCN'), tmp_path)) if name == 'onnx' else session_of(b'')
    with pytest.raises(UserError, match='The model cannot be read as an ONNX model'):
        session_of(b'nonsense')
