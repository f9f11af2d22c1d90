"""Functions on several processes at once, joined by gloo as ``--launcher pytorch`` joins them.

The processes are forked from one that has imported everything once, which is quicker than torchrun by the imports of
each. tests/test_launch.py and tests/test_elastic.py use torchrun itself.
"""

import multiprocessing
import os
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ext_core.registration import register_all

register_all()
PLACES = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]


def _work(rank: int, count: int, port: int, join: bool, file: str, function: Callable, arguments: tuple) -> None:
    os.environ.update({'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count)})
    os.environ.update({'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'CUDA_VISIBLE_DEVICES': ''})
    torch.set_num_threads(1)
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


def on_processes(function: Callable[..., Any], *arguments: Any, count: int = 2, join: bool = True) -> list[Any]:
    """What ``function(rank, *arguments)``, a function of a module, gives on each of ``count`` processes.

    Args:
        join (bool): Let them form a group first. Default: True.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['processes'])
    before, os.environ['PYTHONPATH'] = os.environ.get('PYTHONPATH'), os.pathsep.join(PLACES)  # for the server
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
        os.environ.pop('PYTHONPATH') if before is None else os.environ.update(PYTHONPATH=before)
        for rank in ranks:
            rank.join(timeout=240)
            rank.kill()
        results = [torch.load(file, weights_only=True) if Path(file).exists() else {} for file in files]
    errors = '\n'.join(
        f'rank {rank}: {found.get("error", "killed")}' for rank, found in enumerate(results) if 'value' not in found
    )
    assert not errors, errors
    return [found['value'] for found in results]
