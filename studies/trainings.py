"""Trainings that run beside this process, as forks of it or as commands: their iterations, signals and ends."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ext_core import launch

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
_ITERATION = re.compile(rb'iter: +([\d,]+), lr:')
_RESUMED = re.compile(rb'Resuming training from epoch: \d+, iter: (\d+)')
PATIENCE = 300.0  # seconds without a new iteration, after which a training counts as hanging
GRACE = 60.0  # seconds in which a training has to end that was stopped, or has lost a rank


class Training:
    """A training that has been started.

    Args:
        pids (Sequence[int]): Its processes that are children of this one.
        log (Path): File with its output.
    """

    def __init__(self, pids: Sequence[int], log: Path):
        self.pids = list(pids)
        self.log = log
        self.statuses: dict[int, int] = {}  # of those that have ended, as subprocess gives them
        self.interrupted = False

    def everyone(self) -> list[int]:
        """Its processes and their descendants that live, ancestors first."""
        parents = _parents()
        found = [pid for pid in self.pids if pid in parents and pid not in self.statuses]
        for pid in found:  # grows on the way
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def ranks(self) -> list[int]:
        """The processes that train, without torchrun and data workers."""
        if len(self.pids) > 1:
            return [pid for pid in self.pids if pid not in self.statuses]
        parents = _parents()
        return [pid for pid in self.everyone() if parents.get(pid) == self.pids[0]] or self.pids

    def send(self, number: int) -> None:
        """Send a signal to the process groups of all at once, as a terminal and the kernel's out-of-memory killer of a
        container do."""
        groups = []
        for pid in self.everyone():
            with contextlib.suppress(ProcessLookupError):
                groups.append(os.getpgid(pid))
        for group in dict.fromkeys(groups):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)

    def ended(self) -> bool:
        """Whether all its processes have."""
        for pid in self.pids:
            if pid not in self.statuses:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.statuses[pid] = os.waitstatus_to_exitcode(status)
        return len(self.statuses) == len(self.pids)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, with all descendants; False where it has not after this time."""
        deadline = time.monotonic() + seconds
        others = self.everyone()
        while not self.ended() or any(pid in _parents() for pid in others):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def end(self) -> None:
        """Kill whatever is left of it."""
        while not self.wait(0.2):
            self.send(signal.SIGKILL)

    def iterations(self) -> list[int]:
        """Those that it has logged."""
        return [int(found.replace(b',', b'')) for found in _ITERATION.findall(self.log.read_bytes())]

    def finished(self) -> bool:
        """Wait for its end; False where no new iteration is logged for too long."""
        while not self.ended():
            before = len(self.iterations())
            if not self.until(lambda: len(self.iterations()) > before) and not self.ended():  # noqa: B023
                return False
        return self.wait(GRACE)

    def until(self, condition: Callable[[], bool], poll: float = 0.05) -> bool:
        """Wait for a condition; False where the training ends, or nothing happens, before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.ended() or time.monotonic() > deadline:
                return False
            time.sleep(poll)
        return True

    def sleep(self, seconds: float) -> bool:
        """Wait; False where the training ends before."""
        end = time.monotonic() + seconds
        return self.until(lambda: time.monotonic() >= end, poll=0.001)

    def tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors='replace')[-1500:]

    def resumed_from(self) -> int | None:
        """The iteration that it said it continues from."""
        found = _RESUMED.search(self.log.read_bytes())
        return int(found[1]) if found else None


def fork(root: Path, arguments: Sequence[str], processes: int, log: Path) -> Training:
    """Train with the arguments of ``basicsr/train.py`` in forks of this process, one a rank.

    This process itself must not have trained, started threads or opened an LMDB.
    """
    log.touch()
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(probe.getsockname()[1])}
    pids: list[int] = []
    for rank in range(processes):
        group = pids[0] if pids else 0
        pid = os.fork()
        if pid:
            with contextlib.suppress(OSError):  # the child does it too: whoever comes first
                os.setpgid(pid, group)
            pids.append(pid)
            continue
        status = 1
        try:
            os.setpgid(0, group)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            output = os.open(log, os.O_WRONLY | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = (open(n, 'w', closefd=False, buffering=1) for n in (1, 2))  # noqa: SIM115
            os.environ.update(ENVIRONMENT)
            if processes > 1:  # what torchrun tells a rank
                os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
            os.chdir(root)
            random.seed()  # as a new process has it
            status = launch.train(root, list(arguments))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return Training(pids, log)


def command(root: Path, arguments: Sequence[str], processes: int, log: Path) -> Training:
    """Train with the documented commands: ``python basicsr/train.py``, or that with torchrun."""
    train = [str(root / 'basicsr' / 'train.py'), *arguments]
    torchrun = ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}', '--standalone']
    with log.open('w') as output:
        process = subprocess.Popen(
            [sys.executable, *(torchrun if processes > 1 else []), *train],
            cwd=root,
            env=os.environ | ENVIRONMENT | {'PYTHONPATH': str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process.returncode = 0  # Training waits for it
    return Training([process.pid], log)


def _parents() -> dict[int, int]:
    """The parent of every process that runs; those that have ended and are not yet collected do not."""
    found = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / 'stat').read_text().rpartition(')')[2].split()[:2]
                if state != 'Z':
                    found[int(entry.name)] = int(parent)
    return found
