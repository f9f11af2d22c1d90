"""Everything that one training's folder tells, whole or not: state, curves, options, figures."""

import copy
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ext_core.errors import UserError
from ext_core.networks.complexity import parameter_count
from ext_core.networks.records import Curve, Curves, TrainingLog, read_curves, read_logs
from ext_core.networks.weight_files import option_file_in
from ext_core.options import yaml_safe
from ext_core.options.problems import examples
from ext_core.use.tables import lower_is_better

ABSENT = '–'
Point = tuple[int, float]  # iteration and value
Plots = dict[str, dict[int, Curve]]  # curves by tag, then by the number of the experiment
_FRESH = 300  # seconds without a new line after which an unfinished training counts as stopped
_DIGITS = 'where they have five digits'


@dataclass
class Experiment:
    """One training."""

    folder: Path  # experiments/NAME or results/NAME
    name: str  # how the page calls it
    options: dict[str, Any] | None = None  # content of its option file
    curves: Curves = field(default_factory=dict)  # TensorBoard's, completed from the log
    log: TrainingLog = field(default_factory=TrainingLog)
    running: bool = False  # it has not ended, and its files were written to a moment ago
    parameters: int | None = None  # of network_g; None where it cannot be built
    notes: list[str] = field(default_factory=list)  # what is missing or damaged, as sentences

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

    def section(self, name: str) -> dict[str, Any]:
        """A section of the option file; empty where there is none."""
        found = (self.options or {}).get(name)
        return found if isinstance(found, dict) else {}

    def figures(self) -> dict[str, tuple[Point | None, Point]]:
        """Best (None where it is not known what is better) and last value of each metric, by ``set/metric``."""
        from basicsr.utils.registry import MODEL_REGISTRY

        from ext_models.registries import look_up

        metrics = self.section('val').get('metrics')
        model = look_up(MODEL_REGISTRY, (self.options or {}).get('model_type'))
        better = dict(getattr(model, 'VALIDATION_FIGURES', {}))  # of the model itself
        for name, options in metrics.items() if isinstance(metrics, dict) else ():
            if isinstance(options, dict):
                better[name] = 'lower' if lower_is_better(options) else 'higher'
        found: dict[str, tuple[Point | None, Point]] = {}
        for tag, curve in self.curves.items():
            if not tag.startswith('metrics/'):
                continue
            choose = {'lower': min, 'higher': max}.get(str(better.get(tag.rsplit('/', 1)[1])))
            finite = [point for point in curve.items() if math.isfinite(point[1])]
            best = choose(finite, key=lambda point: point[1]) if choose and finite else None  # the first of equal ones
            last = max(curve)
            found[tag.removeprefix('metrics/')] = best, (last, curve[last])
        return found


def read_experiments(folders: list[Path]) -> list[Experiment]:
    """Experiments in the order of their folders; folders of one name are told apart by those above.

    Raises:
        UserError: If a folder does not exist, is named twice, or nothing is in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            what = 'is a link to what is not there' if folder.is_symlink() else 'is no folder'
            raise UserError(f'{folder} {what}. Name the folder of an experiment, such as experiments/train_esrgan.')
    real = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, path in zip(folders, real, strict=True) if real.count(path) > 1]
    if twice:
        raise UserError(f'{twice[0]} is named twice. Name each experiment once.')
    experiments = []
    for folder, path in zip(folders, real, strict=True):
        alike = sum(other.name == path.name for other in real) > 1  # experiments/a in two projects
        experiments.append(_read(folder, str(Path(*path.parts[-3:])) if alike else path.name))
    pictured = any(any((folder / 'visualization').rglob('*.png')) for folder in folders)
    if not pictured and not any(experiment.curves or experiment.options for experiment in experiments):
        raise UserError(
            f'There is no training in {", ".join(map(str, folders))}: no option file, no train_*.log, no TensorBoard '
            'files in tb_logger/, and no pictures in visualization/. Name folders that training left in experiments/.'
        )
    return experiments


def ways_to(folder: Path) -> list[Path]:
    """A folder as it is named, as the links that it is lead on, and as it is: ``experiments`` may be a link to another
    disk, and what BasicSR writes and names besides lies beside the link."""
    ways = [folder]
    while ways[-1].is_symlink():
        ways.append(ways[-1].parent / os.readlink(ways[-1]))
    return list(dict.fromkeys([*(Path(os.path.abspath(way)) for way in ways), folder.resolve()]))


def _read(folder: Path, name: str) -> Experiment:
    experiment = Experiment(folder, name)
    notes, real = experiment.notes, folder.resolve()
    tested = any(folder.glob('test_*.log'))  # a folder of results: tests copy no option file
    try:
        if option_file := option_file_in(folder):
            experiment.options = yaml_safe.read(option_file)
        elif not tested:
            notes.append(f'{folder} has no option file: its options and what is best are unknown.')
    except UserError as error:
        notes.append(f'The option file cannot be read, so options and what is best are unknown: {error}')

    log = experiment.log = read_logs(folder, _integer(experiment.section('val').get('val_freq')))
    beside = (place.parent.parent / 'tb_logger' / place.name for place in ways_to(folder))
    tensorboard = next((place for place in beside if place.is_dir()), real)
    curves: Curves = {}
    if any(tensorboard.glob('events.out.tfevents.*')):
        try:
            curves = read_curves(tensorboard)
        except Exception as error:  # the package promises no kinds; damaged files end in many
            notes.append(f'TensorBoard files in {tensorboard} cannot be read: {type(error).__name__}: {error}')
    # from the log what only it has: learning rates, and what damaged or missing files lack
    both = {tag: log.curves.get(tag, {}) | curves.get(tag, {}) for tag in [*curves, *log.curves]}
    experiment.curves = {tag: dict(sorted(curve.items())) for tag, curve in both.items()}
    lacking = sum(len(both[tag].keys() - curves.get(tag, {})) for tag in both if not re.fullmatch(r'lr(_\d+)?', tag))
    if lacking and not curves:
        notes.append(f'There are no curves in TensorBoard files; these are from the log, {_DIGITS}.')
    elif lacking:
        notes.append(
            f'TensorBoard files are damaged or lag behind. Values that are from the log instead, {_DIGITS}: {lacking}.'
        )
    elif not curves and not log.curves and experiment.options:
        notes.append('There are no curves: neither TensorBoard files nor a log with iterations.')

    files = [
        path
        for place in {folder.resolve(): folder, tensorboard.resolve(): tensorboard}.values()
        for kind in ('train_*.log', 'events.*')
        for path in place.glob(kind)
    ]
    lost = [path for path in (*files, *folder.rglob('*.png'), *folder.glob('*.yml')) if not path.exists()]
    if lost:
        notes.append(f'left out, since they are links to what is not there: {examples(list(map(str, lost)))}.')
    lately = any(time.time() - path.stat().st_mtime < _FRESH for path in files if path.exists())
    experiment.running = experiment.state != 'finished' and lately
    if not log.files and not tested:
        notes.append(f'{folder} has no train_*.log: there is no learning rate and no training time.')
    if experiment.running:
        notes.append(
            'It was written to less than five minutes ago and has not ended: perhaps the training is running. Make the '
            'page again for what comes.'
        )
    elif experiment.curves and log.files and not log.finished:
        notes.append(f'The training stopped at iteration {experiment.done:,} or later, before its end.')

    if network := experiment.section('network_g'):
        from basicsr.archs import build_network

        try:
            experiment.parameters = parameter_count(build_network(copy.deepcopy(network)))
        except Exception as error:  # a network's constructor may raise anything
            notes.append(f'network_g cannot be built, so its parameters are not counted: {error}')
    return experiment


def _integer(value: Any) -> int | None:
    """An option that should be a number above zero; options were written by people."""
    return int(value) if isinstance(value, int | float) and 1 <= value < math.inf else None


# ---------------------------------------------------------------------- curves by heading
_HEADINGS = {  # the first pattern that a tag begins with counts, after that of the MMD, which may stand anywhere
    'Validation': r'metrics/',
    'Maximum mean discrepancy': r'.*mmd',
    'Gap to real images': r'gap/',
    'Losses of the generator': r'l_(?!d_)',
    'Losses of the discriminator': r'l_d_',
    "Discriminator's outputs": r'out_d_',
    'Energies': r'energy|margin',
    'Mask': r'mask_',
    'Norms of gradients': r'grad_',
    'Learning rate': r'lr(_\d+)?$',
    'Others': r'',
}
_MMD = 'Maximum mean discrepancy'


def heading_of(tag: str) -> str:
    """The heading that a tag comes under."""
    return next(title for title in (_MMD, *_HEADINGS) if re.match(_HEADINGS[title], tag))


def plots_of(experiments: Sequence[Curves]) -> dict[str, Plots]:
    """Plots by heading, in the order that a reader wants them; tags in the order in which they appear."""
    found: dict[str, Plots] = {title: {} for title in _HEADINGS}
    for tag in dict.fromkeys(tag for curves in experiments for tag in curves):
        curves = {number: curves[tag] for number, curves in enumerate(experiments) if curves.get(tag)}
        if curves:
            found[heading_of(tag)][tag] = curves
    return {title: plots for title, plots in found.items() if plots}


# ---------------------------------------------------------------------- options side by side
def option_table(experiments: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Each option of any experiment and its value in all of them, as YAML writes it; names of experiments are left out.

    An option that an experiment does not have is :data:`ABSENT`, which is not the same as ``~`` (null).
    """

    def shown(value: Any) -> str:
        if isinstance(value, list | tuple):
            return f'[{", ".join(map(shown, value))}]'
        if isinstance(value, Mapping):
            return f'{{{", ".join(f"{key}: {shown(entry)}" for key, entry in value.items())}}}'
        return '~' if value is None else yaml_safe.dump({'value': value}).removeprefix('value: ').strip()

    def flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
        found: dict[str, str] = {}
        for key, value in options.items():  # an empty section is a value
            if isinstance(value, Mapping) and value:
                found |= flat(value, f'{prefix}{key}:')
            else:
                found[f'{prefix}{key}'] = shown(value)
        return found

    columns = [flat(options) for options in experiments]
    keys = [key for key in dict.fromkeys(key for column in columns for key in column) if key != 'name']
    # by where sections and options come first: a section stays together
    parents = {key: [key.rsplit(':', depth)[0] for depth in range(key.count(':'), -1, -1)] for key in keys}
    ranks = {place: rank for rank, place in enumerate(dict.fromkeys(place for key in keys for place in parents[key]))}
    keys.sort(key=lambda key: [ranks[place] for place in parents[key]])
    return [(key, [column.get(key, ABSENT) for column in columns]) for key in keys]
