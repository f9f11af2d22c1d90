"""Many runs of commands, several at a time, that can be stopped anywhere and repeated.

A study is a list of jobs, each a list of steps, for instance train and evaluate. A step that has finished is not run
again; one that was interrupted is started again, and continues by itself if its command can (``--auto_resume``).
"""

import fcntl
import hashlib
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ext_core.errors import UserError
from ext_core.saving.checkpoint import atomic_write_text

_ROOT = str(Path(__file__).resolve().parents[2])
_POLL = 0.05  # seconds between looks at the processes
_TAIL = 15  # lines of a failed command's log that are shown


def fingerprint(*parts: object) -> str:
    """A hash of plain values; dictionaries that differ only in the order of their keys have the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """One command.

    Args:
        name (str): 'train', 'evaluate', ...; its output goes to ``<name>.log`` in the job's folder.
        command (Sequence[str]): Program and arguments. Exit status 0 means that it has finished.
        product (Path): A file that it leaves. Without it the step counts as not done.
        inputs (str): :func:`fingerprint` of what decides the product. Where it is not the recorded one, the step and
            those after it are run again.
    """

    name: str
    command: Sequence[str]
    product: Path
    inputs: str


class Job:
    """Steps that follow on one another, and the record of what is done.

    Args:
        name (str): Unique in the study.
        folder (Path): Gets the record, ``state.json``, and the logs.
        steps (Sequence[Step]): In their order.

    Raises:
        UserError: If the record is damaged.
    """

    def __init__(self, name: str, folder: Path, steps: Sequence[Step]):
        self.name = name
        self.folder = folder
        self.steps = list(steps)
        # a step depends on its own inputs and on those of all before it
        self._inputs = list(itertools.accumulate((step.inputs for step in steps), fingerprint))
        path = folder / 'state.json'
        try:
            self._state: dict[str, dict] = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
        except ValueError as error:
            raise UserError(f'{path} is damaged: {error}. Delete it, and {name} is run again.') from error

    def pending(self) -> list[Step]:
        """The steps after the last one that is done. Products of earlier ones may have been deleted."""
        for index in reversed(range(len(self.steps))):
            step, record = self.steps[index], self._state.get(self.steps[index].name, {})
            if record.get('done') and record['inputs'] == self._inputs[index] and step.product.is_file():
                return self.steps[index + 1 :]
        return list(self.steps)

    def record(self, step: Step, seconds: float, done: bool) -> None:
        """Note that a step's command ended. Its seconds add up over interruptions."""
        inputs, before = self._inputs[self.steps.index(step)], self._state.get(step.name, {})
        if before.get('inputs') == inputs and not before['done']:
            seconds += before['seconds']
        self._state[step.name] = {'inputs': inputs, 'seconds': seconds, 'done': done}
        atomic_write_text(json.dumps(self._state, indent=1) + '\n', self.folder / 'state.json')

    def seconds(self, step_name: str) -> float:
        """Time that a step's command has run, over all its parts."""
        return self._state.get(step_name, {}).get('seconds', 0.0)


@dataclass
class Outcome:
    """How a call of :func:`run_jobs` ended.

    Args:
        failed (dict[str, str]): Job to what went wrong, in a line.
        signal (int | None): The signal that stopped the study.
    """

    failed: dict[str, str]
    signal: int | None = None


def default_processes() -> tuple[int, int]:
    """Processes and threads of each that fill this machine: one process for each GPU, else for every two cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = torch.cuda.device_count() if torch.cuda.is_available() else max(1, cores // 2)
    return processes, max(1, cores // processes)


def run_jobs(
    jobs: Sequence[Job],
    processes: int = 1,
    threads: int = 1,
    on_progress: Callable[[Job], None] = lambda job: None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run what is pending, ``processes`` jobs at a time.

    A job that fails is reported, the others go on. Ctrl-C and SIGTERM are passed on to the commands, which may save
    their state; nothing more is started then.

    Args:
        jobs (Sequence[Job]): In the order in which they start.
        processes (int): Commands that run at the same time. With several GPUs each gets one of them in turn.
        threads (int): OMP_NUM_THREADS of each.
        on_progress (Callable[[Job], None]): Called after a job's last step.
        say (Callable[[str], None]): Gets a line for each start, end and failure.
    """
    return _Runner(jobs, processes, threads, on_progress, say).run()


@dataclass
class _Active:
    """A command at work."""

    job: Job
    step: Step
    log: IO[bytes]
    log_start: int  # where this attempt's output begins
    process: subprocess.Popen
    started: float


class _Runner:
    """The loop of :func:`run_jobs`. One thread: it starts processes and looks which have ended."""

    def __init__(self, jobs: Sequence[Job], processes: int, threads: int, on_progress, say):
        self.waiting = [job for job in jobs if job.pending()]
        self.on_progress, self.say = on_progress, say
        self.threads = threads
        self.slots: list[_Active | None] = [None] * processes
        self.outcome = Outcome({})
        self.gpus = _visible_gpus()
        self.count = itertools.count(len(jobs) - len(self.waiting) + 1)
        self.total = len(jobs)

    def run(self) -> Outcome:
        from ext_core.training.stopping import StopSignal  # BasicSR comes with it, which must be registered first

        with StopSignal() as stop:
            try:
                while self.waiting or any(self.slots):
                    if stop.received is not None and self.outcome.signal is None:
                        self.outcome.signal = stop.received
                        self._stop()
                    for slot in range(len(self.slots)):
                        self._look_at(slot)
                    time.sleep(_POLL)
            finally:  # whatever happens, no process is left behind
                for active in filter(None, self.slots):
                    active.process.kill()
                    active.process.wait()
                    self._close(active, done=False)
        return self.outcome

    def _stop(self) -> None:
        self.say('stopping: the running commands save what they have')
        self.waiting.clear()
        for active in filter(None, self.slots):
            active.process.terminate()

    def _look_at(self, slot: int) -> None:
        active = self.slots[slot]
        if active is not None:
            status = active.process.poll()
            if status is None:
                return
            self.slots[slot] = None
            self._close(active, done=status == 0)
            self._ended(active, status, slot)
        if self.slots[slot] is None and self.waiting:
            job = self.waiting.pop(0)
            self._start(job, slot, f'[{next(self.count)}/{self.total}] ')

    def _ended(self, active: _Active, status: int, slot: int) -> None:
        job, step = active.job, active.step
        what = f'{job.name}: {step.name}'
        if status == 0 and not step.product.is_file():
            self._fail(job, f'{what} ended without leaving {step.product}', active)
        elif status == 0:
            self.say(f'{what} finished after {job.seconds(step.name):.0f} s')
            if not job.pending():
                self.on_progress(job)
            elif self.outcome.signal is None:
                self._start(job, slot)
        elif self.outcome.signal is not None:
            self.say(f'{what} interrupted')
        else:
            self._fail(job, f'{what} failed with exit status {status}', active)

    def _start(self, job: Job, slot: int, number: str = '') -> None:
        step = job.pending()[0]
        job.folder.mkdir(parents=True, exist_ok=True)
        log = open(job.folder / f'{step.name}.log', 'ab')  # noqa: SIM115  # closed when the command ends
        try:
            # The command inherits the lock with its output, and so keeps it if this process is killed.
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            self._fail(job, f'{job.name}: {step.name} is still at work for another study; see {log.name}')
            return
        path = os.pathsep.join(filter(None, [_ROOT, os.environ.get('PYTHONPATH')]))  # for python -m, in any folder
        environment = {**os.environ, 'OMP_NUM_THREADS': str(self.threads), 'PYTHONPATH': path}
        if self.gpus:
            environment['CUDA_VISIBLE_DEVICES'] = self.gpus[slot % len(self.gpus)]
        start = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            step.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        self.slots[slot] = _Active(job, step, log, start, process, time.monotonic())
        self.say(f'{number}{job.name}: {step.name} started')

    @staticmethod
    def _close(active: _Active, done: bool) -> None:
        active.log.close()
        active.job.record(active.step, time.monotonic() - active.started, done)

    def _fail(self, job: Job, message: str, active: _Active | None = None) -> None:
        self.outcome.failed[job.name] = message
        self.say(message)
        if active is not None:
            text = Path(active.log.name).read_bytes()[active.log_start :].decode(errors='replace')
            self.say('\n'.join([f'  {active.log.name}:', *(f'    {line}' for line in text.splitlines()[-_TAIL:])]))


def _visible_gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES, where there are several; BasicSR would use all of them for one training."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return (named.split(',') if named else [str(index) for index in range(count)]) if count > 1 else []
