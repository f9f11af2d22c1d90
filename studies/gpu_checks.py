"""Try on a GPU what the tests can try on a processor only, and measure it: gpu_checks.json and gpu_checks.md.

Example:
    sh studies/gpu_checks.sh results/gpu_checks ../traiNNer-redux

Every recipe trains, shrunk as by --demo, in float32, bf16 with channels_last, and fp16; some compiled. Then nccl with
one process, prefetch_mode: cuda, an exact resume, and want of memory. Measured are the step against BasicSR's (and
traiNNer-redux's), loading, and upscale. The table grows on the disk with each check, so what is done by the end of the
time is kept. In order of worth: what comes last may be cut.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml

from ext_core import launch
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly
from studies.sameness import difference

ROOT = Path(__file__).resolve().parents[1]
GPU = torch.cuda.is_available()
SETTINGS: dict[str, dict] = {
    'fp32': {},
    'bf16, channels_last': {'amp': 'bf16', 'channels_last': True},
    'fp16': {'amp': 'fp16'},
}
COMPILED = ('train_mask_esrgan', 'train_edsr')
RECIPE = 'train_mask_esrgan'  # of the checks that take one
NO_RECIPES = ('train_domain_adaptation',)  # a plan of several trainings


class Checks:
    """Results so far; each is written at once."""

    def __init__(self, output: Path):
        self.output = output
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, check: Callable[[], str | None]) -> None:
        """Run a check: it returns a figure to show or None, and raises where something is wrong."""
        if GPU:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        try:
            result = check() or 'passed'
        except Exception as error:
            result = f'FAILED: {type(error).__name__}: {error}'
        self.add(name, result, time.perf_counter() - started)

    def add(self, name: str, result: str, seconds: float = 0.0) -> None:
        """Note a result."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if GPU else 0
        self.rows.append({'check': name, 'result': result, 'seconds': round(seconds, 1), 'peak_mib': round(peak)})
        print(f'{name:45} {result}', flush=True)
        device = torch.cuda.get_device_name() if GPU else 'no GPU'
        record = {'device': device, 'torch': torch.__version__, 'checks': self.rows}
        lines = [f'{device}, torch {torch.__version__}', '', '| check | result | s | peak MiB |', '|---|---|---|---|']
        for row in self.rows:
            shown = row['result'].replace('|', '/').replace('\n', ' ')
            lines.append(f'| {row["check"]} | {shown} | {row["seconds"]} | {row["peak_mib"]} |')
        atomic_write_text(json.dumps(record, indent=1) + '\n', self.output / 'gpu_checks.json')
        atomic_write_text('\n'.join(lines) + '\n', self.output / 'gpu_checks.md')


def option_file(folder: Path, recipe: str, changes: dict) -> Path:
    """A file that inherits from a recipe."""
    file = folder / f'{recipe}.yml'
    file.write_text(yaml.safe_dump({'_base_': str(ROOT / 'options' / f'{recipe}.yml'), **changes}))
    return file


def trained(folder: Path, recipe: str, changes: dict, *flags: str) -> None:
    """Train a shrunk recipe in ``folder``.

    Raises:
        RuntimeError: With the end of what was printed, if it fails.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = launch.train(folder, ['-opt', str(option_file(folder, recipe, changes)), '--demo', *flags])
    if status:
        raise RuntimeError(printed.getvalue().strip()[-600:])


def checkpoint(folder: Path, iteration: int) -> dict:
    """Everything that a run has saved at an iteration."""
    run = next(folder.glob('experiments/demo_*'))
    files = [*run.glob(f'models/*_{iteration}.pth'), run / 'training_states' / f'{iteration}.state']
    return {file.name: torch.load(file, map_location='cpu', weights_only=True) for file in sorted(files)}


def exact_resume(folder: Path) -> None:
    """Eight iterations at once, and four and four."""
    length = ['--force_yml', 'logger:save_checkpoint_freq=4', 'val:val_freq=1000', 'train:pretrain_iters=2']
    for name, parts in (('whole', [8]), ('parts', [4, 8])):
        (folder / name).mkdir()
        for end in parts:
            resumed = ['--auto_resume'] if end != parts[0] else []
            trained(folder / name, RECIPE, {}, *resumed, *length, f'train:total_iter={end}')
    where = difference(checkpoint(folder / 'whole', 8), checkpoint(folder / 'parts', 8))
    if where:
        raise RuntimeError(f'a resumed run differs first in {where}')


def out_of_memory(folder: Path) -> str:
    """A batch that is too large is refused by its option's name; nothing is left."""
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        trained(folder, 'train_edsr', {}, '--force_yml', 'datasets:train:batch_size_per_gpu=4096', '--dry-run')
    except RuntimeError as error:
        if 'batch_size_per_gpu' not in str(error):
            raise
        return 'refused, with the remedy'
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    raise RuntimeError('4,096 images went through a hundredth of the memory')


def script(*command: str) -> str:
    """What a script printed."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip()[-600:])
    return done.stdout


def figures(words: tuple[str, ...], *command: str) -> str:
    """The lines of a script's output that have one of the words, as one."""
    lines = script(*command).splitlines()
    return '; '.join(' '.join(line.split()) for line in lines if any(word in line for word in words))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=Path('results/gpu_checks'), metavar='DIR')
    parser.add_argument('--recipes', nargs='+', metavar='NAME', help='default: all of options/train_*.yml')
    parser.add_argument('--redux', type=Path, metavar='DIR', help='checkout of traiNNer-redux')
    parser.add_argument('--rounds', type=int, default=20, help='of each measurement')
    args = parser.parse_args(argv)

    def job() -> None:
        if not (ROOT / 'experiments' / 'pretrained_models').is_dir():
            raise UserError('the weights of VGG16 are missing. Run: python scripts/get_weights.py vgg16 alexnet')
        register_quietly()
        args.output.mkdir(parents=True, exist_ok=True)
        checks = Checks(args.output)
        recipes = args.recipes or sorted(file.stem for file in (ROOT / 'options').glob('train_*.yml'))
        with folders() as new:
            ahead = {'datasets': {'train': {'prefetch_mode': 'cuda', 'pin_memory': True}}}
            checks.run(f'{RECIPE}, prefetch_mode: cuda', partial(trained, new(), RECIPE, ahead, '--dry-run'))
            checks.run('exact resume', lambda: exact_resume(new()))
            if GPU:
                checks.run('out of memory', lambda: out_of_memory(new()))
                file = option_file(new(), RECIPE, {})
                checks.run('nccl, one process', lambda: script(
                    '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1', 'basicsr/train.py',
                    '-opt', str(file), '--launcher', 'pytorch', '--demo', '--dry-run',
                ) and None)  # fmt: skip
            else:
                checks.add('out of memory', 'left out: no GPU')
                checks.add('nccl, one process', 'left out: no GPU')
            settings = {**SETTINGS} if GPU else {'fp32': {}, 'bf16, channels_last': SETTINGS['bf16, channels_last']}
            if not GPU:
                checks.add('fp16, compile', 'left out: no GPU')
            for recipe in [recipe for recipe in recipes if recipe not in NO_RECIPES]:
                more = {'compiled': {'compile': True}} if GPU and recipe in COMPILED else {}
                for name, train in {**settings, **more}.items():
                    changes = {'train': train} if train else {}
                    checks.run(f'{recipe}, {name}', partial(trained, new(), recipe, changes, '--dry-run'))
        demo = ROOT / 'datasets' / 'demo' / 'train'
        pairs = ['--gt', str(demo / 'gt.lmdb'), '--lq', str(demo / 'lq_x4.lmdb')]
        checks.run('loading', partial(figures, ('ours',), 'studies/benchmark_loading.py', *pairs))
        step = ['studies/benchmark_step.py', '--rounds', str(args.rounds), '--batch', '16' if GPU else '1']
        redux = ['--redux', str(args.redux)] if args.redux else []
        for case in ('compact', 'rrdb'):
            checks.run(f'step, {case}', partial(figures, ('ours', 'traiNNer'), *step, *redux, '--case', case))
        upscale = ['studies/benchmark_upscale.py', '--rounds', str(args.rounds), '-m', 'photo_x4']
        checks.run('upscale', partial(figures, ('upscale',), *upscale))
        failed = [row['check'] for row in checks.rows if row['result'].startswith('FAILED')]
        if failed:
            raise UserError(f'{len(failed)} of {len(checks.rows)} checks failed: {", ".join(failed)}')

    return exit_status(job)


@contextlib.contextmanager
def folders() -> Iterator[Callable[[], Path]]:
    """Something that makes new folders, which are removed at the end."""
    with tempfile.TemporaryDirectory() as name:
        yield lambda: Path(tempfile.mkdtemp(dir=name))


if __name__ == '__main__':
    sys.exit(main())
