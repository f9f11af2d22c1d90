"""The stage 2 recipe with LR images made during training: from option file to checkpoints, stopped and resumed."""

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from ext_core import launch
from ext_core.options import yaml_safe

PROJECT = Path(__file__).resolve().parents[2]
DEGRADER = {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}


@pytest.fixture
def recipe(tmp_path) -> Path:
    """options/train_da_stage2.yml, shrunk, without LR images on disk, in the former way."""
    torch.manual_seed(0)
    torch.save({'params': build_network(DEGRADER).state_dict()}, tmp_path / 'stage1.pth')
    train = {'_delete_': True, 'name': 'HR', 'type': 'HRImageDataset', 'dataroot_gt': 'replaced', 'gt_size': 128}
    train |= {'io_backend': {'type': 'lmdb'}, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    metrics = {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}
    weights = str(tmp_path / 'stage1.pth')
    opt = {
        '_base_': str(PROJECT / 'options' / 'train_da_stage2.yml'),
        'datasets': {'train': train | {'dataset_enlarge_ratio': 1}},
        'network_g': {'num_feat': 4, 'num_block': 1},
        'network_d': {'num_feat': 4},
        'network_degrade': DEGRADER,
        'path': {'pretrain_network_degrade': weights, 'ignore_resume_networks': ['network_degrade']},
        'train': {'total_iter': 4, 'perceptual_opt': {'weights': 'random'}},
        'val': {'val_freq': 4, 'save_img': False, 'metrics': metrics},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }
    file = tmp_path / 'online.yml'
    file.write_text(yaml_safe.dump(opt))
    return file


def test_trains_validates_and_resumes_exactly(recipe, tmp_path, in_project, unchecked):
    command = ['-opt', str(recipe), '--demo']
    assert launch.train(tmp_path, command) == 0
    experiment = tmp_path / 'experiments' / 'demo_train_da_stage2'
    assert '# psnr' in next(experiment.glob('*.log')).read_text()
    models = experiment / 'models'
    names = {f'net_{net}_{at}.pth' for net in 'gd' for at in (2, 4, 'latest')}
    assert {path.name for path in models.iterdir()} == names

    expected = {path.name: torch.load(path)['params'] for path in models.glob('*_4.pth')}
    for path in [*models.glob('*_4.pth'), *models.glob('*latest.pth'), experiment / 'training_states' / '4.state']:
        path.unlink()
    assert launch.train(tmp_path, [*command, '--auto_resume']) == 0
    for name, weights in expected.items():
        resumed = torch.load(models / name)['params']
        assert all(torch.equal(resumed[key], value) for key, value in weights.items())
