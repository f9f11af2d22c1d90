"""Damage every option file: is each damage refused before anything is made, or does it have its effect?

Examples:
    python studies/option_damage.py --jobs 2 --json damage.json
    python studies/option_damage.py --files options/train_mask_esrgan.yml --damages 1000 --seed 3

Hypothesis draws the damages: keys misspelt, removed, doubled or moved to another section, values of another type or out
of range, broken paths, replaced sections, cut lines, wrong indentation, tags, and other values that are valid. The
launcher then gets each file, in a folder with stand-ins for the images and weights that the option files name. What the
check accepts, and what means something else than before, is made small and run for two iterations of its last phase,
with a validation, while every read of an option is noted. The columns:
    refused   by the check, with a message that names a key or a file, and nothing was made
    same      the file means what it meant before, a comment for instance
    effect    the run finished, and each changed key was read
    warned    the run finished, and a warning names each changed key that was not read
    idle      the run finished; what it did not read is for another machine or launcher (IDLE), or is not there any more
    FAILED    leak: accepted, and a changed key was neither read nor named; stopped: accepted, then ended by an error;
              half-made: refused, but something was made; unnamed: refused, but no key or file is named; traceback; hang
The exit status is 1 if any failed. With --json, files whose result it already holds for the same seed and number of
damages are not damaged again, so an interrupted study continues.
"""

# ruff: noqa: E402  # BasicSR can be imported only after register_all()
import argparse
import contextlib
import copy
import io
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import hypothesis.configuration
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core import launch
from ext_core.errors import UserError, exit_status, refusal
from ext_core.registration import register_all

register_all()  # what follows imports BasicSR

from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from ext_core.atomic import atomic_write_text
from ext_core.options import loading
from ext_core.options.check import check_options
from ext_core.options.metrics import leave_out_metrics
from ext_core.options.positions import Positions
from ext_core.options.problems import section
from ext_core.train.dry_run import phases_of
from ext_core.train.trainer import Trainer
from ext_core.use import adaptation
from studies.damages import damages, described
from studies.option_reads import Noted, differences, is_read
from studies.stand_ins import ROOT, find_recipes, own_folder, prepared

GOOD = ('refused', 'same', 'effect', 'warned', 'idle')
SECONDS, WAITING = 60.0, 600.0  # of computing, and of the clock; longer is a hang: of the check, and of the run

# read only where it matters: with several processes, a GPU, workers, or an account of wandb
IDLE = re.compile(r'dist_params(:.*)?|logger:wandb(:.*)?|datasets:\w+:(prefetch_mode|num_prefetch_queue|pin_memory)')

# makes any recipe a matter of seconds
SMALL = {
    'at_most': {
        'network_?:num_feat': 8,
        'network_?:num_block': 1,
        'network_?:num_grow_ch': 4,
        'network_?:num_group': 1,
        'network_?:num_conv': 2,
        'network_?:num_hidden': 8,
        'network_?:squeeze_factor': 2,
        'network_d:input_size': 128,
        'datasets:train:gt_size': 128,
        'datasets:train:batch_size_per_gpu': 2,
        'datasets:*:num_worker_per_gpu': 0,
        'train:pretrain_iters': 1,
        'train:autoencoder_iters': 1,
        'train:net_d_init_iters': 1,
        'logger:print_freq': 1,
    },
    'whole_lr': ['datasets:train:gt_size'],
    'replace': {'train:accumulate': 1, 'datasets:*:persistent_workers': False},
}


# ---------------------------------------------------------------------- one file through the launcher
class Same(Exception):
    """The options are what they were."""


class OutOfTime(BaseException):
    """Past ``except Exception``."""


def is_training(opt: dict) -> bool:
    return 'train' in (opt.get('datasets') or {})


def as_recipe(file: Path) -> Path:
    """The file, or of a two-stage training the options of its first stage, as a file beside it."""
    if 'stage1' not in loading.load(file):
        return file
    stage = file.with_name('stage1_of_two.yml')
    stage.write_text(adaptation.plan(Path.cwd(), file, (), False, None)[1]['stage1.yml'], encoding='utf-8')
    return stage


def resolved(file: Path) -> dict:
    """The options of a run, as the launcher completes and checks them.

    Raises:
        UserError: If the check refuses them.
    """
    file = as_recipe(file)
    training, positions = is_training(loading.load(file)), Positions()
    args = loading.parse_arguments(['-opt', str(file)], training)
    _, opt = loading.resolve(args, Path.cwd(), training, positions)
    check_options(opt, training, positions)
    leave_out_metrics(opt)
    return opt


def set_timers(computing: float, waiting: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, computing)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def attempt(file: Path, undamaged: dict) -> tuple[str, str]:
    """Give a damaged file to the launcher, from the current folder.

    Args:
        file (Path): The file.
        undamaged (dict): What it was before, see :func:`resolved`.

    Returns:
        tuple[str, str]: What became of it (a column, or a failure), and the message, traceback or unread keys.
    """
    log: set[str] = set()
    changed: list[str] = []
    accepted: dict = {}
    warned: list[str] = []
    run, before, output = Path.cwd() / 'run', sorted(os.listdir()) + sorted(os.listdir('experiments')), io.StringIO()
    resolve, prepare, train = loading.resolve, launch._prepare, Trainer.run

    def boxed(*args: Any, **kwargs: Any) -> tuple[dict, dict]:
        merged, opt = resolve(*args, **kwargs)
        box = Noted({}, log)
        dict.update(box, opt)
        return merged, box

    def prepare_small(box: Noted, args: argparse.Namespace, positions: Positions) -> list[str]:
        opt = dict(box)
        warned.extend(prepare(opt, args, positions))
        changed.extend(differences(undamaged, opt))
        accepted.update(copy.deepcopy(opt))
        if not changed:
            raise Same
        set_timers(SECONDS, WAITING)
        model = MODEL_REGISTRY.get(opt['model_type'])
        if hasattr(model, 'option_problems'):  # a check, which is no use of what it reads
            stack.enter_context(mock.patch.object(model, 'option_problems', return_value=()))
        spectra = section(opt, 'train', 'mmd_opt').get('space') == 'spectrum'
        if not spectra and section(opt, 'network_d').get('type') in (
            None,
            'VGGUAE',
        ):  # others want 128 px, and are faster
            loading.apply_overlay(opt, {'at_most': {'datasets:train:gt_size': 64}})
        loading.apply_overlay(opt, SMALL)
        opt['root_path'] = str(run)
        loading.complete_paths(opt, run)
        for key, value in opt['path'].items():
            if key.startswith('pretrain_network') and isinstance(value, str):
                options = {**opt[key.removeprefix('pretrain_')]}
                weights = ARCH_REGISTRY.get(options.pop('type'))(**options).state_dict()
                run.mkdir(exist_ok=True)
                opt['path'][key] = str(run / f'{key}.pth')
                torch.save({'params': weights, 'params_ema': weights}, opt['path'][key])
        box.clear()
        log.clear()
        box.__init__(opt, log)  # type: ignore[misc]
        return list(warned)

    def short(trainer: Trainer, *args: Any) -> int:
        trainer.total_iter = min(trainer.total_iter, 1 + len(phases_of(trainer.model, trainer.total_iter)))
        return train(trainer, *args)

    def ring(number: int, frame: Any) -> None:
        raise OutOfTime

    former = {number: signal.signal(number, ring) for number in (signal.SIGALRM, signal.SIGPROF)}
    set_timers(SECONDS, WAITING)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(output))
            stack.enter_context(contextlib.redirect_stderr(output))
            stack.enter_context(mock.patch.object(loading, 'resolve', boxed))
            stack.enter_context(mock.patch.object(launch, '_prepare', prepare_small))
            stack.enter_context(mock.patch.object(Trainer, 'run', short))
            stack.enter_context(mock.patch('basicsr.utils.options.dict2str', return_value=''))  # reads everything
            try:
                file = as_recipe(file)
                start = launch.train if undamaged['is_train'] else launch.test
            except Exception as error:
                if (said := refusal(error)) is None:
                    raise
                status = 1
                print(f'error: {said}')
            else:
                with mock.patch.dict(os.environ):
                    status = start(Path.cwd(), ['-opt', str(file)])
    except Same:
        return 'same', ''
    except OutOfTime:
        return 'hang', traceback.format_exc()
    except (Exception, SystemExit):
        return 'traceback', traceback.format_exc()
    finally:
        set_timers(0, 0)
        for number, handler in former.items():
            signal.signal(number, handler)
        shutil.rmtree(run, ignore_errors=True)
        for name in list(basicsr_logger.initialized_logger):
            for output_of in logging.getLogger(name).handlers[:]:
                logging.getLogger(name).removeHandler(output_of)
                output_of.close()
        basicsr_logger.initialized_logger.clear()
    message = output.getvalue().rpartition('error: ')[2].strip()
    if status and changed:
        return 'stopped', output.getvalue()[-3000:]
    if status:
        keys = re.findall(r'(\w+) *:', file.read_text(encoding='utf-8'))
        names = {*keys, *(path[-1] for path, _ in loading.walk(undamaged))}
        points = [line for line in message.splitlines() if line.startswith('  - ')] or [message]
        if sorted(os.listdir()) + sorted(os.listdir('experiments')) != before:
            return 'half-made', message
        if 'Traceback' in message or not all('.yml' in p or names & set(re.findall(r'\w+', p)) for p in points):
            return 'unnamed', message
        return 'refused', message
    unread = [path for path in changed if not is_read(path, accepted, log)]
    idle = [
        path
        for path in unread
        if IDLE.fullmatch(path) or path.split(':')[-1] not in section(accepted, *path.split(':')[:-1])
    ]
    leaks = [path for path in unread if path not in idle and not any(path in warning for warning in warned)]
    if leaks:
        return 'leak', f'accepted, but neither read nor named: {", ".join(leaks)}'
    return ('effect' if not unread else 'warned' if set(unread) - set(idle) else 'idle'), ', '.join(unread)


# ---------------------------------------------------------------------- the study
def damage_file(file: str, heir: str, count: int, seed: int, home: Path) -> dict:
    """Damage one file. What is drawn depends on the seed and the file's name and text."""
    torch.set_num_threads(1)
    started, counts, failures = time.monotonic(), Counter[str](), []
    with own_folder(home):
        path, text = Path(file), Path(file).read_text(encoding='utf-8')
        undamaged = resolved(Path(heir))

        @hypothesis.seed(zlib.crc32(f'{seed} {file}'.encode()))
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(damages(text))
        def study(damage: tuple[str, str]) -> None:
            kind, damaged = damage
            path.write_text(damaged, encoding='utf-8')
            verdict, message = attempt(Path(heir), undamaged)
            counts[verdict] += 1
            if verdict not in GOOD:
                what = described(kind, text, damaged)
                failures.append({'file': file, 'damage': what, 'verdict': verdict, 'message': message})

        study()
    return {'file': file, 'counts': dict(counts), 'failures': failures, 'seconds': time.monotonic() - started}


def table(results: list[dict]) -> str:
    """The counts, file by file and together."""
    whole: Counter[str] = sum((Counter(result['counts']) for result in results), Counter())
    rows = [(result['file'], Counter(result['counts'])) for result in sorted(results, key=lambda r: r['file'])]
    lines = [f'{"file":48} {"damages":>8}' + ''.join(f' {name:>8}' for name in (*GOOD, 'FAILED'))]
    for name, counts in [*rows, ('all', whole)]:
        numbers = [counts[good] for good in GOOD]
        lines.append(
            f'{name:48}' + ''.join(f' {n:8}' for n in (counts.total(), *numbers, counts.total() - sum(numbers)))
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', nargs='+', type=Path, metavar='FILE', help='option files; default: all')
    parser.add_argument('--damages', type=int, default=200, metavar='N', help='damages to each file; default: 200')
    parser.add_argument('--seed', type=int, default=0, help='of the damages; default: 0')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='processes; default: 1')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write, and continue, the results there')
    parser.add_argument('--show', type=int, default=20, metavar='N', help='failures to print; default: 20')
    args = parser.parse_args(argv)
    results: dict[str, dict] = {}

    def job() -> None:
        heirs, plan = find_recipes(ROOT), {'damages': args.damages, 'seed': args.seed}
        files = [os.path.relpath(file.resolve(), ROOT) for file in args.files or map(ROOT.joinpath, heirs)]
        for file in files:
            if file not in heirs:
                raise UserError(f'--files {file}: no recipe, and no recipe inherits it.')
        if args.json and args.json.is_file():
            content = json.loads(args.json.read_text(encoding='utf-8'))
            results.update({r['file']: r for r in content['files']} if content['plan'] == plan else {})
        waiting = [file for file in files if file not in results]
        with prepared(waiting) as home, ProcessPoolExecutor(args.jobs, mp_context=get_context('fork')) as pool:
            jobs = [pool.submit(damage_file, file, heirs[file], args.damages, args.seed, home) for file in waiting]
            for done in as_completed(jobs):
                result = done.result()
                results[result['file']] = result
                line = f'{result["file"]}: {result["counts"]}, {result["seconds"]:.0f} s'
                print(line, file=sys.stderr, flush=True)
                if args.json:
                    atomic_write_text(json.dumps({'plan': plan, 'files': list(results.values())}, indent=1), args.json)

    status = exit_status(job)
    failures = [failure for result in results.values() for failure in result['failures']]
    for failure in failures[: args.show]:
        print(f'\n{failure["file"]}, {failure["damage"]}\n{failure["verdict"]}: {failure["message"][-1500:]}')
    print(f'\n{table(list(results.values()))}')
    return status or int(bool(failures))


if __name__ == '__main__':
    sys.exit(main())
