"""Patches for several processes: starting them, and wrapping a network, with and without CUDA."""

import datetime
import os
import subprocess
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from basicsr.models.base_model import BaseModel
from basicsr.utils import dist_util
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ext_core.compat.patch import Patch, contains, rebind
from ext_core.errors import UserError

# Rank 0 validates alone while the others wait in a collective. The defaults (NCCL 10 min, gloo 30 min) would end the
# training at the first long validation.
TIMEOUT = datetime.timedelta(hours=12)


def _variable(name: str, launcher: str, remedy: str) -> str:
    if name not in os.environ:
        raise UserError(f'--launcher {launcher}: the environment variable {name} is not set. {remedy}')
    return os.environ[name]


def _join_group(backend: str, local_rank: int, **kwargs: Any) -> None:
    """Choose the device and the backend, and join the default process group."""
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f'{local_rank + 1} or more processes were started on a machine with {torch.cuda.device_count()} GPUs: '
                'start one process a GPU (torchrun --nproc_per_node).'
            )
        torch.cuda.set_device(local_rank)
    else:
        backend = 'gloo'  # nccl needs CUDA
    kwargs.setdefault('timeout', TIMEOUT)
    dist.init_process_group(backend=backend, **kwargs)


def init_dist_pytorch(backend: str = 'nccl', **kwargs: Any) -> None:
    """Join the group that torchrun describes in the environment; gloo without CUDA.

    Args:
        backend (str): Backend where CUDA is available. Default: 'nccl'.
        kwargs (Any): Further arguments of ``torch.distributed.init_process_group``.

    Raises:
        UserError: If the process was not started by torchrun.
    """
    rank = int(_variable('RANK', 'pytorch', 'Start with: torchrun --nproc_per_node=N basicsr/train.py ...'))
    num_devices = max(torch.cuda.device_count(), 1)
    _join_group(backend, int(os.environ.get('LOCAL_RANK', rank % num_devices)), **kwargs)


def init_dist_slurm(backend: str = 'nccl', port: int | None = None) -> None:
    """Join the group of a slurm job; gloo without CUDA.

    Args:
        backend (str): Backend where CUDA is available. Default: 'nccl'.
        port (int | None): Port of rank 0. Default: the variable MASTER_PORT, else 29500.

    Raises:
        UserError: Outside a slurm job.
    """
    remedy = 'Start inside a slurm job, with srun.'
    rank = int(_variable('SLURM_PROCID', 'slurm', remedy))
    nodes = _variable('SLURM_NODELIST', 'slurm', remedy)
    num_devices = torch.cuda.device_count()
    local_rank = rank % num_devices if num_devices else int(os.environ.get('SLURM_LOCALID', 0))
    try:
        hosts = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f'--launcher slurm: scontrol cannot resolve the nodes {nodes}: {error}. {remedy}') from error
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
    os.environ['WORLD_SIZE'] = _variable('SLURM_NTASKS', 'slurm', remedy)
    os.environ['LOCAL_RANK'] = str(local_rank)
    os.environ['RANK'] = str(rank)
    _join_group(backend, local_rank)


def _cure_start_method() -> None:
    stock = dist_util.init_dist

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if mp.get_start_method(allow_none=True) is None and 'fork' in mp.get_all_start_methods():
            mp.set_start_method('fork')
        stock(launcher, backend, **kwargs)

    rebind(stock, init_dist)


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Replaces ``BaseModel.model_to_device``: DistributedDataParallel on whatever device the model lives."""
    net = net.to(self.device)
    if self.opt['dist']:
        # device_ids must be None for a module on the CPU
        devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        find_unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=find_unused)
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net


PATCHES = [
    Patch(
        'start_method',
        "--launcher: BasicSR sets the start method 'spawn', and every DataLoader worker imports torch and BasicSR anew "
        'in every epoch (ten times slower)',
        lambda: contains(dist_util.init_dist, "set_start_method('spawn')"),
        _cure_start_method,
    ),
    Patch(
        'dist_init',
        "--launcher pytorch: 'ZeroDivisionError: integer modulo by zero' without CUDA; with it, a validation longer "
        'than 10 minutes ends the training',
        lambda: contains(dist_util._init_dist_pytorch, 'rank % num_gpus'),
        lambda: rebind(dist_util._init_dist_pytorch, init_dist_pytorch),
    ),
    Patch(
        'slurm_init',
        "--launcher slurm: 'ZeroDivisionError: integer modulo by zero' without CUDA; the same time limit",
        lambda: contains(dist_util._init_dist_slurm, 'proc_id % num_gpus'),
        lambda: rebind(dist_util._init_dist_slurm, init_dist_slurm),
    ),
    Patch(
        'model_to_device',
        'distributed training on the CPU: DistributedDataParallel is given the current CUDA device',
        lambda: contains(BaseModel.model_to_device, 'device_ids=[torch.cuda.current_device()]'),
        lambda: setattr(BaseModel, 'model_to_device', model_to_device),
    ),
]
