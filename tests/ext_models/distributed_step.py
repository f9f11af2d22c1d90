"""Run by torchrun: train a few iterations on this rank's half of each batch, rank 0 writes weights and logs.

Usage: distributed_step.py OUTPUT SCENARIO
"""

import os
import sys
from unittest import mock

import torch

from ext_core.registration import register_all

register_all()

import tiny_energy  # noqa: E402, F401, registers TinyEnergy
from recipes import FEATURE, PIXEL, batches, build, options, run  # noqa: E402

from ext_arch import pretrained  # noqa: E402

ENERGY = {
    'model_type': 'EnergyGANModel',
    'gan_opt': {'type': 'EnergyGANLoss'},
    'gp_opt': {'type': 'EnergyGradientPenalty'},
    'perceptual_opt': {**FEATURE, 'layer_weights': {'relu5_3': 1.0}},
}
SCENARIOS = {
    'standard': {'gan_opt': {'type': 'AdversarialLoss', 'loss_weight': 5e-3}},
    'relativistic, masked': {
        'gan_opt': {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3, 'global_mean': True},
        'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0},
    },
    'focal, masked, high-pass': {
        'gan_opt': {'type': 'FocalRelativisticAdversarialLoss', 'loss_weight': 5e-3},
        'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0},
        'highpass_opt': {'type': 'HighPassView'},
    },
    'energy, masked': {
        'gan_opt': {'type': 'EnergyGANLoss'},
        'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0},
    },
    'energy, penalty, shared VGG': ENERGY,
    'energy, penalty, shared VGG, bf16': {**ENERGY, 'amp': 'bf16'},
    'accumulated': {'gan_opt': {'type': 'AdversarialLoss', 'loss_weight': 5e-3}, 'accumulate': 2},
}


def train(scenario: str, world_size: int, rank: int) -> dict:
    """Three iterations on a global batch of 4; the discriminator has no BatchNorm, whose statistics are per process."""
    torch.set_num_threads(1)
    opt = options(
        **{'model_type': 'GANSRModel', 'pixel_opt': PIXEL, 'discriminator': 'UNetDiscriminatorSN', 'ema_decay': 0.5}
        | SCENARIOS[scenario]
    )
    if opt['model_type'] == 'EnergyGANModel':
        opt['network_d'] = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1}
    elif opt['train']['gan_opt']['type'] == 'EnergyGANLoss':
        opt['network_d'] = {'type': 'TinyEnergy'}
    opt['train']['optim_g'] = opt['train']['optim_d'] = {'type': 'SGD', 'lr': 0.01}
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    torch.manual_seed(7)
    vgg = pretrained.load_feature_weights('vgg16', 'random')
    with mock.patch.object(pretrained, '_random_weights', return_value=vgg):  # one for both, as those of a file are
        model = build(opt)
    assert (getattr(model, 'cri_content', None) is not None) == ('shared VGG' in scenario)
    share = 4 // world_size
    data = [
        {key: value[rank * share : (rank + 1) * share] for key, value in batch.items()}
        for batch in batches(3, size=4, gt_size=32)
    ]
    logs = run(model, data)
    return {
        'logs': logs,
        'net_g': model.get_bare_model(model.net_g).state_dict(),
        'net_d': model.get_bare_model(model.net_d).state_dict(),
        'ema': model.net_g_ema.state_dict(),
        'objective': model.objective.state_dict(),
    }


if __name__ == '__main__':
    from basicsr.utils.dist_util import init_dist

    init_dist('pytorch')
    rank = int(os.environ['RANK'])
    results = {scenario: train(scenario, 2, rank) for scenario in SCENARIOS}
    if rank == 0:
        torch.save(results, sys.argv[1])
    torch.distributed.destroy_process_group()
