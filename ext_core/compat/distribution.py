"""Patches for several processes: starting them, and wrapping a network, with and without CUDA."""

import datetime
import os
import secrets
import subprocess
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from basicsr.models.base_model import BaseModel
from basicsr.utils import dist_util
from torch import nn
from torch.distributed import distributed_c10d
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ext_core.compat.patch import cures, rebind
from ext_core.errors import UserError

# Rank 0 validates video models alone while the others wait in a collective. The defaults (NCCL 10 min, gloo 30 min)
# would end the training at the first long validation.
TIMEOUT = datetime.timedelta(hours=12)
# In which all processes must have met: nobody tells the others of one that ended before, unless torchrun does.
MEETING = datetime.timedelta(minutes=10)


def _variable(name: str, launcher: str, remedy: str) -> str:
    if name not in os.environ:
        raise UserError(f'--launcher {launcher}: the environment variable {name} is not set. {remedy}')
    return os.environ[name]


def _join_group(backend: str, local_rank: int, **kwargs: Any) -> None:
    """Choose the device and the backend, and join the default process group."""
    if torch.cuda.is_available():
        processes = max(local_rank + 1, int(os.environ.get('LOCAL_WORLD_SIZE', '1')))  # the same on each of them
        if processes > torch.cuda.device_count():
            raise UserError(
                f'{processes} or more processes were started on a machine with {torch.cuda.device_count()} GPUs: '
                'start one process a GPU (torchrun --nproc_per_node).'
            )
        torch.cuda.set_device(local_rank)
    else:
        backend = 'gloo'  # nccl needs CUDA
    timeout = kwargs.pop('timeout', TIMEOUT)
    if os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True':
        kwargs |= _own_part_of_store()
    try:
        dist.init_process_group(backend=backend, timeout=MEETING, **kwargs)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        minutes = MEETING.total_seconds() / 60
        raise UserError(
            f'the processes have not all met within {minutes:.0f} minutes: one has ended, or cannot be reached '
            f'({str(error).splitlines()[0]}). Look at the messages of the others, then start again.'
        ) from error
    distributed_c10d._set_pg_timeout(timeout, dist.group.WORLD)


def _own_part_of_store() -> dict[str, Any]:
    """Where the processes that torchrun started now find each other, and not those of before a restart.

    torchrun keeps its store over restarts, with the addresses of processes that are dead (pytorch issue 135712). Its
    count of restarts differs between machines. So rank 0 draws a name for this round. The others know that a name is
    the present one by rank 0's answer to a number that each of them has drawn.

    Returns:
        dict[str, Any]: Arguments of ``init_process_group``.
    """
    rank, world_size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    store = dist.TCPStore(*address, is_master=False, timeout=TIMEOUT, wait_for_workers=False)
    drawn = secrets.token_hex(8)
    if rank == 0:
        store.set('round', name := drawn)
        for other in range(1, world_size):
            store.set(f'{drawn}/answer/{other}', store.get(f'{drawn}/question/{other}').decode())
    else:  # the name of an earlier round may still stand there, but nobody answers for it any more
        name, asked = '', ''
        while not (asked and store.check([asked]) and store.get(asked).decode() == drawn):
            time.sleep(0.05)
            if (present := store.get('round').decode()) != name:
                name, asked = present, f'{present}/answer/{rank}'
                store.set(f'{name}/question/{rank}', drawn)
    return {'store': dist.PrefixStore(name, store), 'rank': rank, 'world_size': world_size}


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


@cures(
    "--launcher: BasicSR sets the start method 'spawn', and every DataLoader worker imports torch and BasicSR anew "
    'in every epoch (ten times slower)'
)
def start_method() -> None:
    stock = dist_util.init_dist

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if mp.get_start_method(allow_none=True) is None and sys.platform == 'linux':  # not safe on macOS
            mp.set_start_method('fork')
        stock(launcher, backend, **kwargs)

    rebind(stock, init_dist)


def _mean_in_order_of_ranks(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Gradients of a bucket averaged over ranks, each value added up in the order of ranks.

    gloo's own order depends on where in a bucket a value stands, and DistributedDataParallel fills the buckets of the
    first iteration after each start in another order than the later ones: with three ranks or more a resumed run would
    differ from the uninterrupted one in the last bit.
    """
    parts = [torch.empty_like(bucket.buffer()) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, bucket.buffer())
    mean = torch.zeros_like(parts[0])
    for part in parts:
        mean += part
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(mean.div_(len(parts)))
    return done


@cures(
    "--launcher pytorch: 'ZeroDivisionError: integer modulo by zero' without CUDA; with it, a validation longer "
    'than 10 minutes ends the training'
)
def dist_init() -> None:
    rebind(dist_util._init_dist_pytorch, init_dist_pytorch)


@cures("--launcher slurm: 'ZeroDivisionError: integer modulo by zero' without CUDA; the same time limit")
def slurm_init() -> None:
    rebind(dist_util._init_dist_slurm, init_dist_slurm)


@cures('distributed training on the CPU: DistributedDataParallel is given the current CUDA device')
def model_to_device() -> None:
    def model_to_device(self: Any, net: nn.Module) -> nn.Module:
        """DistributedDataParallel on the model's device; on the CPU it adds up gradients in one order at all times."""
        net = net.to(self.device)
        if self.opt['dist']:
            # device_ids must be None for a module on the CPU
            devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
            wrapped = DistributedDataParallel(
                net,
                device_ids=devices,
                find_unused_parameters=bool(self.opt.get('find_unused_parameters')),
                gradient_as_bucket_view=bool(self.opt.get('gradient_as_bucket_view')),
            )
            if devices is None and dist.get_world_size() > 2:
                wrapped.register_comm_hook(None, _mean_in_order_of_ranks)
            return wrapped
        return DataParallel(net) if self.opt['num_gpu'] > 1 else net

    BaseModel.model_to_device = model_to_device
