"""Commands that follow on one another, one at a time."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.use.jobs import Job

_POLL = 0.05  # seconds between looks at the command
# seconds after which a signal is passed on to it; launchers and terminals signal a whole group, the command included
_PASS_ON = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# that torchrun sets: a command of its own is no part of its group
_GROUP_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


def run_in_order(job: Job, files: Mapping[str, str], say: Callable[[str], None] = print) -> int:
    """Run what is not done yet; where a command was interrupted, it is started again.

    SIGINT and SIGTERM are passed on to the command, which may save its state; nothing more is started then.

    Args:
        job (Job): The commands, in their order, and the record of what is done.
        files (Mapping[str, str]): Text files that the commands need, by their names in the job's folder.
        say (Callable[[str], None]): Gets a line at each start and end.

    Returns:
        int: Exit status: 0, or 128 + the number of the signal that stopped this process or its command.

    Raises:
        UserError: If the job is at work elsewhere, or a command fails.
    """
    # BasicSR comes with them, which must be registered first
    from ext_core.train.in_use import in_use
    from ext_core.train.stopping import StopSignal

    environment = {name: value for name, value in os.environ.items() if name not in _GROUP_VARIABLES}
    with in_use(job.folder), StopSignal() as stop:
        job.folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            atomic_write_text(text, job.folder / name)
        pending, total = job.pending(), len(job.steps)
        if not pending:
            say(f'{job.name}: all is done already, in {job.folder}')
        for number, step in enumerate(pending, start=total - len(pending) + 1):
            say(f'[{number}/{total}] {step.name} started')
            started = time.monotonic()
            child = subprocess.Popen(step.command, stdin=subprocess.DEVNULL, env=environment)
            try:
                while child.poll() is None and stop.received is None:
                    time.sleep(_POLL)
                if stop.received is not None:
                    try:
                        child.wait(_PASS_ON)
                    except subprocess.TimeoutExpired:
                        if os.name == 'nt':  # Ctrl-C has reached the child itself; it could handle no other signal
                            child.terminate()
                        else:
                            child.send_signal(stop.received)
                        child.wait()  # a second Ctrl-C ends the wait, and the child
            finally:  # it is not left behind, whatever happens
                if child.poll() is None:
                    child.kill()
                    child.wait()
            status = child.returncode
            done = status == 0 and step.product.is_file()
            job.record(step, time.monotonic() - started, done)
            if stop.received is not None:
                return 128 + stop.received
            stopped_by = -status if status < 0 else status - 128
            if stopped_by in _SIGNALS:  # it reached the command, and not this process
                return 128 + stopped_by
            if status:
                raise UserError(
                    f'{step.name} failed with exit status {status}; its message stands above. Mend the cause and '
                    f'repeat the command: it goes on with {step.name}.'
                )
            if not done:
                raise UserError(f'{step.name} ended without leaving {step.product}.')
            say(f'[{number}/{total}] {step.name} finished after {job.seconds(step.name):.0f} s')
    return 0
