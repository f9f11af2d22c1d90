"""Run by torchrun: MMDLoss behind a small network on this rank's half of a batch; each rank writes what it got.

Usage: mmd_distributed.py OUTPUT_FOLDER
"""

import os
import sys
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from ext_core.registration import register_all

register_all()

from basicsr.utils.registry import LOSS_REGISTRY  # noqa: E402

from ext_losses import mmd_loss  # noqa: E402
from ext_losses.mmd import mmd2  # noqa: E402

SCENARIOS: dict[str, dict] = {
    'image, biased': {},
    'image, unbiased, median': {'estimator': 'unbiased', 'bandwidth': 'median'},
    'patch, norm': {'space': 'patch', 'squared': False},
    'pixel, linear': {'space': 'pixel', 'kernel': 'linear', 'highpass': None, 'max_samples': 10**6},
    'patch, rff': {'space': 'patch', 'estimator': 'rff', 'num_features': 32},
    'rff, median, norm': {'estimator': 'rff', 'bandwidth': 'median', 'squared': False, 'num_features': 32},
}


def batches() -> tuple[Tensor, Tensor]:
    """Global batches of 4 generated and 4 real images."""
    generator = torch.Generator().manual_seed(5)
    x, y = torch.rand(2, 4, 3, 24, 24, generator=generator, dtype=torch.float64)
    return x, 0.3 * y + 0.4


def step(scenario: str, world_size: int, rank: int) -> dict[str, Tensor]:
    """Value of the loss and gradient of the network's weights."""
    torch.manual_seed(0)
    net: nn.Module = nn.Conv2d(3, 3, 3, padding=1).double()
    if world_size > 1:
        net = nn.parallel.DistributedDataParallel(net)
    loss = LOSS_REGISTRY.get('MMDLoss')(loss_weight=2.0, sync=True, **SCENARIOS[scenario]).double()
    share = 4 // world_size
    x, y = (z[rank * share : (rank + 1) * share] for z in batches())
    torch.manual_seed(7 + rank)  # ranks draw differently, as in training
    value = loss(net(x), y)
    value.backward()
    gradients = {name.removeprefix('module.'): parameter.grad for name, parameter in net.named_parameters()}
    return {'value': value.detach(), **gradients}


def subsampled(rank: int) -> dict:
    """More samples than ``max_samples``: each rank contributes a random part. Value, and samples compared."""
    counts = []
    with mock.patch.object(mmd_loss, 'mmd2', lambda x, y, *rest: counts.append(len(x)) or mmd2(x, y, *rest)):
        torch.manual_seed(7 + rank)
        loss = LOSS_REGISTRY.get('MMDLoss')(space='pixel', sync=True, max_samples=20)
        return {'value': loss.double()(*batches()), 'counts': counts}


if __name__ == '__main__':
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo')
    rank = int(os.environ['RANK'])
    results: dict = {scenario: step(scenario, 2, rank) for scenario in SCENARIOS}
    results['subsampled'] = subsampled(rank)
    torch.save(results, Path(sys.argv[1]) / f'{rank}.pth')
    torch.distributed.destroy_process_group()
