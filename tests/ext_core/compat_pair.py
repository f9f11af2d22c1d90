"""One of two processes that train BasicSR's SRModel over gloo and validate on rank 0: ``compat_pair.py FOLDER STATE``.

STATE is 'patched', or 'stock': then the two failures that come before the validation (joining a group and wrapping the
network without CUDA) are bridged here. The outcome is written to FOLDER/rank.json.
"""

import datetime
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from compat_tools import outcome
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ext_core import compat


class Photos(Dataset):
    """Three constant images, whose LQ and GT differ by one grey level in the validation set."""

    opt = {'name': 'photos'}

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, object]:
        return {'lq': torch.full((3, 8, 8), 0.5), 'gt': torch.full((3, 8, 8), 0.5), 'lq_path': f'{index}.png'}


def options(folder: Path) -> dict:
    """Options of an SRModel on this rank."""
    return {
        'model_type': 'SRModel', 'num_gpu': 0, 'dist': True, 'is_train': True, 'scale': 1,
        'rank': int(os.environ['RANK']), 'world_size': 2, 'network_g': {'type': 'NormalisingNet'},
        'path': {'models': str(folder), 'training_states': str(folder)},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [9]}},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    }  # fmt: skip


def register_network() -> None:
    """A network with buffers, which DistributedDataParallel broadcasts in every forward."""
    from basicsr.utils.registry import ARCH_REGISTRY

    class NormalisingNet(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    ARCH_REGISTRY.register(NormalisingNet)


def join(state: str) -> None:
    """Join the group of two as ``--launcher pytorch`` does, or bridge what fails there without the patches."""
    from basicsr.utils.dist_util import init_dist

    if state == 'patched':
        init_dist('pytorch')
        assert dist.get_backend() == 'gloo'
    else:
        from ext_core.compat.distribution import model_to_device

        dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=5))
        model_to_device()


def train(folder: Path) -> None:
    """Two iterations with different data on each rank, each with a validation."""
    from basicsr.models import build_model

    torch.manual_seed(0)
    model, rank = build_model(options(folder)), dist.get_rank()
    for iteration in (1, 2):
        model.feed_data({'lq': torch.rand(2, 3, 8, 8), 'gt': torch.full((2, 3, 8, 8), float(rank))})
        model.optimize_parameters(iteration)
        model.validation(DataLoader(Photos()), iteration, None)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.net_g.parameters()])
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    assert torch.equal(*both), 'the ranks have trained apart'


def main() -> None:
    """Write the outcome of this rank."""
    folder, state = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    compat.import_basicsr()
    if state == 'patched':
        compat.apply()
    join(state)
    register_network()
    (folder / f'{os.environ["RANK"]}.json').write_text(json.dumps(outcome(lambda: train(folder))))
    os._exit(0)  # a group that is out of step cannot be taken down


if __name__ == '__main__':
    main()
