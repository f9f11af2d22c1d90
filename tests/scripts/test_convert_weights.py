"""The command that converts weights, from and to everything that it takes."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from script_loader import load_script

from ext_core.networks.files import open_generator
from ext_core.options import yaml_safe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'ext_core'))
from generator_zoo import first, output, saved

convert = load_script('convert_weights')


def run(*arguments: object) -> int:
    return convert.main([str(argument) for argument in arguments])


@pytest.fixture
def experiment(tmp_path) -> Path:
    network = {**first('EDSR'), 'res_scale': 0.5}
    folder = tmp_path / 'secret_machine' / 'exp'
    for name in ('models', 'training_states'):
        (folder / name).mkdir(parents=True)
    datasets = {'train': {'name': 'Photos', 'dataroot_gt': str(tmp_path)}}
    opt = {'name': 'exp', 'scale': 2, 'network_g': network, 'datasets': datasets, 'path': {'root': str(tmp_path)}}
    (folder / 'exp.yml').write_text(yaml_safe.dump(opt))
    saved(network, folder / 'models' / 'net_g_latest.pth')
    (folder / 'train_exp_1.log').write_text(
        '2026-01-01 10:00:00,000 INFO: [exp..][epoch:  0, iter:     300, lr:(1.000e-04,)]\n'
        '2026-01-01 10:00:01,000 INFO: Validation Set5\n\t # psnr: 29.5000\tBest: 30.0000 @ 200 iter\n'
    )
    return folder


def test_experiment_to_safetensors_and_back(experiment, tmp_path, capsys):
    whole, back, network = tmp_path / 'net.safetensors', tmp_path / 'net.pth', open_generator(experiment)
    assert run(experiment, whole) == 0
    assert "'params_ema' of " in capsys.readouterr().out
    with safe_open(whole, 'pt') as file:
        strings = file.metadata()
    assert strings['basicsr_ext.scale'] == '2'
    assert strings['basicsr_ext.iteration'] == '300'
    assert strings['basicsr_ext.datasets'] == '["Photos"]'
    assert strings['basicsr_ext.metrics'] == '{"Set5": {"psnr": {"best": 30.0, "iter": 200, "last": 29.5}}}'
    assert strings['basicsr_ext.product'].startswith('BasicSR-Ext')
    assert b'secret_machine' not in whole.read_bytes()
    assert str(tmp_path).encode() not in whole.read_bytes()
    assert run(whole, back) == 0
    content = torch.load(back, weights_only=True)
    assert list(content) == ['params']
    for name, value in network.net.state_dict().items():
        assert torch.equal(content['params'][name], value)
    assert torch.equal(output(open_generator(whole).net), output(network.net))
    again = tmp_path / 'again.safetensors'
    assert run(whole, again) == 0
    with safe_open(again, 'pt') as file:
        assert file.metadata() == strings  # what is known is handed on


def test_halves_and_the_choice_of_weights(experiment, tmp_path):
    options = ('--options', experiment / 'exp.yml')
    source = experiment / 'models' / 'net_g_latest.pth'
    sizes = {}
    for suffix in ('pth', 'safetensors'):
        half, whole = tmp_path / f'half.{suffix}', tmp_path / f'whole.{suffix}'
        assert run(source, half, '--half', '--key', 'params', *options) == 0
        assert run(source, whole, '--key', 'params') == 0
        net, wanted = (open_generator(path, options=options[1]).net for path in (half, source))
        plain = open_generator(source, key='params').net
        for name, value in plain.state_dict().items():
            assert torch.equal(net.state_dict()[name], value.half().float())
        assert not torch.equal(output(net), output(wanted))  # which are the EMA weights
        sizes[suffix] = whole.stat().st_size - half.stat().st_size
    numbers = sum(parameter.numel() for parameter in plain.parameters())
    assert sizes['safetensors'] == pytest.approx(2 * numbers, abs=16)
    assert sizes['pth'] > numbers


def test_networks_of_others_are_written_without_metadata(tmp_path, capsys):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 3, 'upscale': 2}
    net = saved(network, tmp_path / 'net.pth')
    assert run(tmp_path / 'net.pth', tmp_path / 'net.safetensors') == 0
    assert 'Only spandrel knew what network this is' in capsys.readouterr().out
    opened = open_generator(tmp_path / 'net.safetensors')
    assert (opened.source, opened.metadata) == ('spandrel', None)
    assert torch.equal(output(opened.net), output(net))


def test_outputs_are_not_overwritten_unless_forced(tmp_path, capsys):
    saved(first('MSRResNet'), tmp_path / 'net.pth')
    out = tmp_path / 'out.pth'
    out.write_text('precious')
    assert run(tmp_path / 'net.pth', out) == 1
    assert 'out.pth is there already' in capsys.readouterr().err
    assert out.read_text() == 'precious'
    assert run(tmp_path / 'net.pth', out, '--force') == 0
    assert open_generator(out).type == 'MSRResNet'
    assert run(tmp_path / 'net.pth', tmp_path / 'out.onnx') == 1
    assert 'must end in .pth or .safetensors' in capsys.readouterr().err
    assert run(tmp_path / 'net.pth', tmp_path / 'none' / 'out.pth') == 1
    assert 'there is no folder' in capsys.readouterr().err


def test_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch, capsys):
    saved(first('MSRResNet'), tmp_path / 'net.pth')
    out = tmp_path / 'out.safetensors'
    out.write_text('precious')

    def full(descriptor):
        raise OSError('No space left on device')

    monkeypatch.setattr('os.fsync', full)
    assert run(tmp_path / 'net.pth', out, '--force') == 1
    assert 'No space left' in capsys.readouterr().err
    assert out.read_text() == 'precious'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.pth', 'out.safetensors']


def test_arguments_that_are_paths_are_not_told(tmp_path, monkeypatch, capsys):
    from basicsr.utils.registry import ARCH_REGISTRY

    class Stored(torch.nn.Module):
        def __init__(self, weights: str):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Stored', Stored)
    torch.save({'params': Stored('').state_dict()}, tmp_path / 'net.pth')
    opt = {'scale': 2, 'network_g': {'type': 'Stored', 'weights': '/home/someone/vgg.pth'}}
    (tmp_path / 'it.yml').write_text(yaml_safe.dump(opt))
    out = tmp_path / 'out.safetensors'
    assert run(tmp_path / 'net.pth', out, '--options', tmp_path / 'it.yml') == 1
    assert "the argument 'weights' of Stored" in capsys.readouterr().err
    assert not out.exists()


def test_weights_that_float16_cannot_hold_are_refused(experiment, tmp_path, capsys):
    file = experiment / 'models' / 'net_g_latest.pth'
    content = torch.load(file, weights_only=True)
    content['params_ema']['conv_last.bias'][0] = 7e4
    torch.save(content, file)
    assert run(experiment, tmp_path / 'half.pth', '--half') == 1
    assert 'conv_last.bias has values that float16 cannot hold' in capsys.readouterr().err
    assert not (tmp_path / 'half.pth').exists()
    assert run(experiment, tmp_path / 'half.pth') == 0


def test_mix_is_between_both_networks(experiment, tmp_path, capsys):
    start = saved(first('EDSR') | {'res_scale': 0.5}, tmp_path / 'start.pth', ('params_ema',))
    mixed = tmp_path / 'mixed.safetensors'
    options = ('--options', experiment / 'exp.yml')
    assert run(experiment, mixed, *options, '--mix', tmp_path / 'start.pth', 0.25) == 0
    weights = [open_generator(path).net.state_dict() for path in (experiment, mixed)]
    for key, value in start.state_dict().items():
        assert not torch.equal(weights[0][key], value)
        assert torch.allclose(weights[1][key], 0.75 * weights[0][key] + 0.25 * value, atol=1e-6)
    with safe_open(mixed, 'pt') as file:
        assert 'basicsr_ext.metrics' not in file.metadata(), 'they were those of another network'
    saved(first('SRCNN'), tmp_path / 'srcnn.pth')
    for other, share, words in (('start.pth', '1.2', 'from 0 to 1'), ('start.pth', 'x', 'from 0 to 1'),
                                ('srcnn.pth', '0.5', 'another network')):  # fmt: skip
        target = tmp_path / 'refused.pth'
        assert run(experiment, target, '--mix', tmp_path / other, share) == 1
        assert words in capsys.readouterr().err
        assert not target.exists()
