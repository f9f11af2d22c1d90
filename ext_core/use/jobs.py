"""Commands that follow one another, and the record of what is done, so that an interrupted job can be continued."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.options import yaml_safe


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
