"""Run by torchrun: train with two further losses on this rank's half of each batch, rank 0 writes weights and logs.

Usage: losses_distributed.py OUTPUT
"""

import os
import sys

import torch

from ext_core.registration import register_all

register_all()

from own_losses import MODELS, data_for  # noqa: E402
from recipes import build, run  # noqa: E402

TERMS = {
    'charbonnier': {'type': 'CharbonnierLoss', 'loss_weight': 1.0},
    'own': {'type': 'SquaredLoss', 'loss_weight': 0.5},
}


def train(name: str, world_size: int, rank: int) -> dict:
    """Three iterations on a global batch of 4."""
    torch.set_num_threads(1)
    opt = MODELS[name](losses=TERMS, ema_decay=0.5)
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    model = build(opt)
    share = 4 // world_size
    data = [
        {key: value[rank * share : (rank + 1) * share] for key, value in batch.items()}
        for batch in data_for(name, size=4)
    ]
    logs = run(model, data)
    return {'logs': logs, 'net_g': model.get_bare_model(model.net_g).state_dict(), 'ema': model.net_g_ema.state_dict()}


if __name__ == '__main__':
    from basicsr.utils.dist_util import init_dist

    init_dist('pytorch')
    results = {name: train(name, 2, int(os.environ['RANK'])) for name in MODELS}
    if os.environ['RANK'] == '0':
        torch.save(results, sys.argv[1])
    torch.distributed.destroy_process_group()
