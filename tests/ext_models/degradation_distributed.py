"""Run by torchrun: train the degradation model on this rank's half of each batch, rank 0 writes weights and logs.

Usage: degradation_distributed.py OUTPUT
"""

import os
import sys

import torch

from ext_core.registration import register_all

register_all()

from degradation import MMD, PIXEL, degradation_options, unpaired  # noqa: E402
from recipes import build, run  # noqa: E402

VARIANTS = {'mmd': False, 'mmd and gan': True}


def train(variant: str, world_size: int, rank: int) -> dict:
    """Two iterations on a global batch of 4."""
    torch.set_num_threads(1)
    plain = {'type': 'SGD', 'lr': 0.01}
    opt = degradation_options(
        adversarial=VARIANTS[variant],
        pixel_opt=PIXEL,
        mmd_opt=MMD | {'sync': True, 'loss_weight': 1.0},
        ema_decay=0.5,
        optim_g=plain,
        log_gradient_norms=2,
    )
    if VARIANTS[variant]:
        opt['train']['optim_d'] = plain
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    model = build(opt)
    share = 4 // world_size
    data = [
        {key: value[rank * share : (rank + 1) * share] for key, value in batch.items()} for batch in unpaired(2, size=4)
    ]
    logs = run(model, data)
    return {'logs': logs, 'net_g': model.get_bare_model(model.net_g).state_dict(), 'ema': model.net_g_ema.state_dict()}


if __name__ == '__main__':
    from basicsr.utils.dist_util import init_dist

    init_dist('pytorch')
    results = {variant: train(variant, 2, int(os.environ['RANK'])) for variant in VARIANTS}
    if os.environ['RANK'] == '0':
        torch.save(results, sys.argv[1])
    torch.distributed.destroy_process_group()
