"""What the scripts that train recipes with several settings and seeds have in common: arguments, runs, exit status.

A study is a list of :class:`Run`; each is a training of its own, ``experiments/<output's name>_<recipe>_<setting>_
seed<n>``, without the setting where recipes are trained as they are. What a script calls: :func:`parser_of`,
:func:`read_recipe`, :func:`plan`, :func:`train`, :func:`evaluation_rows` and, around all of them, :func:`run_script`.
"""

import argparse
import copy
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.registration import register_all
from ext_core.studies import training_jobs
from ext_core.studies.evaluation import METRICS, Folders, image_pairs, named_folders, usable_metrics, validation_sets
from ext_core.studies.jobs import Job, Outcome, default_processes, run_jobs
from ext_core.studies.report import AS_IS, Row, mean

Variant = tuple[str, Callable[[dict], None]]  # a setting's name, and what it does to an option file's content in place


@dataclass
class Recipe:
    """An option file's content with all overrides, and how to evaluate what it trains."""

    opt: dict
    metrics: dict[str, dict]
    sets: Mapping[str, Folders]


@dataclass
class Run:
    """One training: its option file's content, and the job that trains and evaluates it."""

    recipe: Recipe
    setting: str
    seed: int
    opt: dict
    job: Job


# ---------------------------------------------------------------------- command line
def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that every study has."""
    processes, threads = default_processes()
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', nargs='+', type=Path, required=True, metavar='FILE', help='recipes')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--set', nargs='+', default=[], metavar='A:B=C', help='as --force_yml of training')
    parser.add_argument('--demo', action='store_true', help='shrink the recipes and run on embedded photographs')
    parser.add_argument(
        '--test', nargs='+', type=named_folders, default=[], metavar='SET=GT:LQ', help='default: the validation sets'
    )
    parser.add_argument(
        '--all-metrics',
        action='store_true',
        help='measure PSNR-Y, SSIM-Y, NIQE and LPIPS at the end beside the metrics of val',
    )
    parser.add_argument('--processes', type=positive, default=processes, help=f'trainings at a time, here: {processes}')
    parser.add_argument('--threads-per-process', type=positive, default=threads, metavar='N', help=f'here: {threads}')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the table and the rows there')
    return parser


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1 on, but got {text!r}')
    return int(text)


def run_script(study: Callable[[argparse.Namespace], Outcome], args: argparse.Namespace) -> int:
    """Run a study as a script does.

    Returns:
        int: Exit status: 0; 1 after a :class:`UserError`, which is printed, or where a run failed; 128 + the signal
        that stopped the study.
    """
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    try:
        outcome = study(args)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if outcome.signal is not None:
        print('stopped; repeat the command to continue', file=sys.stderr)
        return 128 + outcome.signal
    for message in outcome.failed.values():
        print(f'failed: {message}', file=sys.stderr)
    return 1 if outcome.failed else 0


# ---------------------------------------------------------------------- runs
def resolve(root: Path, path: Path, *arguments: str) -> tuple[dict, dict]:
    """An option file as it is, and as training completes it."""
    return options.resolve(options.parse_arguments(['-opt', str(path), *arguments], is_train=True), root, is_train=True)


def read_recipe(root: Path, path: Path, args: argparse.Namespace, overrides: Sequence[str]) -> Recipe:
    """A recipe with ``--demo``, ``--test`` and the overrides.

    Raises:
        UserError: If the file, an override, a metric, or the folders of test images are not what they should be.
    """
    opt, _ = resolve(
        root, path, *(['--demo'] if args.demo else []), *(['--force_yml', *overrides] if overrides else [])
    )
    metrics, reasons = training_jobs.keep_usable_metrics(opt)
    if args.all_metrics:
        every, missing = usable_metrics(METRICS)
        metrics, reasons = {**every, **metrics}, {**missing, **reasons}
    for metric, reason in reasons.items():
        print(f'{path}: {metric} is left out. {reason}', file=sys.stderr)
    if args.demo:
        from ext_data.preparation.demo import ensure_demo_data

        ensure_demo_data(Path.cwd(), opt['scale'])
    sets = dict(args.test) or validation_sets(opt)
    if not sets:
        raise UserError(f'{path} has no validation set with HR and LR images; name some with --test.')
    for folders in sets.values():
        image_pairs([folders])
    return Recipe(opt, metrics, sets)


def plan(root: Path, recipes: Sequence[Recipe], variants: Sequence[Variant], args: argparse.Namespace) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped early has compared all settings.

    Raises:
        UserError: If two runs would have the same name, or another training has a run's name.
    """
    runs: dict[str, Run] = {}
    for seed, recipe, (setting, edit) in itertools.product(args.seeds, recipes, variants):
        parts = [args.output.resolve().name, recipe.opt['name'], *([] if setting == AS_IS else [setting])]
        name = '_'.join([*parts, f'seed{seed}'])
        if name in runs:
            raise UserError(f'two runs would be {name}: give each recipe its own name, and each value and seed once.')
        opt = copy.deepcopy(recipe.opt)
        opt.update(name=name, manual_seed=seed)
        edit(opt)
        job = training_jobs.training_job(root, opt, recipe.sets, args.output, recipe.metrics)
        runs[name] = Run(recipe, setting, seed, opt, job)
    return list(runs.values())


def check(root: Path, runs: Iterable[Run]) -> None:
    """Training's own check, for each recipe and choice of its parts, so that a mistake shows before the first run."""
    from ext_core.options.check import check_options

    kinds = {_kind(run): run for run in runs if run.job.pending()}
    for run in kinds.values():
        _, opt = resolve(root, run.job.folder / 'options.yml')
        check_options(opt, is_train=True)


def _kind(run: Run) -> tuple:
    """Runs that the check cannot tell apart: of one recipe and model, with the same keys in ``train``."""
    given = frozenset(key for key, value in run.opt['train'].items() if value is not None)
    return run.recipe.opt['name'], run.opt['model_type'], given


def train(root: Path, runs: Sequence[Run], args: argparse.Namespace, on_progress: Callable[[Job], None]) -> Outcome:
    """Write the option files, check them, and run what is not done; ``on_progress`` as of :func:`run_jobs`."""
    for run in runs:
        training_jobs.write_options(run.job, run.opt)
    check(root, runs)
    jobs = [run.job for run in runs]
    to_do = sum(bool(job.pending()) for job in jobs)
    print(f'{len(runs)} runs, {to_do} to do: {args.processes} at a time with {args.threads_per_process} threads each')
    return run_jobs(jobs, args.processes, args.threads_per_process, on_progress)


# ---------------------------------------------------------------------- result
def evaluation_rows(runs: Iterable[Run], describe: Callable[[Run], Mapping[str, Any]] = lambda run: {}) -> list[Row]:
    """One row for each finished run and set, with the means of the metrics; ``describe`` gives further columns."""
    rows = []
    for run in runs:
        for name, values in (training_jobs.result_of(run.job) or {}).items():
            row: Row = {'recipe': run.recipe.opt['name'], 'setting': run.setting, **describe(run)}
            row |= {'seed': run.seed, 'set': name}
            row |= {metric: mean(images.values()) for metric, images in values.items()}
            rows.append(row | training_columns(run))
    return rows


def training_columns(run: Run) -> Row:
    """The last columns of a row: iterations, seconds, and the beginning of a hash of what decides the weights."""
    seconds, inputs = run.job.seconds('train'), run.job.steps[0].inputs
    return {'iterations': run.opt['train']['total_iter'], 'seconds': round(seconds, 1), 'options': inputs[:12]}


def metrics_of(runs: Iterable[Run]) -> dict[str, dict]:
    """The metrics that any recipe is evaluated with."""
    return {name: values for run in runs for name, values in run.recipe.metrics.items()}
