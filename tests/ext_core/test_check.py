"""The option checker: silent on BasicSR's ordinary files, one clear line for each thing that is wrong."""

import copy
import shutil
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
import yaml

from ext_core.check import check_options, find_problems
from ext_core.errors import UserError

PAIRED = 'type: PairedImageDataset, io_backend: {type: disk}'
# The sections and keys of BasicSR's train_MSRResNet_x4.yml, train_ESRGAN_x4.yml and test_ESRGAN_x4.yml, shrunk
PSNR = """
name: 001_MSRResNet_x4
model_type: SRModel
scale: 4
num_gpu: 0
manual_seed: 0
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    filename_tmpl: '{}'
    io_backend: {type: disk}
    gt_size: 32
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
  val: {name: Set5, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
  val_2: {name: Set14, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, upscale: 4}
path: {pretrain_network_g: ~, param_key_g: params, strict_load_g: true, resume_state: ~}
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: 0.0002, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: CosineAnnealingRestartLR, periods: [10, 10], restart_weights: [1, 1], eta_min: 1.0e-07}
  total_iter: 20
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
val:
  val_freq: 5000.0
  save_img: false
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false, better: higher}
    niqe: {type: calculate_niqe, crop_border: 4, better: lower}
logger: {print_freq: 100, save_checkpoint_freq: 5000.0, use_tb_logger: true, wandb: {project: ~, resume_id: ~}}
dist_params: {backend: nccl, port: 29500}
find_unused_parameters: true
"""
ESRGAN_PARTS = """
name: 052_ESRGAN_x4
model_type: ESRGANModel
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1}
network_d: {type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 8}
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: 0.0001, weight_decay: 0, betas: [0.9, 0.99]}
  optim_d: {type: Adam, lr: 0.0001, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [5, 10], gamma: 0.5}
  total_iter: 20
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 0.01, reduction: mean}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights: {conv5_4: 1}
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt: {type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: 0.005}
  net_d_iters: 1
  net_d_init_iters: 0
"""
REALESRGAN_PARTS = """
model_type: RealESRGANModel
l1_gt_usm: True
percep_gt_usm: True
gan_gt_usm: False
resize_prob: [0.2, 0.7, 0.1]
resize_range: [0.15, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 30]
poisson_scale_range: [0.05, 3]
gray_noise_prob: 0.4
jpeg_range: [30, 95]
second_blur_prob: 0.8
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.3, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 25]
poisson_scale_range2: [0.05, 2.5]
gray_noise_prob2: 0.4
jpeg_range2: [30, 95]
gt_size: 32
queue_size: 180
network_d: {type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 8, skip_connection: True}
"""
TEST = """
name: ESRGAN_SRx4_DF2KOST_official
model_type: ESRGANModel
scale: 4
num_gpu: 0
datasets:
  test_1: {name: Set5, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
  test_2: {name: Set14, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, num_grow_ch: 32}
path: {pretrain_network_g: ~, strict_load_g: true}
val:
  save_img: true
  suffix: ~
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}
    ssim: {type: calculate_ssim, crop_border: 4, test_y_channel: false}
"""


def write_images(folder: Path, size: int, names=('a', 'b', 'c', 'd'), width: int | None = None) -> None:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (size, width or size, 3), np.uint8)
    for name in names:
        cv2.imwrite(str(folder / f'{name}.png'), noise)


def write_lmdb(folder: Path, size: int, names=('a', 'b', 'c', 'd')) -> None:
    png = cv2.imencode('.png', np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8))[1].tobytes()
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name in names:
            transaction.put(name.encode(), png)
    (folder / 'meta_info.txt').write_text(''.join(f'{name}.png ({size},{size},3) 1\n' for name in names))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A current directory with four pairs, 16 and 64 pixels wide."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'gt', 64)
    write_images(tmp_path / 'lq', 16)
    return tmp_path


def complete(opt: dict, is_train: bool) -> dict:
    """What BasicSR's parse_options adds."""
    opt = copy.deepcopy(opt)
    opt.update(is_train=is_train, dist=False, rank=0, world_size=1, auto_resume=False, root_path=str(Path.cwd()))
    for phase, data_opt in opt['datasets'].items():
        data_opt.update(phase=phase.split('_')[0], scale=opt.get('scale'))
    opt['path'].update(experiments_root='x', models='x', training_states='x', log='x', visualization='x')
    return opt


def psnr() -> dict:
    return complete(yaml.safe_load(PSNR), True)


def esrgan() -> dict:
    opt = yaml.safe_load(PSNR) | yaml.safe_load(ESRGAN_PARTS)
    opt['datasets']['train']['gt_size'] = 128
    write_images(Path('gt'), 128)
    write_images(Path('lq'), 32)
    return complete(opt, True)


def realesrgan() -> dict:
    opt = esrgan() | yaml.safe_load(REALESRGAN_PARTS)
    opt['datasets'] = {
        'train': {
            'name': 'DF2K+OST',
            'type': 'RealESRGANDataset',
            'dataroot_gt': 'gt',
            'meta_info': 'meta.txt',
            'io_backend': {'type': 'disk'},
            'blur_kernel_size': 21,
            'kernel_list': ['iso'],
            'final_sinc_prob': 0.8,
            'gt_size': 32,
            'use_hflip': True,
            'use_rot': False,
            'use_shuffle': True,
            'num_worker_per_gpu': 5,
            'batch_size_per_gpu': 12,
            'dataset_enlarge_ratio': 1,
            'prefetch_mode': None,
            'some_older_key': 1,
        }
    }
    del opt['val']
    return opt


def video() -> dict:
    opt = psnr() | {'model_type': 'EDVRModel', 'network_g': {'type': 'EDVR', 'num_frame': 5, 'center_frame_idx': None}}
    opt['train'] |= {'tsa_iter': 50000, 'dcn_lr_mul': 1, 'pixel_opt': {'type': 'CharbonnierLoss', 'reduction': 'sum'}}
    opt['datasets'] = {
        'train': {
            'name': 'REDS',
            'type': 'REDSDataset',
            'dataroot_gt': 'gt',
            'dataroot_lq': 'lq',
            'dataroot_flow': None,
            'val_partition': 'REDS4',
            'io_backend': {'type': 'disk'},
            'num_frame': 5,
            'gt_size': 32,
            'interval_list': [1],
            'random_reverse': False,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 3,
            'batch_size_per_gpu': 4,
        }
    }
    return opt


def swinir_on_lmdb() -> dict:
    write_lmdb(Path('gt.lmdb'), 64)
    write_lmdb(Path('lq.lmdb'), 16)
    opt = psnr() | {
        'model_type': 'SwinIRModel',
        'network_g': {
            'type': 'SwinIR',
            'upscale': 4,
            'in_chans': 3,
            'upsampler': 'pixelshuffle',
            'resi_connection': '1conv',
        },
    }
    opt['datasets']['train'] |= {'dataroot_gt': 'gt.lmdb', 'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}
    return opt


def stylegan() -> dict:
    opt = esrgan() | {
        'model_type': 'StyleGAN2Model',
        'network_g': {'type': 'StyleGAN2Generator', 'out_size': 256},
        'network_d': {'type': 'StyleGAN2Discriminator', 'out_size': 256},
    }
    del opt['scale']
    opt['datasets'] = {
        'train': {
            'name': 'FFHQ',
            'type': 'FFHQDataset',
            'dataroot_gt': 'gt',
            'use_hflip': True,
            'io_backend': {'type': 'disk'},
            'mean': [0.5] * 3,
            'std': [0.5] * 3,
            'num_worker_per_gpu': 6,
            'batch_size_per_gpu': 3,
        }
    }
    opt['train'] = {
        'optim_g': {'type': 'Adam', 'lr': 2e-3},
        'optim_d': {'type': 'Adam', 'lr': 2e-3},
        'total_iter': 9,
        'scheduler': {'type': 'MultiStepLR', 'milestones': [6], 'gamma': 0.5},
        'warmup_iter': -1,
        'gan_opt': {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 1.0},
        'r1_reg_weight': 10,
        'path_batch_shrink': 2,
        'path_reg_weight': 2,
        'net_g_reg_every': 4,
        'net_d_reg_every': 16,
        'mixing_prob': 0.9,
        'net_d_iters': 1,
        'net_d_init_iters': 0,
    }
    return opt


def hifacegan() -> dict:
    opt = esrgan() | {
        'model_type': 'HiFaceGANModel',
        'scale': 1,
        'network_g': {
            'type': 'HiFaceGAN',
            'num_in_ch': 3,
            'num_feat': 48,
            'use_vae': False,
            'z_dim': 256,
            'crop_size': 512,
            'norm_g': 'spectralspadebatch3x3',
            'is_train': False,
        },
        'network_d': {
            'type': 'HiFaceGANDiscriminator',
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 64,
            'conditional_d': True,
            'norm_d': 'spectralinstance',
        },
    }
    write_images(Path('lq'), 128)
    opt['train']['gan_opt'] = {'type': 'MultiScaleGANLoss', 'gan_type': 'lsgan'}
    return opt


@pytest.mark.parametrize('make', [psnr, esrgan, realesrgan, video, swinir_on_lmdb, stylegan, hifacegan])
def test_ordinary_training_files_have_no_problems(data, make):
    opt = make()
    assert find_problems(opt, is_train=True) == []
    check_options(opt, is_train=True)


def test_ordinary_test_file_has_no_problems(data):
    assert find_problems(complete(yaml.safe_load(TEST), False), is_train=False) == []


def test_single_images_need_no_ground_truth(data):
    opt = complete(yaml.safe_load(TEST), False)
    opt['datasets'] = {
        'test': {
            'name': 'x',
            'type': 'SingleImageDataset',
            'dataroot_lq': 'lq',
            'phase': 'test',
            'io_backend': {'type': 'disk'},
        }
    }
    del opt['scale']
    opt['network_g']['type'] = 'MSRResNet'
    opt['network_g'].pop('num_grow_ch')
    opt['val']['metrics'] = {'niqe': {'type': 'calculate_niqe', 'crop_border': 4}}
    assert find_problems(opt, is_train=False) == []


def test_our_gan_takes_its_own_keys(data):
    opt = esrgan()
    opt['model_type'] = 'GANSRModel'
    opt['train'] |= {
        'amp': 'bf16',
        'channels_last': True,
        'compile': False,
        'accumulate': 2,
        'grad_clip': {'type': 'norm', 'max': 1.0},
        'gan_opt': {'type': 'RelativisticAdversarialLoss'},
        'scheduler': {'type': 'LinearDecayLR', 'start': 10},
        'mask_opt': {'type': 'ErrorMask', 'b': 0.3},
        'optim_d': {'type': 'AdamW', 'lr': 1e-4},
    }
    opt['datasets']['train']['max_bad_samples'] = 3
    assert find_problems(opt, is_train=True) == []


def put(path: str, value, make=psnr):
    """Options with one value changed; ... removes the key."""
    opt = make()
    *above, last = path.split(':')
    place = opt
    for key in above:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return opt


# one wrong option; what the one line about it must say
WRONG = [
    ('model_type', 'SRModle', ["no model 'SRModle'", "'SRModel'"]),
    ('model_type', ..., ['model_type is missing']),
    ('scale', ..., ['scale is missing']),
    ('name', 17, ['name must be text', '17']),
    ('num_gpu', 'two', ['num_gpu must be a whole number', "'two'"]),
    ('num_gpus', 1, ['num_gpus: unknown key', "'num_gpu'"]),
    ('train:total_iter', 'abc', ['train:total_iter must be a number', "'abc'"]),
    ('train:total_iter', ..., ['train:total_iter is missing']),
    ('train:total_iter', True, ['train:total_iter must be a number']),
    ('train:ema_deacy', 0.9, ['train:ema_deacy: unknown key', "'ema_decay'"]),
    ('train:ema_decay', 1.5, ['train:ema_decay must be a number in [0, 1)']),
    ('train:perceptual_optt', {'type': 'PerceptualLoss'}, ['train:perceptual_optt: unknown key', "'perceptual_opt'"]),
    (
        'train:gan_opt',
        {'type': 'GANLoss', 'gan_type': 'vanilla'},
        ['train:gan_opt: unknown key', 'SRModel would ignore'],
    ),
    ('train:pixel_opt', ..., ['neither pixel_opt nor perceptual_opt']),
    ('train:pixel_opt:type', 'L2Loss', ["train:pixel_opt:type: there is no loss 'L2Loss'", "'L1Loss'"]),
    ('train:pixel_opt:loss_wieght', 1, ['train:pixel_opt:loss_wieght', "'loss_weight'"]),
    ('train:pixel_opt:loss_weight', 'big', ['train:pixel_opt:loss_weight must be a number', "'big'"]),
    ('train:optim_g', ..., ['train:optim_g is missing: SRModel needs it']),
    ('train:optim_g:type', 'Adma', ["no optimizer 'Adma'", "'Adam'"]),
    ('train:optim_g:type', 'AdamW', ["no optimizer 'AdamW' for SRModel"]),
    ('train:optim_g:lr', '2e-4?', ['train:optim_g:lr must be a number']),
    ('train:optim_g:beta', [0.9, 0.99], ['train:optim_g:beta', "'betas'"]),
    ('train:scheduler:type', 'CosineRestart', ["no schedule 'CosineRestart'"]),
    ('train:scheduler:period', [3], ['train:scheduler:period:', "'periods'"]),
    ('train:scheduler:periods', [3], ['1 periods but 2 restart_weights']),
    ('network_g', ..., ['network_g is missing']),
    ('network_g:type', 'MSRResnet', ["no network 'MSRResnet'", "'MSRResNet'"]),
    ('network_g:num_fet', 8, ['network_g:num_fet: MSRResNet has no such argument', "'num_feat'"]),
    ('network_g:upscale', 2, ['network_g:upscale is 2, but scale is 4']),
    ('path:pretrain_netwrok_g', 'x.pth', ['path:pretrain_netwrok_g: unknown key', "'pretrain_network_g'"]),
    ('path:pretrain_network_d', 'x.pth', ['there is no network_d']),
    ('path:resume_state', 'gone.state', ['path:resume_state: file not found: gone.state']),
    ('path:resume_state', 'gt', ['path:resume_state: gt is a folder']),
    ('val', ..., ['val is missing']),
    ('val:val_freq', 0, ['val:val_freq must be a number of at least 1']),
    ('val:val_frequ', 5, ['val:val_frequ: unknown key', "'val_freq'"]),
    ('val:metrics:psnr:type', 'calculate_pnsr', ["no metric 'calculate_pnsr'", "'calculate_psnr'"]),
    ('val:metrics:psnr:test_y_chanel', True, ['val:metrics:psnr:test_y_chanel', "'test_y_channel'"]),
    ('val:metrics:psnr:crop_border', ..., ['val:metrics:psnr:crop_border is missing']),
    ('val:metrics:psnr:better', 'more', ["better must be 'higher' or 'lower'"]),
    ('logger:print_frequency', 5, ['logger:print_frequency: unknown key', "'print_freq'"]),
    ('logger:save_checkpoint_freq', ..., ['logger:save_checkpoint_freq is missing']),
    ('logger:wandb:project', 'p', ['wandb is not installed']),
    ('datasets:train', ..., ['datasets:train is missing']),
    ('datasets:valid', {}, ['datasets:valid: datasets are called', "'val'"]),
    ('datasets:train:type', 'PairedImagesDataset', ["no dataset 'PairedImagesDataset'", "'PairedImageDataset'"]),
    ('datasets:train:use_hflip', ..., ['datasets:train:use_hflip is missing']),
    ('datasets:train:use_hfilp', True, ['datasets:train:use_hfilp: unknown key', "'use_hflip'"]),
    ('datasets:train:batch_size_per_gpu', 5, ['do not fill one batch of 5', 'dataset_enlarge_ratio: 2']),
    ('datasets:train:gt_size', 30, ['gt_size: 30 is not divisible by scale (4)']),
    ('datasets:train:gt_size', 128, ['crops of 128 do not fit', '64 x 64', 'at most 64']),
    ('datasets:train:io_backend:type', 'dsik', ["no backend 'dsik'", "'disk'"]),
    ('datasets:train:io_backend:type', 'lmdb', ['folder of images, not an LMDB', 'io_backend:type: disk']),
    ('datasets:train:dataroot_gt', None, ['datasets:train:dataroot_gt is missing']),
    ('datasets:train:dataroot_gt', 'gtt', ['datasets:train:dataroot_gt: folder not found: gtt', "'gt'"]),
    ('datasets:train:dataroot_gt', 'gt/a.png', ['gt/a.png is a file']),
    ('datasets:train:meta_info_file', 'basicsr/data/meta_info/meta_info_DIV2K800sub_GT.txt', ['PyPI', 'GitHub']),
    ('datasets:val:dataroot_lq', 'gt', ['datasets:val', 'not scale (4) times', 'throughout: set scale: 1']),
]


@pytest.mark.parametrize(('path', 'value', 'said'), WRONG, ids=[f'{i}-{w[0]}' for i, w in enumerate(WRONG)])
def test_each_wrong_option_is_named_with_its_remedy(data, monkeypatch, path, value, said):
    find_spec = __import__('importlib.util').util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'wandb' else find_spec(name))
    problems = find_problems(put(path, value), is_train=True)
    matching = [problem for problem in problems if all(words in problem for words in said)]
    assert matching, problems
    # num_gpu, total_iter, ... : nothing else follows from the one mistake, but for roots, which two checks may name
    assert len(problems) <= 2, problems


@pytest.mark.parametrize(
    ('path', 'said'),
    [
        ('network_d', 'network_d is missing: ESRGANModel needs it'),
        ('train:gan_opt', 'train:gan_opt is missing: ESRGANModel needs it'),
        ('train:optim_d', 'train:optim_d is missing: ESRGANModel needs it'),
        ('train:gan_opt:gan_type', 'train:gan_opt:gan_type is missing: GANLoss needs it'),
    ],
)
def test_what_a_gan_needs(data, path, said):
    problems = find_problems(put(path, ..., esrgan), is_train=True)
    assert len(problems) == 1
    assert said in problems[0]


def test_needs_are_united_over_the_bases(data):
    opt = esrgan() | {'model_type': 'MaskGANModel'}
    for key in ('optim_d', 'gan_opt'):
        del opt['train'][key]
    text = '\n'.join(find_problems(opt, is_train=True))
    for key in ('train:mask_opt', 'train:optim_d', 'train:gan_opt'):
        assert f'{key} is missing: MaskGANModel needs it' in text


def test_discriminator_of_fixed_size_needs_such_crops(data):
    (problem,) = find_problems(put('datasets:train:gt_size', 64, esrgan), is_train=True)
    assert '128 x 128 only' in problem
    assert 'gt_size: 128' in problem


def test_default_scale_of_a_network_counts(data):
    opt = put('scale', 2, esrgan)
    assert any("network_g:scale is not given, and RRDBNet's default is 4" in p for p in find_problems(opt, True))


def test_metric_with_reference_needs_ground_truth(data):
    opt = psnr()
    opt['datasets']['val'] = {
        'name': 'x',
        'type': 'SingleImageDataset',
        'dataroot_lq': 'lq',
        'phase': 'val',
        'io_backend': {'type': 'disk'},
    }
    (problem,) = find_problems(opt, is_train=True)
    assert problem.startswith('val:metrics:psnr: calculate_psnr compares with the ground truth')


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('train:gan_opt', {'type': 'GANLoss', 'gan_type': 'vanilla'}, 'RelativisticAdversarialLoss'),
        ('train:amp', 'float16', 'train:amp must be bf16, fp16'),
        ('train:grad_clip', 1.0, 'train:grad_clip must be like'),
        ('train:accumulate', 3, 'a batch of 4 cannot be split into 3 equal parts'),
    ],
)
def test_our_training_keys_have_values(data, path, value, said):
    opt = put('train:gan_opt', {'type': 'AdversarialLoss'}, esrgan) | {'model_type': 'GANSRModel'}
    opt['train'][path.split(':')[1]] = value
    (problem,) = find_problems(opt, is_train=True)
    assert said in problem


# ---------------------------------------------------------------------- weights
def test_refusal_of_a_constructor_is_heard(data):
    (problem,) = find_problems(put('network_d:input_size', 64, lambda: put('datasets:train:gt_size', 64, esrgan)), True)
    assert problem == (
        'network_d: VGGStyleDiscriminator cannot be built from these arguments: input size must be 128 or '
        '256, but received 64'
    )


def saved_weights(**arguments) -> dict:
    from basicsr.archs.srresnet_arch import MSRResNet

    return MSRResNet(**{'num_feat': 8, 'num_block': 1, 'upscale': 4} | arguments).state_dict()


@pytest.mark.parametrize(
    'content',
    [
        lambda weights: {'params': weights},
        lambda weights: weights,
        lambda weights: {'params': {f'module.{name}': value for name, value in weights.items()}},
    ],
)
def test_fitting_weights_have_no_problem(data, content):
    torch.save(content(saved_weights()), 'net.pth')
    assert find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True) == []


def test_weights_for_another_network(data):
    torch.save({'params': saved_weights(num_feat=16, num_block=2)}, 'net.pth')
    (problem,) = find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True)
    for words in (
        'net.pth holds weights for another network than this MSRResNet',
        'unknown to the network',
        'conv_first.weight (16, 3, 3, 3) instead of (8, 3, 3, 3)',
        'path:strict_load_g: false',
    ):
        assert words in problem
    opt = put('path:pretrain_network_g', 'net.pth')
    opt['path']['strict_load_g'] = False
    assert find_problems(opt, is_train=True) == []


def test_unreadable_weights(data):
    Path('net.pth').write_bytes(b'PK garbage')
    (problem,) = find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True)
    assert 'net.pth cannot be read' in problem


# ---------------------------------------------------------------------- files
def one(data, words, make=psnr):
    problems = [p for p in find_problems(make(), is_train=True) if p.startswith(('datasets:train', 'datasets:val:'))]
    assert problems
    assert all(word in problems[0] for word in words), problems
    return problems


def test_images_without_partner_are_named(data):
    (data / 'lq' / 'b.png').unlink()
    write_images(data / 'lq', 16, ['zz'])
    one(data, ['datasets:train: the pairs do not match', '4 images in gt, 4 in lq', 'partner: b.png', 'truth: zz.png'])


def test_names_with_an_addition_suggest_the_template(data):
    shutil.rmtree(data / 'lq')
    write_images(data / 'lq', 16, ['ax4', 'bx4', 'cx4', 'dx4'])
    one(data, ["Set filename_tmpl: '{}x4'"])
    opt = psnr()
    for data_opt in opt['datasets'].values():
        data_opt['filename_tmpl'] = '{}x4'
    assert find_problems(opt, is_train=True) == []


def test_empty_folder_and_subfolders(data):
    (data / 'empty' / 'inside').mkdir(parents=True)
    (problem,) = find_problems(put('datasets:train:dataroot_lq', 'empty'), is_train=True)
    assert 'datasets:train:dataroot_lq: no images in empty' in problem
    assert 'empty/inside' in problem


def test_foreign_files_are_named(data):
    (data / 'gt' / 'Thumbs.db').write_text('x')
    one(data, ['Thumbs.db in gt: not image files', 'Move them away'])


def test_size_of_one_pair(data):
    write_images(data / 'lq', 16, ['c'], width=17)
    problems = one(data, ['c.png is 64 x 64', 'lq/c.png, 17 x 16', '1 of the 4 pairs'])
    assert len(problems) == 2  # in training, and in validation, where BasicSR would crop silently


def test_validation_accepts_ground_truth_that_is_no_multiple(data):
    (data / 'val').mkdir()
    write_images(data / 'val', 66, width=67)
    assert find_problems(put('datasets:val:dataroot_gt', 'val'), is_train=True) == []
    assert any('datasets:train' in p for p in find_problems(put('datasets:train:dataroot_gt', 'val'), is_train=True))


def test_exif_rotation_is_applied(data):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for folder, size, extra in (('gt', (64, 128), {}), ('lq', (32, 16), {'exif': exif})):
        shutil.rmtree(data / folder)
        (data / folder).mkdir()
        for name in 'abcd':
            Image.new('RGB', size).save(data / folder / f'{name}.jpg', **extra)
    assert find_problems(psnr(), is_train=True) == []


@pytest.mark.parametrize('damage', ['garbage', 'truncated', 'empty', 'flipped'])
def test_damaged_validation_image_is_found_now(data, damage):
    path = data / 'gt' / 'b.png'
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            'garbage': b'not an image',
            'truncated': content[:middle],
            'empty': b'',
            'flipped': content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        }[damage]
    )
    problems = find_problems(psnr(), is_train=True)
    assert [p.split(' cannot')[0] for p in problems] == ['datasets:val: gt/b.png', 'datasets:val_2: gt/b.png']


def test_meta_info_file_lists_what_is_read(data):
    Path('meta.txt').write_text('a.png (64,64,3)\nb.png (64,64,3)\nc.png (64,64,3)\nd.png (64,64,3)\n')
    (data / 'gt' / 'unlisted.png').write_bytes((data / 'gt' / 'a.png').read_bytes())
    opt = put('datasets:train:meta_info_file', 'meta.txt')
    assert not [p for p in find_problems(opt, is_train=True) if p.startswith('datasets:train')]
    Path('meta.txt').write_text('nope.png (64,64,3)\n')
    assert any('lists files that do not exist: gt/nope.png, lq/nope.png' in p for p in find_problems(opt, True))


# ---------------------------------------------------------------------- LMDB
def broken_lmdb(breaking, name='lq.lmdb'):
    opt = swinir_on_lmdb()
    breaking(Path(name))
    problems = find_problems(opt, is_train=True)
    assert len(problems) == 1, problems
    return problems[0]


def test_lmdb_without_its_files(data):
    assert 'lq.lmdb has no meta_info.txt' in broken_lmdb(lambda root: (root / 'meta_info.txt').unlink())


def test_lmdb_without_database(data):
    assert 'lq.lmdb has no data.mdb' in broken_lmdb(lambda root: (root / 'data.mdb').unlink())


def test_lmdb_truncated(data):
    def truncate(root):
        content = (root / 'data.mdb').read_bytes()
        (root / 'data.mdb').write_bytes(content[: len(content) - 8192])

    assert 'gt.lmdb is truncated' in broken_lmdb(truncate, 'gt.lmdb')


def test_lmdb_of_garbage(data):
    assert 'lq.lmdb cannot be opened' in broken_lmdb(lambda root: (root / 'data.mdb').write_bytes(b'x' * 16384))


def test_lmdb_without_a_listed_image(data):
    def add(root):
        with (root / 'meta_info.txt').open('a') as meta:
            meta.write('z.png (16,16,3) 1\n')

    assert 'lacks 1 of the images' in broken_lmdb(add)


def test_lmdb_with_other_keys(data):
    def rewrite(root):
        shutil.rmtree(root)
        write_lmdb(root, 16, 'abc')

    assert 'without a low-quality partner: d' in broken_lmdb(rewrite)


def test_lmdb_of_another_scale(data):
    def rewrite(root):
        shutil.rmtree(root)
        write_lmdb(root, 32)

    assert 'Their ratio is 2 throughout: set scale: 2' in broken_lmdb(rewrite)


def test_lmdb_given_as_folder(data):
    opt = swinir_on_lmdb()
    opt['datasets']['train']['io_backend'] = {'type': 'disk'}
    problems = find_problems(opt, is_train=True)
    assert len(problems) == 2
    assert all('is an LMDB. Set io_backend:type: lmdb' in problem for problem in problems)


# ---------------------------------------------------------------------- places, and all at once
def test_file_in_the_way_of_the_results(data):
    (data / 'experiments').write_text('x')
    (problem,) = find_problems(psnr(), is_train=True)
    assert f'{data}/experiments is a file' in problem


def test_tensorboard_must_be_there_if_wanted(data, monkeypatch):
    find_spec = __import__('importlib.util').util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'tensorboard' else find_spec(name))
    (problem,) = find_problems(psnr(), is_train=True)
    assert 'pip install tensorboard' in problem


def test_all_problems_come_in_one_error_and_nothing_is_written(data):
    before = sorted(data.rglob('*'))
    opt = put('train:ema_deacy', 0.9)
    opt['network_g']['num_fet'] = 8
    opt['datasets']['train']['dataroot_lq'] = 'gone'
    with pytest.raises(UserError) as caught:
        check_options(opt, is_train=True)
    lines = str(caught.value).splitlines()
    assert '3 problems; nothing was created' in lines[0]
    assert [line.split(':')[0] for line in lines[1:]] == ['  - train', '  - network_g', '  - datasets']
    assert sorted(data.rglob('*')) == before


def test_sections_that_are_no_sections(data):
    opt = psnr() | {'train': 5, 'val': 'x', 'logger': [1], 'network_g': 'MSRResNet'}
    text = '\n'.join(find_problems(opt, is_train=True))
    for key in ('train', 'val', 'logger', 'network_g'):
        assert f'{key} must be a section' in text


def test_a_new_dataset_says_itself_what_it_needs_and_reads(data, monkeypatch):
    from basicsr.utils.registry import DATASET_REGISTRY

    class CameraDataset:
        NEEDS = frozenset({'dataroot_camera'})

        def __init__(self, opt):
            self.exposure = opt['exposure_of_this_test']

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, 'CameraDataset', CameraDataset)
    opt = psnr()
    opt['datasets']['train'] = {
        'name': 'x',
        'type': 'CameraDataset',
        'phase': 'train',
        'exposure_of_this_test': 1,
        'num_worker_per_gpu': 0,
        'batch_size_per_gpu': 1,
        'scale': 4,
    }
    (problem,) = find_problems(opt, is_train=True)
    assert problem == 'datasets:train:dataroot_camera is missing: CameraDataset needs it.'
    opt['datasets']['train'] |= {'dataroot_camera': 'gt', ''.join(['exposur', '_of_this_test']): 1}
    (problem,) = find_problems(opt, is_train=True)
    assert "unknown key; CameraDataset would ignore it. Did you mean 'exposure_of_this_test'?" in problem
