"""Many commands at a time: started, watched, passed a signal, and recorded."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from ext_core.use.jobs import Job, Step

_POLL = 0.05  # seconds between looks at the processes
_TAIL = 15  # lines of a failed command's log that are shown


@dataclass
class Outcome:
    """How a study ended: job to what went wrong, in a line; and the signal that stopped it."""

    failed: dict[str, str]
    signal: int | None = None


@dataclass
class _Active:
    """A command at work."""

    job: Job
    step: Step
    log: IO[bytes]
    log_start: int  # where this attempt's output begins
    process: subprocess.Popen
    started: float

    def close(self, done: bool) -> None:
        self.log.close()
        self.job.record(self.step, time.monotonic() - self.started, done)


def run_jobs(
    jobs: Sequence[Job],
    processes: int = 1,
    threads: int = 1,
    on_progress: Callable[[Job], None] = lambda job: None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run what is pending, ``processes`` jobs at a time, in one thread that starts commands and looks which have ended.

    A job that fails is reported, the others go on. Ctrl-C and SIGTERM are passed on to the commands, which may save
    their state; nothing more is started then.

    Args:
        jobs (Sequence[Job]): In the order in which they start.
        processes (int): Commands that run at the same time. With several GPUs each gets one of them in turn.
        threads (int): OMP_NUM_THREADS of each.
        on_progress (Callable[[Job], None]): Called after a job's last step.
        say (Callable[[str], None]): Gets a line for each start, end and failure.
    """
    from ext_core.train.stopping import StopSignal  # BasicSR comes with it, which must be registered first

    waiting = [job for job in jobs if job.pending()]
    number = len(jobs) - len(waiting)
    slots: list[_Active | None] = [None] * processes
    outcome = Outcome({})
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = (os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(count)))).split(',')

    def fail(job: Job, message: str) -> None:
        outcome.failed[job.name] = message
        say(message)

    def start(job: Job, slot: int, prefix: str = '') -> None:
        step = job.pending()[0]
        job.folder.mkdir(parents=True, exist_ok=True)
        log = open(job.folder / f'{step.name}.log', 'ab')  # noqa: SIM115  # closed when the command ends
        try:
            # the command inherits the lock with its output, and so keeps it if this process is killed
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            fail(job, f'{job.name}: {step.name} is still at work for another study; see {log.name}')
            return
        # a step may be `python -m`: it imports the packages beside the study, not those that are installed
        paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get('PYTHONPATH')])]
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': os.pathsep.join(paths)}
        if count > 1:  # BasicSR would use all of them for one training
            environment['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            step.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        slots[slot] = _Active(job, step, log, begin, process, time.monotonic())
        say(f'{prefix}{job.name}: {step.name} started')

    with StopSignal() as stop:
        try:
            while waiting or any(slots):
                if stop.received is not None and outcome.signal is None:
                    outcome.signal = stop.received
                    say('stopping: the running commands save what they have')
                    waiting.clear()
                    for running in filter(None, slots):
                        running.process.terminate()
                for slot, active in enumerate(slots):
                    if active is not None:
                        status = active.process.poll()
                        if status is None:
                            continue
                        slots[slot], job, step = None, active.job, active.step
                        active.close(done=status == 0)
                        what = f'{job.name}: {step.name}'
                        if status == 0 and not step.product.is_file():
                            fail(job, f'{what} ended without leaving {step.product}')
                        elif status == 0:
                            say(f'{what} finished after {job.seconds(step.name):.0f} s')
                            if not job.pending():
                                on_progress(job)
                            elif outcome.signal is None:
                                start(job, slot)
                        elif outcome.signal is not None:
                            say(f'{what} interrupted')
                        else:
                            fail(job, f'{what} failed with exit status {status}')
                        if job.name in outcome.failed:
                            text = Path(active.log.name).read_bytes()[active.log_start :].decode(errors='replace')
                            tail = [f'    {line}' for line in text.splitlines()[-_TAIL:]]
                            say('\n'.join([f'  {active.log.name}:', *tail]))
                    if slots[slot] is None and waiting:
                        number += 1
                        start(waiting.pop(0), slot, f'[{number}/{len(jobs)}] ')
                time.sleep(_POLL)
        finally:  # whatever happens, no process is left behind
            for running in filter(None, slots):
                running.process.kill()
                running.process.wait()
                running.close(done=False)
    return outcome
