"""Kill trainings at random moments, continue them with --auto_resume, and compare their ends with undisturbed runs.

Example:
    python studies/torture.py --kills 100 --json torture.json
    python studies/torture.py --kills 20 --recipes train_srresnet --processes 1 --commands 0

Every case is a recipe with one or two processes, its demo shrunk to seconds: 24 iterations, a checkpoint every 4. Half
of the interruptions wait for a file to appear in the folders of checkpoints, others come in the middle of iterations or
while the training starts. Most are SIGKILL to all processes at once; with two processes, some hit one rank only, and
the other has to end by itself; some are SIGTERM or SIGINT, which save, and are not counted as kills. A run that comes
to its end is compared with the run that nobody disturbed: networks, EMA, training state and TensorBoard's curves must
be the same to the last bit. Then it starts over, until all kills are used.

Most trainings are forks of this process, which has imported torch and BasicSR already, so that a kill does not cost
these imports. A fork runs ext_core.launch.train, as basicsr/train.py does, with a process group, output, folder and
environment of its own. The last --commands kills are of the real commands, python basicsr/train.py and torchrun,
compared with the same undisturbed runs.

The exit status is 1 where an end differs, a training fails or does not end. CPU only; all files are in a temporary
folder, which is removed at the end.
"""

import argparse
import contextlib
import importlib
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == '__main__':
    os.environ.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')  # before torch starts threads, which forks lack

import torch

from ext_core.atomic import atomic_write_text
from ext_core.networks.records import scalars
from ext_core.options import yaml_safe
from ext_core.registration import register_all
from ext_core.use.tables import table_text
from studies.sameness import difference
from studies.trainings import GRACE, ROOT, Training, command, fork

TOTAL, SAVE_EVERY, VALIDATE_EVERY = 24, 4, 12  # iterations; an epoch has 15 of one process, 7 of two
WRITING, STARTING, STOPPING, ONE_RANK = 0.5, 0.1, 0.1, 0.3  # shares of the interruptions
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
        *_FEATURES, 'network_g:num_feat=4', 'datasets:train:gt_size=128', 'train:scheduler:start=10',
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


# ---------------------------------------------------------------------- kills
class Case:
    """A recipe with a number of processes, and the folder that its trainings run in.

    Args:
        options (Path): Folder of the recipes.
        recipe (str): Name of the recipe, one of ``RECIPES``.
        processes (int): Ranks.
        root (Path): Gets ``experiments/``, ``tb_logger/`` and the demo's data.
        rng (random.Random): Decides when and how to kill.
    """

    def __init__(self, options: Path, recipe: str, processes: int, root: Path, rng: random.Random):
        self.recipe, self.processes, self.root, self.rng = recipe, processes, root, rng
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
        begin = {'fork': fork, 'command': command}[how]
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
            while not training.ended() and not training.iterations():
                time.sleep(0.01)
            self.startup = time.monotonic() - began
            if not training.finished() or any(training.statuses.values()):
                raise RuntimeError(f'the undisturbed run of {self.recipe} failed:\n{training.tail()}')
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
        self.clear()
        while not result.problems and (result.kills < kills or not result.rounds):
            newest = self._newest_iteration()
            if not newest:
                time.sleep(1.01)  # BasicSR archives a run without checkpoint under a name of seconds
            training = self.start(how, workers=self.rng.choice((0, 0, 1, 2)))
            try:
                if result.kills < kills:
                    self._disturb(training, result)
                if not training.finished():
                    result.problems.append(f'hangs at iteration {(training.iterations() or [0])[-1]}')
                    break
            finally:
                training.end()
            resumed = training.resumed_from()
            result.resumes += resumed is not None
            result.fallbacks += resumed is not None and resumed < newest
            if training.interrupted:
                continue
            if any(training.statuses.values()):
                result.problems.append(f'ends with status {sorted(training.statuses.values())}: {training.tail()}')
                break
            result.rounds += 1
            where = difference(self.expected, self.outcome())
            say(f'{result.recipe} x {result.processes}: run {result.rounds} ends {where or "identical"}')
            if where:
                result.problems.append(f'differs in {where}')
            else:
                self.clear()
        return result

    def _disturb(self, training: Training, result: Result) -> None:
        """Interrupt the training while it starts, somewhere in its iterations, or when a checkpoint is written."""
        rng, share = self.rng, self.rng.random()
        if share < STARTING:
            waited = training.sleep(rng.uniform(0, self.startup))
        else:
            writing = share < STARTING + WRITING
            first = rng.randint(1, 3 * SAVE_EVERY if writing else SAVE_EVERY)
            waited = training.until(lambda: len(training.iterations()) >= first)
            if waited and writing:
                before = self._listing()
                waited = training.until(lambda: self._listing() != before, poll=0.001)
                waited = waited and training.sleep(rng.expovariate(1 / 0.005))
            elif waited:
                waited = training.sleep(rng.uniform(0, SAVE_EVERY * self.per_iteration))
        if not waited or training.ended():
            return
        training.interrupted = True
        if rng.random() < STOPPING:
            what = 'stopped'
            result.stops += 1
            training.send(rng.choice((signal.SIGTERM, signal.SIGINT)))
        else:
            result.kills += 1
            # before they have met, nobody but torchrun can tell the others of one that died
            alone = self.processes > 1 and bool(training.iterations()) and rng.random() < ONE_RANK
            what = 'one rank killed' if alone else 'killed'
            result.ranks += alone
            if alone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(training.ranks()), signal.SIGKILL)
            else:
                training.send(signal.SIGKILL)
        if not training.wait(GRACE):
            result.problems.append(f'does not end within {GRACE:.0f} s after it was {what}: {training.tail()}')
        torn = self._torn()
        result.writing += what != 'stopped' and torn
        at = (training.iterations() or [0])[-1]
        say(f'{self.recipe} x {self.processes}: {what} at {at}{", writing" if torn else ""}')

    # ------------------------------------------------------------------ checkpoints on disk
    def _listing(self) -> set[str]:
        return {file.name for folder in ('models', 'training_states') for file in (self.experiment / folder).glob('*')}

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


# ---------------------------------------------------------------------- the script
def plan(args: argparse.Namespace) -> list[tuple[str, int, str, int]]:
    """(recipe, processes, how, kills) of every case: kills of forks are shared evenly, as are those of commands."""
    forks = [(recipe, processes, 'fork') for recipe in args.recipes for processes in args.processes]
    commands = [(args.recipes[0], processes, 'command') for processes in args.processes]
    commanded = min(args.commands, args.kills)
    shares = []
    for total, parts in ((args.kills - commanded, len(forks)), (commanded, len(commands))):
        shares += [total // parts + (index < total % parts) for index in range(parts)]
    return [(*case, kills) for case, kills in zip([*forks, *commands], shares, strict=True) if kills]


def torture(args: argparse.Namespace) -> list[Result]:
    """All cases, in a temporary folder that looks like the project to a training; the undisturbed run of a recipe and
    a number of processes is made once."""
    for module in ('basicsr.train', 'ext_core.options.check', 'ext_core.train.trainer', 'torch.utils.tensorboard'):
        importlib.import_module(module)  # a training would, after it has started
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    results: list[Result] = []
    cases: dict[tuple[str, int], Case] = {}
    folder = Path(tempfile.mkdtemp(prefix='torture_'))
    try:
        (folder / 'basicsr').mkdir()
        shutil.copy(ROOT / 'basicsr' / 'train.py', folder / 'basicsr')
        for recipe, processes, how, kills in plan(args):
            if (recipe, processes) not in cases:
                cases[recipe, processes] = Case(ROOT / 'options', recipe, processes, folder, rng)
                cases[recipe, processes].reference()
            results.append(cases[recipe, processes].torture(kills, how))
            for problem in results[-1].problems:
                say(f'{recipe} x {processes}: {problem}')
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def table(results: list[Result]) -> str:
    """A row a case, and their sums."""
    head = ('recipe', 'processes', 'started by', 'kills', 'while writing', 'of one rank', 'stops', 'resumes',
            'from an older checkpoint', 'runs', 'identical')  # fmt: skip
    counts = [(r.kills, r.writing, r.ranks, r.stops, r.resumes, r.fallbacks, r.rounds) for r in results]
    rows = [[r.recipe, r.processes, r.how, *n, r.identical] for r, n in zip(results, counts, strict=True)]
    rows.append(['all', '', '', *map(sum, zip(*counts, strict=True)), all(r.identical for r in results)])
    return table_text([head, *([*map(str, row), 'yes' if identical else 'no'] for *row, identical in rows)])


def say(line: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {line}', flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=_count, default=100, help='SIGKILLs in all, default: 100')
    parser.add_argument('--recipes', nargs='+', choices=RECIPES, default=list(RECIPES), help='default: all of these')
    parser.add_argument('--processes', nargs='+', type=int, choices=(1, 2), default=[1, 2], help='default: 1 2')
    parser.add_argument('--commands', type=_count, default=10, help='kills of real commands among them, default: 10')
    parser.add_argument('--seed', type=int, default=0, help='of the moments and kinds of kills, default: 0')
    parser.add_argument('--json', type=Path, help='write the table there too')
    return parser.parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'expected 0 or more, but got {text!r}')
    return value


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    logging.getLogger('tensorboard').setLevel(logging.ERROR)  # it tells of every mark that a resume left
    register_all()
    began = time.monotonic()
    try:
        results = torture(args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except RuntimeError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(results))
    print(f'{time.monotonic() - began:.0f} s')
    if args.json:
        rows = [asdict(result) | {'identical': result.identical} for result in results]
        atomic_write_text(json.dumps(rows, indent=1) + '\n', args.json)
    return 0 if all(result.identical for result in results) else 1


if __name__ == '__main__':
    sys.exit(main())
