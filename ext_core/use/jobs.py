"""Commands that follow one another, and the record of what is done, so that an interrupted job can be continued."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.options import yaml_safe

_POLL = 0.05  # seconds between looks at the command
# seconds after which a signal is passed on to it; launchers and terminals signal a whole group, the command included
_PASS_ON = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# that torchrun sets: a command of its own is no part of its group
_GROUP_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


def fingerprint(*parts: object) -> str:
    """A hash of plain values; dictionaries that differ only in the order of their keys have the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """What was kept as JSON; empty where it is absent or damaged, so that it is made anew."""
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True)
class Step:
    """One command, finished when its exit status is 0 and its product is there."""

    name: str
    command: Sequence[str]
    product: Path
    inputs: str  # fingerprint of what decides the product; where it has changed, this step and the next are run again


@dataclass(eq=False)
class Job:
    """Steps in their order, and the record of what is done, ``state.json``; UserError if it is damaged."""

    name: str
    folder: Path
    steps: Sequence[Step]

    def __post_init__(self) -> None:
        # a step depends on its own inputs and on those of all before it
        self._inputs = list(itertools.accumulate((step.inputs for step in self.steps), fingerprint))
        path = self.folder / 'state.json'
        try:
            self._state: dict[str, dict] = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
        except ValueError as error:
            raise UserError(f'{path} is damaged: {error}. Delete it, and {self.name} is run again.') from error

    def pending(self) -> list[Step]:
        """The steps after the last one that is done. Products of earlier ones may have been deleted."""
        for index in reversed(range(len(self.steps))):
            step, record = self.steps[index], self._state.get(self.steps[index].name, {})
            if record.get('done') and record['inputs'] == self._inputs[index] and step.product.is_file():
                return list(self.steps[index + 1 :])
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


def run_in_order(job: Job, files: Mapping[str, str]) -> int:
    """Run what is not done yet; where a command was interrupted, it is started again.

    SIGINT and SIGTERM are passed on to the command, which may save its state; nothing more is started then. Returns 0,
    or 128 + the number of the signal that stopped this process or its command.

    Args:
        files (Mapping[str, str]): Text files that the commands need, by their names in the job's folder.

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
            print(f'{job.name}: all is done already, in {job.folder}', flush=True)
        for number, step in enumerate(pending, start=total - len(pending) + 1):
            print(f'[{number}/{total}] {step.name} started', flush=True)
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
            print(f'[{number}/{total}] {step.name} finished after {job.seconds(step.name):.0f} s', flush=True)
    return 0


def training_part(opt: dict) -> dict:
    """What decides the weights, as it is read back from a file; validation and logging do not."""
    part = {key: value for key, value in opt.items() if key not in ('val', 'logger')}
    part['datasets'] = {key: value for key, value in opt['datasets'].items() if key == 'train'}
    return yaml_safe.parse(yaml_safe.dump(part))


def refuse_foreign_experiment(root: Path, opt: dict) -> None:
    """An experiment of this name with other options must neither be continued nor taken for the result.

    Raises:
        UserError: If there is one, with the options that differ.
    """
    from ext_core.train.resume import changes

    folder = root / 'experiments' / opt['name']
    file = folder / f'{opt["name"]}.yml'
    if not file.is_file() or not [*folder.glob('training_states/*.state'), *folder.glob('models/net_g_latest.pth')]:
        return
    there, ours = training_part(yaml_safe.read(file)), training_part(opt)
    differing = sorted(path for path, *_ in changes(there, ours))
    if differing:
        raise UserError(
            f'{folder} holds a training with other options ({", ".join(differing)}). Choose another name or '
            '--output, or move that folder away.'
        )
