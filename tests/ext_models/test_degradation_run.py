"""Whole stage-1 runs by option file: variants of a recipe, both phases, exact resuming, the best network."""

from pathlib import Path

import pytest
import torch

from ext_core import launch
from ext_core.options import yaml_safe

PROJECT = Path(__file__).resolve().parents[2]
ADAM = {'type': 'Adam', 'lr': 2e-4}
VARIANTS = {
    'without mmd': {'train': {'mmd_opt': None}, 'network_d': None},
    'mmd of random patches, then gan': {
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        'train': {
            'mmd_opt': {'space': 'patch', 'max_samples': 16},
            'gan_opt': {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3},
            'highpass_opt': {'type': 'HighPassView'},
            'optim_d': ADAM,
            'pretrain_iters': 3,
            'pretrain_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
    },
}


def option_file(folder: Path, variant: str) -> Path:
    changes = VARIANTS[variant]
    small = {
        '_base_': str(PROJECT / 'options' / 'train_da_stage1.yml'),
        'name': 'stage1',
        'datasets': {'train': {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'gt_size': 64}},
        'network_g': {'num_feat': 4},
        'network_d': changes['network_d'],
        'train': {
            'total_iter': 6,
            'scheduler': {'start': 3},
            'perceptual_opt': {'weights': 'random'},
            'ema_decay': 0.5,
            **changes['train'],
        },
        'val': {'val_freq': 2, 'save_img': True},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2},
    }
    file = folder / 'stage1.yml'
    file.write_text(yaml_safe.dump(small))
    return file


@pytest.mark.parametrize('variant', list(VARIANTS))
def test_resumed_run_equals_the_uninterrupted_one(variant, tmp_path, monkeypatch, fresh_logger, unchecked):
    """Resumed in the first phase, where there are two; the best values survive."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    command = ['-opt', str(option_file(tmp_path, variant)), '--demo']
    assert launch.train(tmp_path, command) == 0
    experiment = tmp_path / 'experiments' / 'demo_stage1'
    log = next(experiment.glob('*.log')).read_text()
    lines = [line for line in log.splitlines() if '[eta: ' in line]
    two_phases = 'pretrain_iters' in VARIANTS[variant]['train']
    assert ['l_g_pretrain' in line for line in lines] == [two_phases] * 3 + [False] * 3
    assert ['l_g_gan' in line for line in lines] == [False] * 3 + [two_phases] * 3
    assert ['l_g_mmd' in line for line in lines] == [False] * 3 + [two_phases] * 3
    assert log.count('Gap to the real images of demo_val') == 3
    assert len(list((experiment / 'visualization').rglob('*.png'))) == 6

    models, states = experiment / 'models', experiment / 'training_states'
    names = [f'net_g_{name}.pth' for name in (6, 'latest', 'best')] + ['net_d_6.pth'] * two_phases
    expected = {name: torch.load(models / name, weights_only=True) for name in names}
    best = torch.load(states / '6.state', weights_only=True)['ext']['best']['demo_val']
    for path in [models / name for name in names] + [states / '4.state', states / '6.state']:
        path.unlink()
    assert launch.train(tmp_path, [*command, '--auto_resume']) == 0
    assert torch.load(states / '6.state', weights_only=True)['ext']['best']['demo_val'] == best
    if best['spectrum_db']['iter'] == 2:  # validated before the part that was run again
        names.remove('net_g_best.pth')
    for name in names:
        resumed = torch.load(models / name, weights_only=True)
        assert resumed.keys() == ({'params', 'params_ema'} if 'net_g' in name else {'params'})
        for key, tensors in expected[name].items():
            for weight, value in tensors.items():
                assert torch.equal(resumed[key][weight], value), (name, key, weight)
