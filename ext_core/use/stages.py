"""Commands that follow on one another, each on every process that torchrun started.

The first process plans: it knows which commands are done, tells the others which are left, and keeps the record. Each
process then runs its own child of every command, with the same rank. A child rendezvouses at a port of its own command,
because torchrun's store would still hold what the children of the command before it wrote there.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.use.jobs import Job

if TYPE_CHECKING:
    from ext_core.train.stopping import StopSignal

_POLL = 0.05  # seconds between looks at the child, or at what the first process says
# seconds after which a signal is passed on to a child; launchers and terminals signal a whole group, the child included
_PASS_ON = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GROUP_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


@dataclass(frozen=True)
class Plan:
    """What to run.

    Args:
        job (Job): The commands, in their order, and the record of what is done.
        alone (frozenset[str]): Names of the steps that only the first process runs.
        files (dict[str, str]): Text files that the commands need, by their names in the job's folder.
    """

    job: Job
    alone: frozenset[str] = frozenset()
    files: dict[str, str] = field(default_factory=dict)


class _Interrupted(Exception):
    """A signal came while waiting for the first process."""


def run_in_order(plan: Callable[[], Plan], say: Callable[[str], None] = print) -> int:
    """Run what is not done yet; where a command was interrupted, it is started again.

    SIGINT and SIGTERM are passed on to the command, which may save its state; nothing more is started then.

    Args:
        plan (Callable[[], Plan]): Called by the first process only; it should write nothing.
        say (Callable[[str], None]): Gets a line at each start and end, on the first process.

    Returns:
        int: Exit status: 0; 128 + the number of the signal that stopped this process or its command; or 1 where the
        first process could not plan, which tells why.

    Raises:
        UserError: What ``plan`` raises; if the job is at work elsewhere; or if a command fails.
    """
    from ext_core.train.stopping import StopSignal  # BasicSR comes with it, which must be registered first

    with StopSignal() as stop:
        ranks = _Ranks(stop)
        try:
            if not ranks.rank:
                return _lead(ranks, plan, say)
            commands = ranks.hear('commands')
            for name, command in commands or ():
                status = _outcome(name, ranks.run(command, (name,)), ranks)
                if status:
                    return status
            return int(commands is None)
        except _Interrupted:
            assert stop.received is not None
            return 128 + stop.received


def _lead(ranks: '_Ranks', make_plan: Callable[[], Plan], say: Callable[[str], None]) -> int:
    """The first process: plan, tell, run, record."""
    try:
        plan = make_plan()
        lock = _lock(plan.job)
        for name, text in plan.files.items():
            atomic_write_text(text, plan.job.folder / name)
    except Exception:
        ranks.tell('commands', None)
        raise
    pending, total = plan.job.pending(), len(plan.job.steps)
    shared = [(step.name, list(step.command)) for step in pending if step.name not in plan.alone]
    ranks.tell('commands', shared)
    if not pending:
        say(f'{plan.job.name}: all is done already, in {plan.job.folder}')
    with lock:
        for number, step in enumerate(pending, start=total - len(pending) + 1):
            say(f'[{number}/{total}] {step.name} started')
            started = time.monotonic()
            kept = () if os.name == 'nt' else (lock.fileno(),)  # open files of ours for the child
            status = ranks.run(step.command, () if step.name in plan.alone else (step.name,), kept)
            done = status == 0 and step.product.is_file()
            plan.job.record(step, time.monotonic() - started, done)
            if status == 0 and not done:
                raise UserError(f'{step.name} ended without leaving {step.product}.')
            status = _outcome(step.name, status, ranks)
            if status:
                return status
            say(f'[{number}/{total}] {step.name} finished after {plan.job.seconds(step.name):.0f} s')
    return 0


def _outcome(name: str, status: int, ranks: '_Ranks') -> int:
    """Exit status to end with after a command's: 0 to go on.

    Raises:
        UserError: If the command failed.
    """
    if ranks.stop.received is not None:
        return 128 + ranks.stop.received
    number = -status if status < 0 else status - 128
    if number in _SIGNALS:  # it reached the command, perhaps on another process, and not this one
        return 128 + number
    if status:
        raise UserError(
            f'{name} failed with exit status {status}; its message stands above. Mend the cause and repeat the '
            f'command: it goes on with {name}.'
        )
    return 0


def _lock(job: Job) -> IO[str]:
    """An open file that no other run of the job can lock, nor one whose children are at work. Windows has no lock."""
    job.folder.mkdir(parents=True, exist_ok=True)
    lock = open(job.folder / '.lock', 'w')  # noqa: SIM115  # closed when the last command has ended
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows, where no child could keep it
        return lock
    except BlockingIOError:
        lock.close()
        raise UserError(
            f'{job.folder}: another run of {job.name}, or a command that outlived one, is at work there. '
            'Wait for its end.'
        ) from None
    return lock


# ---------------------------------------------------------------------- processes
class _Ranks:
    """This process among those that torchrun started, and what the first one tells the others."""

    def __init__(self, stop: 'StopSignal'):
        self.stop = stop
        self.rank = int(os.environ.get('RANK', '0'))
        self._store: Any = None
        if int(os.environ.get('WORLD_SIZE', '1')) > 1:
            from torch.distributed import PrefixStore, rendezvous

            store, _, _ = next(rendezvous('env://'))
            self._store = PrefixStore(f'stages/{os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")}', store)

    def tell(self, key: str, value: Any) -> None:
        if self._store is not None:
            self._store.set(key, json.dumps(value))

    def hear(self, key: str) -> Any:
        """Waits for the first process, which may be validating, as long as it takes."""
        while not self._store.check([key]):
            if self.stop.received is not None:
                raise _Interrupted
            time.sleep(_POLL)
        return json.loads(self._store.get(key))

    def run(self, command: Sequence[str], group: tuple[str, ...], keep_open: tuple[int, ...] = ()) -> int:
        """Run a command, in one group with the other processes' where the group has a name; its exit status."""
        environment = {key: value for key, value in os.environ.items() if group or key not in _GROUP_VARIABLES}
        if group and self._store is not None:
            key = f'port of {group[0]}'
            if self.rank == 0:
                with socket.socket() as free:
                    free.bind(('', 0))
                    self.tell(key, free.getsockname()[1])
            environment |= {'MASTER_PORT': str(self.hear(key)), 'TORCHELASTIC_USE_AGENT_STORE': 'False'}
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=keep_open)
        try:
            while child.poll() is None:
                if self.stop.received is not None:
                    try:
                        child.wait(_PASS_ON)
                    except subprocess.TimeoutExpired:
                        if os.name == 'nt':  # Ctrl-C has reached the child itself; it could handle no other signal
                            child.terminate()
                        else:
                            child.send_signal(self.stop.received)
                        child.wait()  # a second Ctrl-C ends the wait, and the child
                time.sleep(_POLL)
        finally:  # it is not left behind, whatever happens
            if child.poll() is None:
                child.kill()
                child.wait()
        return child.returncode
