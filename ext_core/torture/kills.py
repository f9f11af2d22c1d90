"""Kill a training again and again, let ``--auto_resume`` continue it, and compare the end with an undisturbed run."""

import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ext_core.options import yaml_safe
from ext_core.saving.curves import scalars
from ext_core.torture import runs as torture_runs
from ext_core.torture.runs import Training
from ext_core.torture.sameness import difference

TOTAL, SAVE_EVERY, VALIDATE_EVERY = 24, 4, 12  # iterations; an epoch has 15 of one process, 7 of two
PATIENCE = 300.0  # seconds without a new iteration, after which a training counts as hanging
GRACE = 60.0  # seconds in which a training has to end that was stopped, or has lost a rank
WRITING, STARTING, STOPPING, ONE_RANK = 0.5, 0.1, 0.1, 0.3  # shares of the interruptions; see _moment and _interrupt
_COMMON = [
    'datasets:train:batch_size_per_gpu=4', 'datasets:train:dataset_enlarge_ratio=1', f'train:total_iter={TOTAL}',
    f'val:val_freq={VALIDATE_EVERY}', 'val:save_img=false',
    'logger:print_freq=1', f'logger:save_checkpoint_freq={SAVE_EVERY}', 'logger:use_tb_logger=true',
]  # fmt: skip
_FEATURES = ['train:perceptual_opt:layer_weights={conv2_2: 1}']
_BLOCKS = ['network_g:num_feat=4', 'network_g:num_block=1']
# What makes the demo of a recipe a matter of seconds. Rates fall, phases change and averages run on the way.
RECIPES: dict[str, list[str]] = {
    'train_mask_esrgan': [
        *_BLOCKS, *_FEATURES, 'network_g:num_grow_ch=4', 'network_d:num_feat=4', 'train:pretrain_iters=6',
        'train:scheduler:milestones=[10, 18]',
    ],
    'train_srresnet': [*_BLOCKS, 'datasets:train:gt_size=32', 'train:scheduler:milestones=[10, 18]'],
    'train_vgg_srgan': [
        *_BLOCKS, 'datasets:train:gt_size=32', 'datasets:train:batch_size_per_gpu=2', 'network_d:num_conv=1',
        'train:autoencoder_iters=6', 'train:log_gradient_norms=5',
        'train:gp_opt:every=3', 'train:scheduler:milestones=[10, 18]',
    ],
    'train_da_stage1': [
        *_FEATURES, 'network_g:num_feat=4', 'datasets:train:gt_size=64', 'train:scheduler:start=10',
        'train:log_gradient_norms=5',
    ],
    'train_pesr': [
        *_BLOCKS, *_FEATURES, 'datasets:train:gt_size=32', 'network_d:num_feat=4', 'network_d:input_size=32',
        'train:scheduler:milestones=[10, 18]',
    ],
}  # fmt: skip
_PSNR = {'val': {'metrics': {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}}}
_UNTRAINED = {'train': {'perceptual_opt': {'weights': 'random'}}}
# What the recipe does not have, and a command line therefore cannot set.
_ADDED: dict[str, dict] = {
    'train_mask_esrgan': {**_PSNR, **_UNTRAINED},
    'train_srresnet': _PSNR,
    'train_vgg_srgan': {**_PSNR, **_UNTRAINED, 'network_d': {'weights': 'random'}},
    'train_da_stage1': _UNTRAINED,
    'train_pesr': {**_PSNR, **_UNTRAINED, 'network_d': {'num_hidden': 8}},
}


@dataclass
class Result:
    """What became of one case."""

    recipe: str
    processes: int
    how: str  # 'fork' or 'command'
    kills: int = 0  # by SIGKILL: of all processes, or of one rank
    writing: int = 0  # kills that left a checkpoint half-written
    ranks: int = 0  # kills of one rank of several
    stops: int = 0  # SIGTERM and SIGINT, which save
    resumes: int = 0
    fallbacks: int = 0  # resumes from an older checkpoint than the newest of which there is any file
    rounds: int = 0  # runs to the end, each compared
    problems: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        return self.rounds > 0 and not self.problems


class Case:
    """A recipe with a number of processes, and the folder that its trainings run in.

    Args:
        options (Path): Folder of the recipes.
        recipe (str): Name of the recipe, one of ``RECIPES``.
        processes (int): Ranks.
        root (Path): Gets ``experiments/``, ``tb_logger/`` and the demo's data.
        rng (random.Random): Decides when and how to kill.
        say (Callable[[str], None]): Gets a line for each event.
    """

    def __init__(
        self, options: Path, recipe: str, processes: int, root: Path, rng: random.Random, say: Callable[[str], None]
    ):
        self.recipe, self.processes, self.root, self.rng, self.say = recipe, processes, root, rng, say
        option_file = root / f'{recipe}.yml'
        option_file.write_text(yaml_safe.dump({'_base_': str(options / f'{recipe}.yml'), **_ADDED[recipe]}))
        self.arguments = ['-opt', str(option_file), '--demo']
        if processes > 1:
            self.arguments += ['--launcher', 'pytorch']
        self.experiment = root / 'experiments' / f'demo_{recipe}'
        self.curves = root / 'tb_logger' / self.experiment.name
        self.logs = root / 'logs'
        self.starts = 0
        self.startup = self.per_iteration = 1.0  # seconds, measured by the undisturbed run
        self.expected: dict[str, Any] = {}

    # ------------------------------------------------------------------ trainings
    def start(self, how: str, *, workers: int) -> Training:
        """Start or continue the training."""
        begin = {'fork': torture_runs.fork, 'command': torture_runs.command}[how]
        entries = [*_COMMON, *RECIPES[self.recipe], f'datasets:train:num_worker_per_gpu={workers}']
        self.logs.mkdir(exist_ok=True)
        self.starts += 1
        log = self.logs / f'{self.recipe}_{self.processes}_{self.starts}.log'
        return begin(self.root, [*self.arguments, '--auto_resume', '--force_yml', *entries], self.processes, log)

    def reference(self) -> None:
        """The undisturbed run, with whose end all others are compared.

        Raises:
            RuntimeError: If it fails.
        """
        self.clear()
        began = time.monotonic()
        training = self.start('fork', workers=0)
        try:
            while not training.ended() and not training.iteration():
                time.sleep(0.01)
            self.startup = time.monotonic() - began
            if not _finished(training) or any(training.statuses.values()):
                raise RuntimeError(f'the undisturbed run of {self.recipe} failed:\n{_tail(training)}')
        finally:
            training.end()
        self.per_iteration = (time.monotonic() - began - self.startup) / TOTAL
        self.expected = self.outcome()

    def clear(self) -> None:
        """Remove all trainings."""
        for folder in (self.experiment.parent, self.curves.parent, self.logs):
            shutil.rmtree(folder, ignore_errors=True)

    def outcome(self) -> dict[str, Any]:
        """The end of a run: its last weights and state, and its curves."""
        files = [*self.experiment.glob(f'models/net_*_{TOTAL}.pth'), *self.experiment.glob('models/net_*_latest.pth')]
        files.append(self.experiment / 'training_states' / f'{TOTAL}.state')
        found = {file.name: torch.load(file, map_location='cpu', weights_only=True) for file in sorted(files)}
        return found | {'curves': scalars(self.curves)}

    # ------------------------------------------------------------------ torture
    def torture(self, kills: int, how: str) -> Result:
        """Train to the end as often as it takes to kill ``kills`` times on the way, and compare each end."""
        result = Result(self.recipe, self.processes, how)
        while result.kills < kills or not result.rounds:
            self.clear()
            self._round(result, kills, how)
            if result.problems:
                break
        return result

    def _round(self, result: Result, kills: int, how: str) -> None:
        while True:
            newest = self._newest_iteration()
            if not newest:
                time.sleep(1.01)  # BasicSR archives a run without checkpoint under a name of seconds
            training = self.start(how, workers=self.rng.choice((0, 0, 1, 2)))
            try:
                if result.kills < kills:
                    self._disturb(training, result)
                if not _finished(training):
                    result.problems.append(f'hangs at iteration {training.iteration()}')
                    return
            finally:
                training.end()
            resumed = training.resumed_from()
            result.resumes += resumed is not None
            result.fallbacks += resumed is not None and resumed < newest
            if training.interrupted:
                continue
            if any(training.statuses.values()):
                result.problems.append(f'ends with status {sorted(training.statuses.values())}: {_tail(training)}')
                return
            result.rounds += 1
            where = difference(self.expected, self.outcome())
            self.say(f'{result.recipe} x {result.processes}: run {result.rounds} ends {where or "identical"}')
            if where:
                result.problems.append(f'differs in {where}')
            return

    def _disturb(self, training: Training, result: Result) -> None:
        """Wait for a moment and interrupt the training then, unless it ends before."""
        if not self._moment(training) or training.ended():
            return
        training.interrupted = True
        share = self.rng.random()
        if share < STOPPING:
            result.stops += 1
            training.send(self.rng.choice((signal.SIGTERM, signal.SIGINT)))
            what = 'stopped'
        else:
            result.kills += 1
            # before they have met, nobody but torchrun can tell the others of one that died
            together = self.processes > 1 and training.iterations() > 0
            alone = together and self.rng.random() < ONE_RANK
            what = 'one rank killed' if alone else 'killed'
            result.ranks += alone
            training.kill(self.rng.choice(training.ranks()) if alone else None)
        if not training.wait(GRACE):
            result.problems.append(f'does not end within {GRACE:.0f} s after it was {what}: {_tail(training)}')
        torn = self._torn()
        result.writing += what != 'stopped' and torn
        self.say(f'{self.recipe} x {self.processes}: {what} at {training.iteration()}{", writing" if torn else ""}')

    def _moment(self, training: Training) -> bool:
        """Wait until it is time: while it starts, somewhere in the iterations, or when a checkpoint is written."""
        share = self.rng.random()
        if share < STARTING:
            return _sleep(training, self.rng.uniform(0, self.startup))
        first = self.rng.randint(1, 3 * SAVE_EVERY if share < STARTING + WRITING else SAVE_EVERY)
        if not _until(training, lambda: training.iterations() >= first):
            return False
        if share > STARTING + WRITING:
            return _sleep(training, self.rng.uniform(0, SAVE_EVERY * self.per_iteration))
        before = self._listing()
        return _until(training, lambda: self._listing() != before, fast=True) and _sleep(
            training, self.rng.expovariate(1 / 0.005)
        )

    # ------------------------------------------------------------------ checkpoints on disk
    def _files(self) -> Iterator[Path]:
        for folder in ('models', 'training_states'):
            yield from (self.experiment / folder).glob('*')

    def _listing(self) -> set[str]:
        return {file.name for file in self._files()}

    def _newest_iteration(self) -> int:
        """The newest of which there is any file."""
        return max((int(n) for name in self._listing() for n in re.findall(r'(?<![\d.])(\d+)\.', name)), default=0)

    def _torn(self) -> bool:
        """Whether there are leftovers of a file, or the newest iteration lacks its state or some weights."""
        names = self._listing()
        newest = self._newest_iteration()
        whole = {name for name in self.expected if str(TOTAL) in name}
        wanted = {name.replace(str(TOTAL), str(newest)) for name in whole}
        return any(name.startswith('.') for name in names) or (newest > 0 and not wanted <= names)


# ---------------------------------------------------------------------- waiting
def _until(training: Training, condition: Callable[[], bool], fast: bool = False) -> bool:
    """Wait for a condition; False where the training ends, or nothing happens, before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if training.ended() or time.monotonic() > deadline:
            return False
        time.sleep(0.001 if fast else 0.05)
    return True


def _finished(training: Training) -> bool:
    """Wait for its end; False where no new iteration is logged for too long."""
    while not training.ended():
        before = training.iterations()
        if not _until(training, partial(_went_on, training, before)) and not training.ended():
            return False
    return training.wait(GRACE)


def _went_on(training: Training, before: int) -> bool:
    return training.iterations() > before


def _sleep(training: Training, seconds: float) -> bool:
    until = time.monotonic() + seconds
    return _until(training, lambda: time.monotonic() >= until, fast=True)


def _tail(training: Training) -> str:
    return training.log.read_text(errors='replace')[-1500:]
