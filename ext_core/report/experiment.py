"""Everything that one training's folder tells, whole or not."""

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.report.training_logs import TrainingLog, read_logs
from ext_core.saving.resume import Curves, read_curves

_FRESH = 300  # seconds without a new line after which an unfinished training counts as stopped
_DIGITS = 'where they have five digits'


@dataclass
class Experiment:
    """One training.

    Args:
        folder (Path): ``experiments/NAME`` or ``results/NAME``.
        name (str): How the page calls it.
        options (dict | None): Content of its option file.
        curves (dict): TensorBoard's, completed from the log.
        log (TrainingLog): Its text.
        running (bool): The training has not ended, and its files were written to a moment ago.
        notes (list[str]): What is missing or damaged, as sentences.
    """

    folder: Path
    name: str
    options: dict[str, Any] | None = None
    curves: Curves = field(default_factory=dict)
    log: TrainingLog = field(default_factory=TrainingLog)
    running: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The project that it was trained in: paths in its option file start there."""
        return self.folder.resolve().parent.parent

    @property
    def done(self) -> int:
        """The last iteration that anything was written of."""
        return max((step for curve in self.curves.values() for step in curve), default=0)

    @property
    def total(self) -> int | None:
        """``train:total_iter``."""
        return _integer(self.section('train').get('total_iter'))

    @property
    def state(self) -> str:
        """How far it is, in words."""
        if self.log.finished or (not self.log.files and self.total and self.done >= self.total):
            return 'finished'
        if self.running:
            return 'perhaps running'
        return 'not finished' if self.curves else 'no training'

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``val:metrics``: their options by name."""
        found = self.section('val').get('metrics')
        return (
            {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}
        )

    def section(self, name: str) -> dict[str, Any]:
        """A section of the option file; empty where there is none."""
        found = (self.options or {}).get(name)
        return found if isinstance(found, dict) else {}


def read_experiments(folders: list[Path]) -> list[Experiment]:
    """Experiments in the order of their folders; folders of one name are told apart by those above.

    Raises:
        UserError: If a folder does not exist, is named twice, or nothing is in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f'{folder} is no folder. Name the folder of an experiment, such as experiments/train_esrgan.'
            )
    real = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, path in zip(folders, real, strict=True) if real.count(path) > 1]
    if twice:
        raise UserError(f'{twice[0]} is named twice. Name each experiment once.')
    experiments = [_read(folder, name) for folder, name in zip(folders, _names(real), strict=True)]
    if not any(experiment.curves or experiment.options or pictured(experiment) for experiment in experiments):
        raise UserError(
            f'There is no training in {", ".join(map(str, folders))}: no option file, no train_*.log, no TensorBoard '
            'files in tb_logger/, and no pictures in visualization/. Name folders that training left in experiments/.'
        )
    return experiments


def _names(folders: list[Path]) -> list[str]:
    names = [folder.name for folder in folders]
    return [
        str(Path(*folder.parts[-3:])) if names.count(folder.name) > 1 else folder.name for folder in folders
    ]  # experiments/a in two projects


def pictured(experiment: Experiment) -> bool:
    """Whether training or testing saved images."""
    return next((experiment.folder / 'visualization').glob('*/*.png'), None) is not None


# ---------------------------------------------------------------------- reading
def _read(folder: Path, name: str) -> Experiment:
    experiment = Experiment(folder, name)
    experiment.options = _options(experiment)
    experiment.log = read_logs(folder, _integer(experiment.section('val').get('val_freq')))
    tensorboard = _tensorboard_folder(folder)
    experiment.curves = _completed(experiment, _tensorboard(experiment, tensorboard))
    experiment.running = experiment.state != 'finished' and _written_lately(folder, tensorboard)
    if not experiment.log.files and not _tested(folder):
        experiment.notes.append(f'{folder} has no train_*.log: there is no learning rate and no training time.')
    if experiment.running:
        experiment.notes.append(
            'It was written to less than five minutes ago and has not ended: perhaps the training is running. Make the '
            'page again for what comes.'
        )
    elif experiment.curves and experiment.log.files and not experiment.log.finished:
        experiment.notes.append(f'The training stopped at iteration {experiment.done:,} or later, before its end.')
    return experiment


def _options(experiment: Experiment) -> dict[str, Any] | None:
    """The option file that training copied; an archived experiment's has the name that it had before."""
    own = experiment.folder / f'{experiment.folder.resolve().name}.yml'
    path = next(iter([own] if own.is_file() else sorted(experiment.folder.glob('*.yml'))), None)
    if path is None and not _tested(experiment.folder):
        experiment.notes.append(f'{experiment.folder} has no option file: its options and what is best are unknown.')
    if path is None:
        return None
    try:
        return yaml_safe.read(path)
    except (UserError, UnicodeDecodeError) as error:
        experiment.notes.append(f'The option file cannot be read, so options and what is best are unknown: {error}')
        return None


def _tested(folder: Path) -> bool:
    """Whether it is a folder of results: tests copy no option file."""
    return any(folder.glob('test_*.log'))


def _tensorboard_folder(folder: Path) -> Path:
    """``tb_logger/NAME`` of the same project, or the folder itself if it has TensorBoard files."""
    real = folder.resolve()
    beside = real.parent.parent / 'tb_logger' / real.name
    return beside if beside.is_dir() else real


def _tensorboard(experiment: Experiment, folder: Path) -> Curves:
    if not any(folder.glob('events.out.tfevents.*')):
        return {}
    try:
        return read_curves(folder)
    except Exception as error:  # the package promises no kinds; damaged files end in many
        experiment.notes.append(f'TensorBoard files in {folder} cannot be read: {type(error).__name__}: {error}')
        return {}


def _completed(experiment: Experiment, curves: Curves) -> Curves:
    """TensorBoard's curves with what only the log has: learning rates, and what damaged or missing files lack."""
    log = experiment.log.curves
    lacking = 0
    completed: Curves = dict(curves)
    for tag, curve in log.items():
        missing = {step: value for step, value in curve.items() if step not in curves.get(tag, {})}
        if missing:
            completed[tag] = dict(sorted({**curves.get(tag, {}), **missing}.items()))
            lacking += 0 if tag == 'lr' or tag.startswith('lr_') else len(missing)
    if lacking and not curves:
        experiment.notes.append(f'There are no curves in TensorBoard files; these are from the log, {_DIGITS}.')
    elif lacking:
        experiment.notes.append(
            f'TensorBoard files are damaged or lag behind. Values that are from the log instead, {_DIGITS}: {lacking}.'
        )
    elif not curves and not log and experiment.options:
        experiment.notes.append('There are no curves: neither TensorBoard files nor a log with iterations.')
    return completed


def _written_lately(*folders: Path) -> bool:
    files = [path for folder in folders for kind in ('train_*.log', 'events.*') for path in folder.glob(kind)]
    return any(time.time() - path.stat().st_mtime < _FRESH for path in files)


def _integer(value: Any) -> int | None:
    """An option that should be a number above zero; options were written by people."""
    return int(value) if isinstance(value, int | float) and 1 <= value < math.inf else None
