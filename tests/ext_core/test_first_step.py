"""What building the model or its first step reveals is revealed before an earlier experiment is moved away."""

from urllib.error import URLError

import pytest
import torch
from tiny_runs import PROJECT, tiny_recipe

from ext_core import launch
from ext_core.options import yaml_safe
from ext_data.preparation.demo import ensure_demo_data

KERNEL = {
    'blur_kernel_size': 21,
    'kernel_list': ['iso'],
    'kernel_prob': [1],
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
    'sinc_prob': 0,
}
KERNELS = {**KERNEL, **{f'{key}2': value for key, value in KERNEL.items()}, 'final_sinc_prob': 0}
DEMO = {'dataroot_gt': 'datasets/demo/train/gt.lmdb', 'io_backend': {'type': 'lmdb'}, 'gt_size': 64}
DEMO |= {'name': 'demo', 'use_hflip': False, 'use_rot': False, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
PAIRS = DEMO | {'_delete_': True, 'type': 'PairedImageDataset', 'dataroot_lq': 'datasets/demo/train/lq_x4.lmdb'}
ALONE = DEMO | {'_delete_': True, 'type': 'RealESRGANDataset', **KERNELS}
DEGRADED = {'model_type': 'RealESRNetModel', 'gt_size': 64, 'gt_usm': True, 'queue_size': 4}
TRAIN = {
    '_delete_': True,
    'ema_decay': 0.9,
    'optim_g': {'type': 'Adam', 'lr': 1e-4},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [5]},
    'total_iter': 9,
    'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
}
NOISE = {'resize_prob': [0, 0, 1], 'resize_range': [1, 1], 'gaussian_noise_prob': 0, 'noise_range': [1, 2]}
NOISE |= {'poisson_scale_range': [0.1, 0.2], 'gray_noise_prob': 0, 'jpeg_range': [90, 95]}
DEGRADED |= {**NOISE, **{f'{key}2': value for key, value in NOISE.items()}, 'second_blur_prob': 0}
VGG = {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}, 'perceptual_weight': 1}


def no_network(*args, **kwargs):
    raise URLError('Name or service not known')


@pytest.mark.parametrize(
    ('options', 'train', 'said'),
    [
        (
            {'datasets': {'train': PAIRS}},
            {'perceptual_opt': VGG},
            'train:perceptual_opt: weights cannot be downloaded: Name or',
        ),
        (DEGRADED | {'datasets': {'train': PAIRS}}, {}, "KeyError: 'kernel1'\nIf 'kernel1' is what samples should"),
        (DEGRADED | {'queue_size': 3, 'datasets': {'train': ALONE}}, {}, 'queue_size: 3 is not a multiple of the'),
        (DEGRADED | {'datasets': {'train': ALONE | {'meta_info': 'list.txt'}}}, {}, 'do not exist: datasets/demo/tr'),
    ],
)
def test_the_earlier_experiment_stays_where_it_is(tmp_path, monkeypatch, in_project, capfd, options, train, said):
    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    ensure_demo_data(PROJECT, 4)
    (tmp_path / 'list.txt').write_text('a.png\nb.png\n')
    earlier = tmp_path / 'experiments' / 'first' / 'models' / 'net_g_latest.pth'
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b'results of last week')
    if 'meta_info' in options['datasets']['train']:
        folder = {
            'meta_info': str(tmp_path / 'list.txt'),
            'io_backend': {'type': 'disk'},
            'dataroot_gt': 'datasets/demo/train',
        }
        options = options | {'datasets': {'train': options['datasets']['train'] | folder}}
    recipe = tiny_recipe('first', 1)
    recipe |= options | {'val': None, 'datasets': options['datasets'] | {'val': None}}
    recipe['train'] = TRAIN | train
    (tmp_path / 'first.yml').write_text(yaml_safe.dump(recipe))
    assert launch.train(tmp_path, ['-opt', str(tmp_path / 'first.yml')]) == 1
    assert said in capfd.readouterr().err.rpartition('error: ')[2]
    assert [str(path.relative_to(tmp_path / 'experiments')) for path in (tmp_path / 'experiments').rglob('*')] == [
        'first',
        'first/models',
        'first/models/net_g_latest.pth',
    ]
