"""``val:save_best``: the best network so far is kept, and a wrong metric is named before training."""

import re
from pathlib import Path

import check_recipes
import pytest
import torch
from check_recipes import find_problems, put
from tiny_runs import PROJECT, tiny_recipe

from ext_core import launch
from ext_core.options import yaml_safe

data = check_recipes.data


@pytest.fixture
def train(tmp_path, monkeypatch, fresh_logger):
    """A recipe, tiny, that validates and saves every second iteration, at a learning rate that makes it worse."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')

    def run(total_iter: int, *flags: str) -> Path:
        option_file = tmp_path / 'small.yml'
        option_file.write_text(yaml_safe.dump(tiny_recipe('best', total_iter)))
        assert launch.train(tmp_path, ['-opt', str(option_file), '--demo', *flags]) == 0
        return tmp_path / 'experiments' / 'demo_best'

    return run


def weights(folder: Path, name: int | str) -> dict:
    return torch.load(folder / 'models' / f'net_g_{name}.pth', weights_only=True)


def announced(folder: Path) -> list[str]:
    text = ''.join(path.read_text() for path in sorted(folder.glob('*.log')))
    return re.findall(r'Best psnr on demo_val so far, ([\d.]+): saved as net_g_best\.pth', text)


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys() == {'params', 'params_ema'}
    for key, tensors in one.items():
        for name, value in tensors.items():
            assert torch.equal(value, other[key][name]), (key, name)


def test_best_network_is_kept_also_in_a_resumed_run(train):
    folder = train(6)
    log = next(folder.glob('*.log')).read_text()
    values = [float(value) for value in re.findall(r'# psnr: ([\d.]+)', log)]
    assert len(values) == 3
    best = 2 * (1 + max(range(3), key=values.__getitem__))
    assert_equal(weights(folder, 'best'), weights(folder, best))
    assert float(announced(folder)[-1]) == max(values)

    state = torch.load(folder / 'training_states' / '6.state', weights_only=True)
    state['ext']['best']['demo_val']['psnr']['val'] = 99.0  # nothing that follows is better
    torch.save(state, folder / 'training_states' / '6.state')
    (folder / 'training_states' / '6.json').unlink()  # it has the checksum of the other
    before = len(announced(folder))
    train(8, '--auto_resume')
    assert len(announced(folder)) == before
    assert_equal(weights(folder, 'best'), weights(folder, best))


def test_metric_must_be_measured(data):
    assert find_problems(put('val:save_best', 'psnr'), is_train=True) == []
    (problem,) = find_problems(put('val:save_best', 'psnrr'), is_train=True)
    assert problem == "val:save_best: there is no metric 'psnrr' in val:metrics. Did you mean 'psnr'?"
    (problem,) = find_problems(put('val:save_best', 'mmd'), is_train=True)
    assert problem.endswith('There are: psnr, niqe.')


def test_metric_must_not_be_optional_and_needs_a_set(data):
    opt = put('val:save_best', 'psnr')
    opt['val']['metrics']['psnr']['optional'] = True
    (problem,) = find_problems(opt, is_train=True)
    assert 'val:metrics:psnr is optional' in problem
    opt = put('val:save_best', 'psnr')
    del opt['datasets']['val'], opt['datasets']['val_2']
    assert any('val:save_best needs a validation set' in problem for problem in find_problems(opt, is_train=True))
