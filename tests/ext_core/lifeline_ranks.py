"""Three processes a scenario, in which ranks fail, die or end: ``lifeline_ranks.py FOLDER``.

What a scenario's processes print goes to FOLDER/NAME.txt, their exit statuses and the seconds until the last one's end
to FOLDER/NAME.json.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from ext_core import launch
from ext_core.errors import UserError
from ext_core.registration import register_all
from ext_core.training import lifeline

register_all()

from ext_core.training.stopping import StopSignal  # noqa: E402, which needs BasicSR

WORLD = 3
LONG = 60  # seconds; nobody waits for so long


def error(rank: int) -> None:
    if rank == 1:
        raise KeyError('a bug')
    dist.barrier()


def error_while_others_wait(rank: int) -> None:
    """For a GPU, or anything else that is no failing collective."""
    if rank == 1:
        raise UserError('bad option.\nMend it.')
    time.sleep(LONG)


def error_of_first(rank: int) -> None:
    if rank == 0:
        raise UserError('bad option.')
    time.sleep(LONG)


def error_of_all(rank: int) -> None:
    raise UserError('the loss is not finite.')


def killed(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def killed_with_worker(rank: int) -> None:
    """The worker of a DataLoader outlives it for a while."""
    if rank == 1:
        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG)


def killed_under_torchrun(rank: int) -> None:
    """Whose SIGTERM reaches the others when the failed collective has ended their training already."""
    try:
        with StopSignal():
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            dist.barrier()
    finally:
        time.sleep(0.5)


def first_killed(rank: int) -> None:
    if rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG)


def uneven_ends(rank: int) -> None:
    if rank == 1:
        time.sleep(1)
    print(f'done {rank}\n', end='', flush=True)


def interrupted(rank: int) -> None:
    raise KeyboardInterrupt


SCENARIOS: dict[str, Callable[[int], None]] = {
    function.__name__: function
    for function in (
        error,
        error_while_others_wait,
        error_of_first,
        error_of_all,
        killed,
        killed_with_worker,
        killed_under_torchrun,
        first_killed,
        uneven_ends,
        interrupted,
    )
}


def run_rank(rank: int, port: int, body: Callable[[int], None]) -> int:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    lifeline.GRACE = 1.0
    torch.set_num_threads(1)

    def job(root: Path, argv: list[str] | None) -> int:
        dist.init_process_group('gloo')
        launch._lifeline = lifeline.Lifeline(rank, WORLD)
        body(rank)
        return 0

    status = launch._run(job, Path(), None)
    print(f'left {rank}\n', end='', flush=True)
    return status


def run_scenario(name: str, folder: Path) -> None:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    with (folder / f'{name}.txt').open('w') as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    started, ranks = time.monotonic(), {}
    for rank in range(WORLD):
        pid = os.fork()
        if pid == 0:
            os._exit(run_rank(rank, port, SCENARIOS[name]))
        ranks[pid] = rank
    statuses = [0] * WORLD
    for number in range(WORLD):
        pid, status = os.wait()
        statuses[ranks[pid]] = os.waitstatus_to_exitcode(status)
        if number == 0 and name == killed_under_torchrun.__name__:
            time.sleep(0.2)
            for other in ranks.keys() - {pid}:
                os.kill(other, signal.SIGTERM)
    outcome = {'statuses': statuses, 'seconds': time.monotonic() - started}
    (folder / f'{name}.json').write_text(json.dumps(outcome))


def main() -> None:
    pids = []
    for name in SCENARIOS:
        pid = os.fork()
        if pid == 0:
            run_scenario(name, Path(sys.argv[1]))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == '__main__':
    main()
