"""What a training's log files tell: learning rates, time, and the curves where TensorBoard has none."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ext_core.saving.resume import Curves

_STAMP = re.compile(r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ \w+: ')
_START = re.compile(r'Start training from epoch: \d+, iter: (\d+)')
_STEP = re.compile(r'\[epoch:\s*\d+, iter:\s*([\d,]+), lr:\(([^)]*)\)\] (?:\[eta[^\]]*\] )?(.*)')
_VALUE = re.compile(r'(\S+): (\S+)')
_VALIDATION = re.compile(r'Validation (.+)$')
_METRIC = re.compile(r'\t # ([^:]+): (\S+)')
_END = 'End of training.'


@dataclass
class TrainingLog:
    """What all logs of one experiment tell together.

    Args:
        curves (dict): By tag as :func:`ext_core.saving.resume.read_curves` names them, and ``lr``, ``lr_1``, ...:
            learning rates of the first optimizer's parameter groups. Values have the log's five digits.
        seconds (float | None): Spent between the start and the last line of each training, added up over resumptions.
        finished (bool): The last training came to its end.
        last_line (datetime | None): When the last line was written.
        files (int): Logs that there are.
    """

    curves: Curves = field(default_factory=dict)
    seconds: float | None = None
    finished: bool = False
    last_line: datetime | None = None
    files: int = 0

    def add(self, tag: str, step: int, text: str) -> None:
        """One value of a curve; what is no number is left out."""
        try:
            self.curves.setdefault(tag, {})[step] = float(text)
        except ValueError:
            return

    def forget_after(self, step: int) -> None:
        """Drop what a training that goes on from ``step`` trains again."""
        for tag, curve in self.curves.items():
            self.curves[tag] = {at: value for at, value in curve.items() if at <= step}


def read_logs(folder: Path, val_freq: int | None) -> TrainingLog:
    """All logs of an experiment, the oldest first, which BasicSR's time in their names gives.

    Args:
        folder (Path): Of the experiment.
        val_freq (int | None): ``val:val_freq``; logs do not say at which iteration a validation was.
    """
    log = TrainingLog()
    for path in sorted(folder.glob('train_*.log'), key=lambda path: path.stem[-15:]):
        log.files += 1
        with path.open(encoding='utf-8', errors='replace') as file:
            _Reader(log, val_freq).read(file)
    log.curves = {tag: dict(sorted(curve.items())) for tag, curve in log.curves.items() if curve}
    return log


class _Reader:
    """Reads one file into a log."""

    def __init__(self, log: TrainingLog, val_freq: int | None):
        self.log, self.val_freq = log, val_freq
        self.started: datetime | None = None
        self.iteration = 0
        self.validated: dict[str, int] = {}  # last iteration, by set
        self.dataset: str | None = None  # whose metrics the next lines are

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if stamp := _STAMP.match(line):
                self.log.last_line = datetime.fromisoformat(stamp.group(1))
                self.dataset = None
                self._message(line[stamp.end() :].rstrip('\n'))
            elif self.dataset and (found := _METRIC.match(line)):
                tag = f'metrics/{self.dataset}/{found.group(1)}'
                self.log.add(tag, self.validated[self.dataset], found.group(2))
        if self.started and self.log.last_line:
            spent = (self.log.last_line - self.started).total_seconds()
            self.log.seconds = (self.log.seconds or 0.0) + spent

    def _message(self, text: str) -> None:
        if found := _STEP.search(text):
            self._step(int(found.group(1).replace(',', '')), found.group(2), found.group(3))
        elif found := _VALIDATION.match(text):
            self.dataset = found.group(1)
            self.validated[self.dataset] = self._validated_at(self.dataset)
        elif found := _START.match(text):
            self.started, self.log.finished = self.log.last_line, False
            self.iteration = int(found.group(1))
            self.log.forget_after(self.iteration)
        elif text.startswith(_END):
            self.log.finished = True

    def _step(self, iteration: int, rates: str, values: str) -> None:
        self.iteration = iteration
        for index, rate in enumerate(filter(None, rates.split(','))):
            self.log.add(f'lr_{index}' if index else 'lr', iteration, rate.strip())
        for tag, value in _VALUE.findall(values):
            self.log.add(tag, iteration, value)

    def _validated_at(self, dataset: str) -> int:
        """The first multiple of ``val_freq`` that comes into question after the last iteration that was printed."""
        if not self.val_freq:
            return self.iteration
        first = max(self.iteration, self.validated.get(dataset, 0) + 1, 1)
        return -(-first // self.val_freq) * self.val_freq
