"""A small RealESRGANModel or RealESRNetModel, and batches for it."""

import torch


def real_esrgan(name: str, **options: object):
    """The model ``name`` on the CPU with a pool of two pairs, which the second batch leaves."""
    from basicsr.models import build_model

    ranges = {'resize_prob': [0.2, 0.7, 0.1], 'resize_range': [0.5, 1.5], 'gray_noise_prob': 0.4,
              'noise_range': [1, 30], 'gaussian_noise_prob': 0.5, 'poisson_scale_range': [0.05, 3],
              'jpeg_range': [30, 95]}  # fmt: skip
    second = {f'{key}2': value for key, value in ranges.items()}
    train = {'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'optim_d': {'type': 'Adam', 'lr': 1e-4},
             'scheduler': {'type': 'MultiStepLR', 'milestones': [9]}, 'pixel_opt': {'type': 'L1Loss'},
             'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}}  # fmt: skip
    opt = {'model_type': name, 'num_gpu': 0, 'dist': False, 'is_train': True, 'scale': 2, 'path': {}, 'gt_size': 32,
           'queue_size': 2, 'second_blur_prob': 0.8, 'gt_usm': True, 'l1_gt_usm': True, 'percep_gt_usm': True,
           'gan_gt_usm': False, 'train': train,
           'network_g': {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2},
           'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}}  # fmt: skip
    return build_model({**opt, **ranges, **second, **options})


def real_esrgan_batch() -> dict[str, torch.Tensor]:
    """A random batch of two images."""
    kernel = torch.zeros(2, 21, 21)
    kernel[:, 10, 10] = 1
    return {'gt': torch.rand(2, 3, 64, 64), 'kernel1': kernel, 'kernel2': kernel, 'sinc_kernel': kernel}
