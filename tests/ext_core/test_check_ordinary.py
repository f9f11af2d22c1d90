"""The option checker is silent on BasicSR's ordinary files, and on ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import torch
import yaml
from basicsr.archs import build_network
from check_recipes import complete, esrgan, find_problems, psnr, swinir_on_lmdb, write_images

from ext_core.options.check import check_options, find_warnings

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
# of BasicSR's test_ESRGAN_x4.yml
TEST = """
name: ESRGAN_SRx4_DF2KOST_official
model_type: ESRGANModel
scale: 4
num_gpu: 0
datasets:
  test_1: {name: Set5, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
  test_2: {name: Set14, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, num_grow_ch: 32}
path: {pretrain_network_g: net.pth, strict_load_g: true}
val:
  save_img: true
  suffix: ~
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}
    ssim: {type: calculate_ssim, crop_border: 4, test_y_channel: false}
"""


REALESRGAN_DATA = """
train:
  {name: DF2K+OST, type: RealESRGANDataset, dataroot_gt: gt, meta_info: meta.txt, io_backend: {type: disk},
   blur_kernel_size: 21, kernel_list: [iso], kernel_prob: [1], blur_sigma: [0.2, 3], betag_range: [0.5, 4],
   betap_range: [1, 2], sinc_prob: 0.1, blur_kernel_size2: 21, kernel_list2: [iso], kernel_prob2: [1],
   blur_sigma2: [0.2, 1.5], betag_range2: [0.5, 4], betap_range2: [1, 2], sinc_prob2: 0.1, final_sinc_prob: 0.8,
   gt_size: 32, use_hflip: true, use_rot: false, use_shuffle: true, num_worker_per_gpu: 5, batch_size_per_gpu: 12,
   dataset_enlarge_ratio: 1, prefetch_mode: ~, some_older_key: 1}
"""
VIDEO = """
model_type: EDVRModel
network_g: {type: EDVR, num_frame: 5, center_frame_idx: ~}
datasets:
  train:
    {name: REDS, type: REDSDataset, dataroot_gt: gt, dataroot_lq: lq, dataroot_flow: ~, val_partition: REDS4,
     meta_info_file: meta.txt, io_backend: {type: disk}, num_frame: 5, gt_size: 32, interval_list: [1],
     random_reverse: false, use_hflip: true, use_rot: true, num_worker_per_gpu: 3, batch_size_per_gpu: 4}
"""
STYLEGAN = """
model_type: StyleGAN2Model
network_g: {type: StyleGAN2Generator, out_size: 256}
network_d: {type: StyleGAN2Discriminator, out_size: 256}
datasets:
  train:
    {name: FFHQ, type: FFHQDataset, dataroot_gt: gt, use_hflip: true, io_backend: {type: disk}, mean: [0.5, 0.5, 0.5],
     std: [0.5, 0.5, 0.5], num_worker_per_gpu: 6, batch_size_per_gpu: 3}
train:
  optim_g: {type: Adam, lr: 0.002}
  optim_d: {type: Adam, lr: 0.002}
  total_iter: 9
  scheduler: {type: MultiStepLR, milestones: [6], gamma: 0.5}
  warmup_iter: -1
  gan_opt: {type: GANLoss, gan_type: wgan_softplus, loss_weight: 1.0}
  r1_reg_weight: 10
  path_batch_shrink: 2
  path_reg_weight: 2
  net_g_reg_every: 4
  net_d_reg_every: 16
  mixing_prob: 0.9
  net_d_iters: 1
  net_d_init_iters: 0
"""
HIFACEGAN = """
model_type: HiFaceGANModel
scale: 1
network_g: {type: HiFaceGAN, num_in_ch: 3, num_feat: 48, use_vae: false, z_dim: 256, crop_size: 512,
            norm_g: spectralspadebatch3x3, is_train: false}
network_d: {type: HiFaceGANDiscriminator, num_in_ch: 3, num_out_ch: 3, num_feat: 64, conditional_d: true,
            norm_d: spectralinstance}
"""


def realesrgan() -> dict:
    opt = esrgan() | yaml.safe_load(REALESRGAN_PARTS) | {'datasets': yaml.safe_load(REALESRGAN_DATA)}
    Path('meta.txt').write_text('a.png\n' * 12)
    del opt['val']
    return opt


def video() -> dict:
    opt = psnr() | yaml.safe_load(VIDEO)
    opt['train'] |= {'tsa_iter': 50000, 'dcn_lr_mul': 1, 'pixel_opt': {'type': 'CharbonnierLoss', 'reduction': 'sum'}}
    Path('meta.txt').write_text('001 100 (720,1280,3)\n')
    return opt


def stylegan() -> dict:
    opt = esrgan() | yaml.safe_load(STYLEGAN)
    del opt['scale']
    return opt


def hifacegan() -> dict:
    opt = esrgan() | yaml.safe_load(HIFACEGAN)
    write_images(Path('lq'), 128)
    for dataset in opt['datasets'].values():
        dataset['scale'] = 1
    opt['train']['gan_opt'] = {'type': 'MultiScaleGANLoss', 'gan_type': 'lsgan'}
    return opt


@pytest.mark.parametrize('make', [psnr, esrgan, realesrgan, video, swinir_on_lmdb, stylegan, hifacegan])
def test_ordinary_training_files_have_no_problems(data, make):
    opt = make()
    assert find_problems(opt, is_train=True) == []
    check_options(opt, is_train=True)


def evaluation() -> dict:
    opt = complete(yaml.safe_load(TEST), False)
    torch.save({'params': build_network(opt['network_g']).state_dict()}, 'net.pth')
    return opt


def test_ordinary_test_file_has_no_problems(data):
    assert find_problems(evaluation(), is_train=False) == []


def test_single_images_need_no_ground_truth(data):
    opt = evaluation()
    single = {'name': 'x', 'type': 'SingleImageDataset', 'dataroot_lq': 'lq', 'phase': 'test'}
    opt['datasets'] = {'test': single | {'io_backend': {'type': 'disk'}}}
    del opt['scale']
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


def of_dataset(monkeypatch, kind: type) -> dict:
    from basicsr.utils.registry import DATASET_REGISTRY

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, kind.__name__, kind)
    opt = psnr()
    section = {'name': 'x', 'type': kind.__name__, 'phase': 'train', 'exposure': 1, 'scale': 4}
    opt['datasets']['train'] = section | {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1}
    return opt


def test_a_new_dataset_says_itself_what_it_needs_and_reads(data, monkeypatch):
    class CameraDataset:
        @dataclass
        class Options:
            dataroot_camera: str
            exposure: Annotated[float, {'minimum': 0}] = 1.0

    opt = of_dataset(monkeypatch, CameraDataset)
    (problem,) = find_problems(opt, is_train=True)
    assert problem == 'datasets:train:dataroot_camera is missing: CameraDataset needs it.'
    opt['datasets']['train'] |= {'dataroot_camera': 'gt', 'exposur': 1}
    (problem,) = find_problems(opt, is_train=True)
    assert "unknown key; CameraDataset would ignore it. Did you mean 'exposure'?" in problem


def test_a_dataset_that_declares_nothing_is_warned_of_but_takes_no_keys_of_other_sections(data, monkeypatch):
    class SilentDataset:
        pass

    opt = of_dataset(monkeypatch, SilentDataset)
    assert find_problems(opt, is_train=True) == []
    (warning,) = (warning for warning in find_warnings(opt) if 'exposure' in warning)
    assert warning.startswith('datasets:train:exposure: SilentDataset does not declare this key')
    opt['datasets']['train']['val_freq'] = 5
    (problem,) = find_problems(opt, is_train=True)
    assert problem == 'datasets:train:val_freq: unknown key; SilentDataset would ignore it. It belongs in val.'
