"""What a training left in its folder beside the weights: curves, learning rates, time, figures of validation.

One reader for its logs, one for its TensorBoard files.
"""

import contextlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

Curve = dict[int, float]  # iteration to value
Curves = dict[str, Curve]  # by tag, without ``losses/``

_STAMP = re.compile(r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ \w+: ')
_START = re.compile(r'Start training from epoch: \d+, iter: (\d+)')
_STEP = re.compile(r'\[epoch:\s*\d+, iter:\s*([\d,]+), lr:\(([^)]*)\)\] ?(?:\[eta[^\]]*\] )?(.*)')
_METRIC = re.compile(r'\t # ([^:]+): (\S+)(?:\s+Best: (\S+) @ (\d+) iter)?')


class Figure(NamedTuple):
    """A metric of a validation as the log has it; the best so far with its iteration."""

    dataset: str
    metric: str
    value: float
    best: float
    best_iter: int


@dataclass
class TrainingLog:
    """What all logs of one experiment tell together.

    Args:
        curves (dict): By tag as :func:`read_curves` names them, and ``lr``, ``lr_1``, ...: learning rates of the first
            optimizer's parameter groups. Values have the log's five digits.
        figures (list[Figure]): Of all validations, in their order.
        iteration (int): The last one that was printed; 0 where there is none.
        seconds (float | None): Spent between the start and the last line of each training, added up over resumptions.
        finished (bool): The last training came to its end.
        files (int): Logs that there are.
    """

    curves: Curves = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    iteration: int = 0
    seconds: float | None = None
    finished: bool = False
    files: int = 0

    def add(self, tag: str, step: int, text: str) -> None:
        """One value of a curve; what is no number is left out."""
        try:
            self.curves.setdefault(tag, {})[step] = float(text)
        except ValueError:
            return


def read_logs(folder: Path, val_freq: int | None = None) -> TrainingLog:
    """All logs of an experiment, the oldest first, which BasicSR's time in their names gives.

    Args:
        folder (Path): Of the experiment.
        val_freq (int | None): ``val:val_freq``: logs do not say at which iteration a validation was, so it is taken for
            the next multiple. None: for the last iteration that was printed.
    """
    log = TrainingLog()
    for path in sorted(filter(Path.is_file, folder.glob('train_*.log')), key=lambda path: path.stem[-15:]):
        log.files += 1
        started: datetime | None = None
        last_line: datetime | None = None
        iteration, dataset = 0, ''
        validated: dict[str, int] = {}  # last iteration, by set
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            stamp = _STAMP.match(line)
            if stamp is None:
                if dataset and (found := _METRIC.match(line)):
                    metric, value, best, best_iter = found.groups()
                    log.add(f'metrics/{dataset}/{metric}', validated[dataset], value)
                    with contextlib.suppress(ValueError, TypeError):  # no numbers, or no best one
                        figure = Figure(dataset, metric, float(value), float(best), int(best_iter))
                        log.figures += [figure] if math.isfinite(figure.value + figure.best) else []
                continue
            last_line, dataset, text = datetime.fromisoformat(stamp.group(1)), '', line[stamp.end() :]
            if found := _STEP.search(text):
                iteration = log.iteration = int(found.group(1).replace(',', ''))
                for index, rate in enumerate(filter(None, found.group(2).split(','))):
                    log.add(f'lr_{index}' if index else 'lr', iteration, rate.strip())
                for tag, value in re.findall(r'(\S+): (\S+)', found.group(3)):
                    log.add(tag, iteration, value)
            elif text.startswith('Validation '):
                dataset = text.removeprefix('Validation ')
                first = max(iteration, validated.get(dataset, 0) + 1, 1)
                validated[dataset] = -(-first // val_freq) * val_freq if val_freq else iteration
            elif found := _START.match(text):
                started, log.finished, iteration = last_line, False, int(found.group(1))
                for tag, curve in log.curves.items():  # what is trained again
                    log.curves[tag] = {step: value for step, value in curve.items() if step <= iteration}
            elif text.startswith('End of training.'):
                log.finished = True
        if started and last_line:
            log.seconds = (log.seconds or 0.0) + (last_line - started).total_seconds()
    log.curves = {tag: dict(sorted(curve.items())) for tag, curve in log.curves.items() if curve}
    return log


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(iteration, value) of every scalar that TensorBoard shows of a run, by tag, in the order in which it was written;
    none where there is no folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={'scalars': 0}).Reload()
    found = {}
    for tag in events.Tags()['scalars']:
        in_time = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
        found[tag] = [(event.step, event.value) for event in in_time]
    return found


def read_curves(folder: Path) -> Curves:
    """:func:`scalars` by their tags without ``losses/``.

    A run that was resumed has several files. Where they overlap, the value that was written last counts.
    """
    return {tag.removeprefix('losses/'): dict(sorted(dict(points).items())) for tag, points in scalars(folder).items()}


# ---------------------------------------------------------------------- of one checkpoint
def iteration_of(weights: Path) -> int | None:
    """After which a checkpoint of an experiment was saved, as its name, the file beside it, or the folder tells."""
    name = re.fullmatch(r'net_\w+?_(\d+|latest|best)', weights.stem)
    if name is None:
        return None
    if name.group(1).isdigit():
        return int(name.group(1))
    if name.group(1) == 'best':
        try:
            return int(json.loads(weights.with_suffix('.json').read_text(encoding='utf-8'))['iter'])
        except (OSError, ValueError, KeyError, TypeError):
            return None
    folder = weights.resolve().parent.parent
    states = [int(path.stem) for path in (folder / 'training_states').glob('*.state') if path.stem.isdigit()]
    return max([*states, read_logs(folder).iteration]) or None


def figures_of(weights: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Validation figures of the experiment up to a checkpoint: set, metric, then 'best', 'iter' and 'last'.

    'last' is of the checkpoint itself, and there only where the log shows that: for ``latest``, and for those that were
    the best of their run when they were saved.
    """
    until, is_latest = iteration_of(weights), weights.stem.endswith('_latest')
    found: dict[str, dict[str, dict[str, float]]] = {}
    for figure in read_logs(weights.resolve().parent.parent).figures:
        if until is None or figure.best_iter > until:
            continue
        values = found.setdefault(figure.dataset, {}).setdefault(figure.metric, {})
        values.update(best=figure.best, iter=figure.best_iter)
        if is_latest or figure.best_iter == until:
            values['last'] = figure.value
    return found
