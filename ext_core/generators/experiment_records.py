"""What the folder of an experiment tells of a checkpoint in it: its iteration, and the figures of validation."""

import json
import re
from pathlib import Path

_BLOCK = re.compile(r'INFO: Validation (\S+)\s*$')
_FIGURE = re.compile(r'^\s*# (\S+): (-?[\d.]+(?:e[-+]?\d+)?)\s+Best: (-?[\d.]+(?:e[-+]?\d+)?) @ (\d+) iter')
_PROGRESS = re.compile(r'\biter:\s*([\d,]+)')
Figures = dict[str, dict[str, dict[str, float]]]  # set, metric, then 'best', 'iter' and 'last'


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
    printed = [int(text.replace(',', '')) for log in _logs(folder) for text in _PROGRESS.findall(_read(log))]
    return max(states + printed[-1:], default=None)


def figures_of(weights: Path) -> Figures:
    """Validation figures of the experiment up to a checkpoint, as its log has them.

    'last' is of the checkpoint itself, and there only where the log shows that: for ``latest``, and for those that were
    the best of their run when they were saved.
    """
    until, is_latest = iteration_of(weights), weights.stem.endswith('_latest')
    found: Figures = {}
    for log in _logs(weights.resolve().parent.parent):
        dataset = ''
        for line in _read(log).splitlines():
            if block := _BLOCK.search(line):
                dataset = block.group(1)
            elif (figure := _FIGURE.match(line)) and dataset:
                metric, last, best, step = figure.groups()
                if until is None or int(step) > until:
                    continue
                values = found.setdefault(dataset, {}).setdefault(metric, {})
                values.update(best=float(best), iter=int(step))
                if is_latest or int(step) == until:
                    values['last'] = float(last)
    return found


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob('train_*.log'))  # their names end in the time


def _read(log: Path) -> str:
    return log.read_text(encoding='utf-8', errors='replace')
