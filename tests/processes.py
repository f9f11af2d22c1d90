"""Functions on several processes: joined by gloo as ``--launcher pytorch`` joins them, or under torchrun's agent.

The processes are forked from one that has imported everything once, which is quicker than the command torchrun by the
imports of each. tests/test_launch.py has the command itself.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher import LaunchConfig, elastic_launch

from ext_core.registration import register_all

register_all()

from narrow_vgg import narrow_vgg  # noqa: E402, which imports BasicSR

PLACES = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]


def _work(rank: int, count: int, port: int, join: bool, file: str, function: Callable, arguments: tuple) -> None:
    os.environ.update({'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count)})
    os.environ.update({'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'CUDA_VISIBLE_DEVICES': ''})
    torch.set_num_threads(1)
    narrow_vgg(pytest.MonkeyPatch())
    try:
        if join:
            from basicsr.utils.dist_util import init_dist

            init_dist('pytorch')
        result = {'value': function(rank, *arguments)}
        if join:
            torch.distributed.destroy_process_group()
    except BaseException:
        result = {'error': traceback.format_exc()}
    torch.save(result, file)
    os._exit(0)


def _server() -> Any:
    """Where processes are forked from."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['processes'])
    before, os.environ['PYTHONPATH'] = os.environ.get('PYTHONPATH'), os.pathsep.join(PLACES)
    forkserver.ensure_running()
    os.environ.pop('PYTHONPATH') if before is None else os.environ.update(PYTHONPATH=before)
    return context


def _started(function: Callable, arguments: tuple, output: Path) -> None:
    os.setsid()
    os.environ.update({'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background ...
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ... or under nohup
    with output.open('w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(function(*arguments))


def started(function: Callable[..., int], *arguments: Any, output: Path) -> BaseProcess:
    """Start a function of a module in a session of its own, as if it were a command.

    Args:
        function (Callable): What it returns is the exit status.
        output (Path): File that gets what it says.
    """
    process = _server().Process(target=_started, args=(function, arguments, output))
    output.touch()
    process.start()
    return process


def _agent(function: Callable, arguments: tuple, restarts: int) -> int:
    # looks less often than torchrun, which ends a process before it has said what it says where the machine is busy
    config = LaunchConfig(1, 1, 2, rdzv_backend='c10d', rdzv_endpoint='localhost:0', max_restarts=restarts,
                          start_method='fork', monitor_interval=0.5)  # fmt: skip
    try:
        elastic_launch(config, function)(*arguments)
    except ChildFailedError as error:
        print(error, flush=True)
        return 1
    return 0


def under_torchrun(function: Callable[..., Any], *arguments: Any, output: Path, restarts: int = 0) -> BaseProcess:
    """:func:`started` twice, as ``torchrun --standalone --nproc_per_node=2`` does.

    Args:
        restarts (int): ``--max-restarts``. Default: 0.

    Returns:
        BaseProcess: torchrun's agent.
    """
    return started(_agent, function, arguments, restarts, output=output)


def on_processes(function: Callable[..., Any], *arguments: Any, count: int = 2, join: bool = True) -> list[Any]:
    """What ``function(rank, *arguments)``, a function of a module, gives on each of ``count`` processes.

    Args:
        join (bool): Let them form a group first. Default: True.
    """
    context = _server()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        files = [f'{folder}/{rank}' for rank in range(count)]
        free.close()
        ranks = [
            context.Process(target=_work, args=(rank, count, port, join, file, function, arguments))
            for rank, file in enumerate(files)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(timeout=240)
            rank.kill()
        results = [torch.load(file, weights_only=True) if Path(file).exists() else {} for file in files]
    errors = '\n'.join(
        f'rank {rank}: {found.get("error", "killed")}' for rank, found in enumerate(results) if 'value' not in found
    )
    assert not errors, errors
    return [found['value'] for found in results]
