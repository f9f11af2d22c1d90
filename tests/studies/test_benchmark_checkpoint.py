"""The checkpoint benchmark compares what it says; nothing here is about time."""

import json

import pytest
import torch
from basicsr.models.base_model import BaseModel

from ext_core.saving import writer as checkpoint_writer
from studies import benchmark_checkpoint as benchmark


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for network in benchmark.GENERATORS.values():
        monkeypatch.setitem(network, 'num_feat', 4)
        monkeypatch.setitem(network, 'num_block', 1)


def test_basicsr_saves_as_installed():
    stock = benchmark.untouched_base_model()
    assert stock is not BaseModel
    assert stock.save_network.__module__ == 'untouched_base_model'
    assert stock.save_network.__wrapped__.__code__.co_filename.endswith('basicsr/models/base_model.py')


def test_both_save_the_same(tmp_path):
    batch = {'lq': torch.rand(1, 3, 8, 8), 'gt': torch.rand(1, 3, 32, 32)}
    run = benchmark.Run('EDSR', tmp_path, batch, 1)
    run.train()
    run.save_basicsr()
    expected = {path.name: torch.load(path, weights_only=True) for path in tmp_path.iterdir()}
    assert set(expected) == {'net_g_1.pth', '1.state'}
    with run.writer:
        run.save_ours()
        run.writer.drain()
        assert {path.name for path in tmp_path.iterdir()} == {*expected, '1.json'}
        weights, state = (torch.load(tmp_path / name, weights_only=True) for name in ('net_g_1.pth', '1.state'))
        run.finish()
    assert list(tmp_path.iterdir()) == []
    for key, tensors in expected['net_g_1.pth'].items():
        for name, value in tensors.items():
            assert torch.equal(weights[key][name], value)
    moments = expected['1.state']['optimizers'][0]['state']
    assert state['optimizers'][0]['state'].keys() == moments.keys()
    assert torch.equal(state['optimizers'][0]['state'][0]['exp_avg'], moments[0]['exp_avg'])


def test_report(tmp_path, capsys, monkeypatch):
    saves = []
    stock_save = checkpoint_writer.atomic_save
    monkeypatch.setattr(checkpoint_writer, 'atomic_save', lambda *args: saves.append(1) or stock_save(*args))
    file = tmp_path / 'checkpoint.json'
    sizes = ['--batch', '1', '--crop', '32', '--steps', '1', '--rounds', '2', '--threads', '1']
    benchmark.main([*sizes, '--case', 'EDSR', '--folder', str(tmp_path), '--json', str(file)])
    assert len(saves) == 3 * 2  # two rounds and the one that is not counted; networks and state
    (result,) = json.loads(file.read_text())['results']
    assert result['generator'] == 'EDSR'
    assert result['waits']['ours'] > 0
    assert result['waits']['BasicSR'] > 0
    assert 'ours / BasicSR: ' in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {'checkpoint.json'}
