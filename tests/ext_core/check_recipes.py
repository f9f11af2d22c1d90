"""Option files as BasicSR's users have them, shrunk, with the images they name: what tests of the checker spoil."""

import copy
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import yaml
from option_edits import changed

from ext_core.options import check, problems

# The sections and keys of BasicSR's train_MSRResNet_x4.yml and train_ESRGAN_x4.yml
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
SWINIR_PARTS = """
model_type: SwinIRModel
network_g: {type: SwinIR, upscale: 4, in_chans: 3, img_size: 48, window_size: 8, upsampler: pixelshuffle,
            resi_connection: 1conv}
"""


def write_images(
    folder: Path, size: int, names=('a', 'b', 'c', 'd'), width: int | None = None, suffix: str = '.png'
) -> None:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (size, width or size, 3), np.uint8)
    for name in names:
        cv2.imwrite(str(folder / f'{name}{suffix}'), noise)


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


def as_file(opt: dict) -> dict:
    """The options without what :func:`complete` added."""
    opt = {key: value for key, value in copy.deepcopy(opt).items() if key not in problems.LAUNCHER}
    for data_opt in opt['datasets'].values():
        for key in problems.LAUNCHER_DATASETS:
            data_opt.pop(key)
    for key in problems.LAUNCHER_PATHS:
        opt['path'].pop(key, None)
    return opt


def psnr() -> dict:
    return complete(yaml.safe_load(PSNR), True)


def esrgan() -> dict:
    opt = yaml.safe_load(PSNR) | yaml.safe_load(ESRGAN_PARTS)
    opt['datasets']['train']['gt_size'] = 128
    write_images(Path('gt'), 128)
    write_images(Path('lq'), 32)
    return complete(opt, True)


def swinir_on_lmdb() -> dict:
    write_lmdb(Path('gt.lmdb'), 64)
    write_lmdb(Path('lq.lmdb'), 16)
    opt = psnr() | yaml.safe_load(SWINIR_PARTS)
    opt['datasets']['train'] |= {'dataroot_gt': 'gt.lmdb', 'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}
    return opt


def find_problems(opt: dict, is_train: bool) -> list[str]:
    """The problems as the report shows them."""
    return [str(problem) for problem in check.find_problems(opt, is_train)]


def put(path: str, value, make=psnr):
    """Options with one value changed; ... removes the key."""
    return changed(make(), path, value)
