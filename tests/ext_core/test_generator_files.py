"""A file becomes the network that it was, or is refused with the reason."""

import json
from pathlib import Path

import pytest
import torch
from finished_experiments import finished_experiment
from generator_zoo import (
    DSGAN,
    SILENT,
    ZOO,
    first,
    image,
    name_of,
    old_layout,
    output,
    saved,
    scale_of,
    second_layout,
    tiny,
)
from safetensors.torch import save_file

from ext_core.errors import UserError
from ext_core.networks.export import metadata_of, save_safetensors, weights_of
from ext_core.networks.files import open_generator
from ext_core.networks.recognise import describe
from ext_core.options import yaml_safe


# ---------------------------------------------------------------------- recognised
@pytest.mark.parametrize('network', [*ZOO, DSGAN], ids=name_of)
def test_checkpoint_alone_tells_network_and_arguments(network, tmp_path):
    net = saved(network, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert (opened.key, opened.source, opened.scale) == ('params_ema', 'weights', scale_of(network))
    assert {name: opened.network[name] for name in network} == network
    assert opened.channels == 3
    assert opened.reduces == (network['type'] == 'DegradationNet')
    assert not opened.net.training
    assert torch.equal(output(opened.net), output(net))
    assert opened.multiple == (scale_of(network) if opened.reduces else {2: 2, 1: 4}.get(network.get('scale'), 1))


@pytest.mark.parametrize('network', [first('EDSR'), first('VDSR'), first('RRDBNet'), DSGAN], ids=name_of)
def test_safetensors_tell_network_and_training(network, tmp_path):
    net = saved(network, tmp_path / 'net.pth', keys=('params',))
    opened = open_generator(tmp_path / 'net.pth')
    assert opened.key == 'params'
    save_safetensors(weights_of(opened, half=False), metadata_of(opened), tmp_path / 'net.safetensors')
    again = open_generator(tmp_path / 'net.safetensors')
    assert (again.source, again.scale, again.key) == ('metadata', opened.scale, None)
    assert {name: again.network[name] for name in network} == network
    assert again.multiple == opened.multiple
    assert torch.equal(output(again.net), output(net))


def test_arguments_that_no_option_file_holds_are_left_to_the_network(tmp_path):
    sizes = {'img_size': 8, 'window_size': 4, 'depths': [1], 'embed_dim': 4, 'num_heads': [1]}
    network = {'type': 'SwinIR', 'upscale': 2, **sizes, 'upsampler': 'pixelshuffledirect'}  # norm_layer is a class
    net = saved(network, tmp_path / 'net.pth')
    (tmp_path / 'it.yml').write_text(yaml_safe.dump({'scale': 2, 'network_g': network}))
    told = open_generator(tmp_path / 'net.pth', options=tmp_path / 'it.yml')
    save_safetensors(weights_of(told, half=False), metadata_of(told), tmp_path / 'net.safetensors')
    again = open_generator(tmp_path / 'net.safetensors')
    assert (again.source, again.num_in_ch, 'norm_layer' in again.network) == ('metadata', 3, False)
    assert torch.equal(output(again.net), output(net))


def test_arguments_that_shapes_do_not_show_are_assumed_or_told(tmp_path):
    network = {**first('EDSR'), 'res_scale': 0.5}
    net = saved(network, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert opened.assumed == {'res_scale': 1, 'img_range': 255.0, 'rgb_mean': [0.4488, 0.4371, 0.4040]}
    assert not torch.equal(output(opened.net), output(net))
    option_file = tmp_path / 'it.yml'
    option_file.write_text(yaml_safe.dump({'scale': 2, 'network_g': network}))
    told = open_generator(tmp_path / 'net.pth', options=option_file)
    assert (told.source, told.assumed) == ('options', {})
    assert torch.equal(output(told.net), output(net))
    save_safetensors(weights_of(told, half=False), metadata_of(told), tmp_path / 'net.safetensors')
    again = open_generator(tmp_path / 'net.safetensors')
    assert (again.assumed, again.network['res_scale']) == ({}, 0.5)
    assert torch.equal(output(again.net), output(net))


@pytest.mark.parametrize('kind', SILENT)
def test_scale_of_files_from_elsewhere_must_be_said(kind, tmp_path):
    network = first(kind)
    net = tiny(network)
    torch.save(dict(net.state_dict()), tmp_path / 'net.pth')  # a dict has no room for the note
    with pytest.raises(UserError, match=rf'net\.pth holds the weights of {kind}, which do not show the scale'):
        open_generator(tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth', scale=2)
    assert (opened.scale, opened.key) == (2, None)
    assert torch.equal(output(opened.net), output(net))
    with pytest.raises(UserError, match='scale must be 2, 3 or 4'):
        open_generator(tmp_path / 'net.pth', scale=7)


def test_scale_that_contradicts_the_weights_is_refused(tmp_path):
    saved(first('ESPCN'), tmp_path / 'net.pth')
    with pytest.raises(UserError, match='ESPCN of scale 2, not 4'):
        open_generator(tmp_path / 'net.pth', scale=4)
    experiment(tmp_path / 'exp', first('FSRCNN'))
    with pytest.raises(UserError, match='FSRCNN of scale 2, not 4'):
        open_generator(tmp_path / 'exp', scale=4)


def experiment(folder: Path, network: dict) -> torch.nn.Module:
    nets = tiny(network, seed=0), tiny(network, seed=1)
    finished_experiment(folder, network, *nets)
    return nets[1]


def test_experiment_and_its_checkpoints_use_its_option_file(tmp_path):
    network = {**first('EDSR'), 'res_scale': 0.5}
    net = experiment(tmp_path / 'exp', network)
    for path in (tmp_path / 'exp', tmp_path / 'exp' / 'models' / 'net_g_latest.pth'):
        opened = open_generator(path)
        assert (opened.source, opened.network) == ('options', network)
        assert opened.path.name == 'net_g_latest.pth'
        assert torch.equal(output(opened.net), output(net))
    plain = open_generator(tmp_path / 'exp', key='params')
    assert plain.key == 'params'
    assert not torch.equal(output(plain.net), output(net))


@pytest.mark.parametrize('rename', [old_layout, second_layout])
@pytest.mark.parametrize('scale', [1, 2, 4])
def test_esrgan_layouts_are_rrdbnets(rename, scale, tmp_path):
    network = {**first('RRDBNet'), 'scale': scale}
    net = tiny(network)
    torch.save(rename(net.state_dict()), tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert opened.network == network
    assert torch.equal(output(opened.net), output(net))


def test_names_of_distributed_training_and_halves_are_read(tmp_path):
    net = tiny(first('MSRResNet')).half()
    torch.save({f'module.{name}': value for name, value in net.state_dict().items()}, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert {value.dtype for value in opened.net.state_dict().values()} == {torch.float32}
    assert torch.equal(output(opened.net), output(net.float()))


def test_luminance_network_of_basicsr_does_not_take_colour(tmp_path):
    saved({**first('MSRResNet'), 'num_in_ch': 1, 'num_out_ch': 1}, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert (opened.num_in_ch, opened.channels) == (1, 1)


# ---------------------------------------------------------------------- by spandrel
@pytest.mark.parametrize('num_conv', [2, 3])  # with 2 its names are those of DegradationNet
def test_networks_of_others_are_opened_by_spandrel(num_conv, tmp_path):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': num_conv, 'upscale': 2, 'act_type': 'prelu'}
    net = saved(network, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    assert (opened.source, opened.type, opened.scale) == ('spandrel', 'spandrel:RealESRGAN Compact', 2)
    assert torch.equal(output(opened.net), output(net))


def test_without_spandrel_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'spandrel', None)
    torch.save({'a.weight': torch.zeros(1)}, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=r'which knows forty more: not installed.*pip install spandrel'):
        open_generator(tmp_path / 'net.pth')


# ---------------------------------------------------------------------- refused
def discriminator(path: Path) -> None:
    from basicsr.archs import build_network

    net = build_network({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 2})
    torch.save({'params': net.state_dict()}, path)


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (discriminator, r'not recognised.*\n?.*looks like a discriminator(.|\n)*spandrel: unknown to it'),
        (lambda path: torch.save({'a.weight': torch.zeros(2)}, path), r'Tried:\n(.|\n)*none of MSRResNet, SRResNet'),
        (lambda path: torch.save({'optimizers': [], 'schedulers': [], 'iter': 5}, path), 'is a training state'),
        (lambda path: torch.save({'params': {'a': 1}}, path), 'holds no network weights'),
        (lambda path: path.write_bytes(b'nonsense'), r'net\.pth cannot be read'),
        (lambda path: None, r'net\.pth does not exist'),
    ],
)
def test_what_is_no_generator_is_refused(write, message, tmp_path):
    write(tmp_path / 'net.pth')
    with pytest.raises(UserError, match=message):
        open_generator(tmp_path / 'net.pth')


def test_other_kinds_of_files_are_refused(tmp_path):
    (tmp_path / 'net.onnx').write_bytes(b'x')
    with pytest.raises(UserError, match=r'\.onnx.* is no generator'):
        open_generator(tmp_path / 'net.onnx')
    (tmp_path / 'net.safetensors').write_bytes(b'x' * 20)
    with pytest.raises(UserError, match=r'cannot be read as a \.safetensors file'):
        open_generator(tmp_path / 'net.safetensors')
    with pytest.raises(UserError, match='not a finished experiment'):
        open_generator(tmp_path)


def test_a_discriminator_in_an_experiment_is_told_from_its_generator(tmp_path):
    experiment(tmp_path / 'exp', first('EDSR'))
    discriminator(tmp_path / 'exp' / 'models' / 'net_d_latest.pth')
    with pytest.raises(
        UserError, match=r'than this EDSR:(.|\n)*option file of this one\. It looks like a discrim'
    ) as said:
        open_generator(tmp_path / 'exp' / 'models' / 'net_d_latest.pth')
    assert 'strict_load' not in str(said.value)  # that is for trainings


def test_an_experiment_that_was_renamed_keeps_its_option_file(tmp_path):
    network = {**first('EDSR'), 'res_scale': 0.5}
    experiment(tmp_path / 'exp', network)
    archived = (tmp_path / 'exp').rename(tmp_path / 'exp_archived_20200101_000000')
    for path in (archived, archived / 'models' / 'net_g_latest.pth'):
        assert open_generator(path).network == network
    (archived / 'other.yml').write_text('scale: 2')
    with pytest.raises(UserError, match='not a finished experiment'):  # which of the two is not known
        open_generator(archived)


def test_an_experiment_that_has_not_finished_names_its_checkpoints(tmp_path):
    experiment(tmp_path / 'exp', first('EDSR'))
    newest = (tmp_path / 'exp' / 'models' / 'net_g_latest.pth').rename(tmp_path / 'exp' / 'models' / 'net_g_20.pth')
    with pytest.raises(UserError, match=r'has not finished.* the newest is .*net_g_20\.pth'):
        open_generator(tmp_path / 'exp')
    assert open_generator(newest).type == 'EDSR'


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        ({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 10**9}, 'num_block cannot be 1000000000'),
        ({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4096, 'num_block': 2}, 'another network'),
        ({'type': 'VGGUAE', 'weights': '../secret.pth'}, 'weights is a path'),
        ({'type': 'Nonsense'}, 'cannot be built'),
        ({'type': 'RRDBNet', 'unheard': 1}, 'cannot be built'),
        ([1], 'network has no type'),
    ],
)
def test_metadata_is_not_believed(network, message, tmp_path):
    weights = tiny(first('RRDBNet')).state_dict()
    strings = {'basicsr_ext.network': json.dumps(network), 'basicsr_ext.scale': '4'}
    save_file(weights, tmp_path / 'net.safetensors', strings)
    with pytest.raises(UserError, match=message):
        open_generator(tmp_path / 'net.safetensors')


def test_note_of_the_scale_survives_saving_and_is_ignored_by_loading():
    net = tiny(first('VDSR'))
    weights = net.state_dict()
    assert weights._metadata['']['network'] == {'upscale': 2, 'pre_upsampled': 'never'}
    other = tiny({**first('VDSR'), 'upscale': 4})
    other.load_state_dict(weights)
    assert other.upscale == 4
    assert other(image(1)).shape[-1] == 4 * 36


def test_a_name_with_a_large_number_or_an_odd_shape_fills_no_memory():
    """What is read from a file decides which network is built: no more layers than the file has weights."""
    weights = dict(tiny(first('EDSR')).state_dict())
    weights['body.999999999.conv1.weight'] = torch.zeros(1)
    assert describe(weights) is None
    assert describe({name: torch.zeros(()) for name in weights}) is None


def test_a_key_that_the_file_cannot_have_is_refused():
    with pytest.raises(UserError, match="holds one network, under no key, so there is no 'params_em' in it"):
        open_generator('photo_x4', key='params_em')
