"""What the processes of runs do that fail."""

import os
import signal
import sys
import time
from pathlib import Path

import torch.distributed as dist

from ext_core import launch
from ext_core.errors import UserError
from ext_core.train.stopping import StopSignal

LONG = 300  # seconds; nobody waits for so long


def bug_of_one(rank: int) -> None:
    if rank == 1:
        raise KeyError('a bug')
    dist.barrier()


def error_of_one(rank: int) -> None:
    """While the other is in no collective, and has its own way with SIGTERM."""
    with StopSignal() as stop:
        if rank == 1:
            raise UserError('bad option.\nMend it.')
        while not stop.received:
            time.sleep(0.1)
    dist.barrier()


def error_of_all(rank: int) -> None:
    raise UserError('the loss is not finite.')


def killed(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def uneven_ends(rank: int) -> None:
    if rank == 1:
        time.sleep(1)
    print(f'done {rank}\n', end='', flush=True)


SCENARIOS = {function.__name__: function for function in (bug_of_one, error_of_one, error_of_all, killed, uneven_ends)}


def start(scenario: str) -> None:
    """As ``basicsr/train.py`` does."""

    def job(root: Path, argv: list[str] | None) -> int:
        dist.init_process_group('gloo')
        SCENARIOS[scenario](dist.get_rank())
        return 0

    status = launch._run(job, Path(), None)
    print('left\n', end='', flush=True)
    sys.exit(status)
