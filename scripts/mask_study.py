"""Train a recipe with and without the mask, for several k, b and seeds, and evaluate all: CSV, plot and table.

Examples:
    python scripts/mask_study.py -opt options/train_mask_esrgan.yml --output results/mask_study --demo --seeds 0
    python scripts/mask_study.py -opt options/train_mask_esrgan.yml --output results/readings \\
        --vary error_norm=none,mean window=1,7 --test Set5=Set5/HR:Set5/LR Set14=Set14/HR:Set14/LR
    python scripts/mask_study.py --as-is -opt options/bsds400/esrgan.yml options/bsds400/mask_esrgan.yml \\
        --output results/with_and_without

Each run is a training of its own in experiments/<output's name>_<recipe>_<setting>_seed<n>. Repeat the command to
continue: what has finished is kept, what was interrupted resumes. Its option file, logs and figures are in
<output>/runs/. docs/mask_study.md says how to read the result.
"""

import argparse
import copy
import itertools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_core import options, study_report, training_jobs, yaml_safe
from ext_core.checkpoint import atomic_write_text
from ext_core.errors import UserError
from ext_core.evaluation import Folders, image_pairs, named_folders, validation_sets
from ext_core.registration import register_all
from ext_core.studies import Job, Outcome, default_processes, run_jobs

ROOT = Path(__file__).resolve().parents[1]
FIGURE_5 = {'k': [0.1, 0.2, 0.4], 'b': [0.25, 0.5, 0.75]}
PAPER = {'k': [0.2], 'b': [0.5]}
MASK_KEY = 'train:mask_opt:'


@dataclass(frozen=True)
class Setting:
    """What is done to a recipe's mask: ``values`` are put into it; None switches it off; ``as_is`` leaves it."""

    name: str
    values: Mapping[str, Any] | None = None
    as_is: bool = False


@dataclass
class Recipe:
    """An option file's content, mask options for every setting that has a mask, and how to evaluate it."""

    opt: dict
    mask_values: dict[str, Any]
    metrics: dict[str, dict]
    sets: Mapping[str, Folders]


@dataclass
class Run:
    """One training: its option file's content, and the job that trains and evaluates it."""

    recipe: Recipe
    setting: Setting
    seed: int
    opt: dict
    job: Job


# ---------------------------------------------------------------------- settings
def settings_of(args: argparse.Namespace) -> list[Setting]:
    """No mask first, then every combination of the values."""
    if args.as_is:
        if args.k or args.b or args.vary:
            raise UserError('--as-is trains the recipes as they are; leave out --k, --b and --vary.')
        return [Setting(study_report.AS_IS, as_is=True)]
    varied = dict(map(_varied, args.vary))
    grid = {**(PAPER if varied else FIGURE_5), **varied}
    grid.update({key: values for key, values in (('k', args.k), ('b', args.b)) if values})
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [Setting(study_report.BASELINE), *(Setting(_setting_name(values), values) for values in combinations)]


def _varied(entry: str) -> tuple[str, list]:
    key, equals, text = entry.partition('=')
    values = yaml_safe.parse(f'[{text}]', f'--vary {entry}')
    if not (key and equals and values):
        raise UserError(f'--vary {entry}: expected OPTION=VALUE,VALUE, for instance window=1,7.')
    return key, values


def _setting_name(values: Mapping[str, Any]) -> str:
    """k0.2_b0.5_error_norm-mean"""
    parts = (f'{key}{"-" if len(key) > 1 else ""}{value}' for key, value in values.items())
    return re.sub(r'[^\w.+-]', '', '_'.join(parts))


# ---------------------------------------------------------------------- runs
def resolve(path: Path, *arguments: str) -> tuple[dict, dict]:
    """An option file as it is, and as training completes it."""
    return options.resolve(options.parse_arguments(['-opt', str(path), *arguments], is_train=True), ROOT, is_train=True)


def recipe_of(path: Path, args: argparse.Namespace) -> Recipe:
    """A recipe with ``--demo``, ``--set`` and ``--test``, after a check of its metrics and test images."""
    # a recipe without a mask has no keys to override, so the mask's are kept apart
    of_mask = [entry for entry in args.set if entry.startswith(MASK_KEY) and not args.as_is]
    rest = [entry for entry in args.set if entry not in of_mask]
    opt, _ = resolve(path, *(['--demo'] if args.demo else []), *(['--force_yml', *rest] if rest else []))
    mask_values = {}
    for entry in of_mask:
        key, _, text = entry.removeprefix(MASK_KEY).partition('=')
        mask_values[key] = yaml_safe.parse(text, f'--set {entry}')
    metrics, reasons = training_jobs.keep_usable_metrics(opt)
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
    return Recipe(opt, mask_values, metrics, sets)


def options_of(recipe: Recipe, setting: Setting, seed: int, name: str) -> dict:
    """The option file of one run.

    Raises:
        UserError: If the mask refuses its options.
    """
    from basicsr.losses import build_loss

    opt = copy.deepcopy(recipe.opt)
    opt.update(name=name, manual_seed=seed)
    train = opt['train']
    if setting.values is not None:
        mask_opt = {'type': 'ErrorMask', **(train.get('mask_opt') or {}), **recipe.mask_values, **setting.values}
        try:
            build_loss(mask_opt)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f'{setting.name}: no mask can be built from {mask_opt}: {error}') from error
        train['mask_opt'] = mask_opt
    elif not setting.as_is:
        train['mask_opt'] = None
        if opt['model_type'] == 'MaskGANModel':  # the same model, except that it insists on its mask
            opt['model_type'] = 'GANSRModel'
    return opt


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped early has compared all settings."""
    settings = settings_of(args)
    recipes = [recipe_of(path, args) for path in args.opt]
    runs: dict[str, Run] = {}
    for seed, recipe, setting in itertools.product(args.seeds, recipes, settings):
        parts = [args.output.resolve().name, recipe.opt['name'], *([] if setting.as_is else [setting.name])]
        name = '_'.join([*parts, f'seed{seed}'])
        if name in runs:
            raise UserError(f'two runs would be {name}: give each recipe its own name, and each value and seed once.')
        opt = options_of(recipe, setting, seed, name)
        job = training_jobs.training_job(ROOT, opt, recipe.sets, args.output, recipe.metrics)
        runs[name] = Run(recipe, setting, seed, opt, job)
    return list(runs.values())


def check(runs: list[Run]) -> None:
    """Training's own check, for each recipe with and without mask, so that a mistake shows before the first run."""
    from ext_core.check import check_options

    kinds = {(run.recipe.opt['name'], bool(run.opt['train'].get('mask_opt'))): run for run in runs if run.job.pending()}
    for run in kinds.values():
        _, opt = resolve(run.job.folder / 'options.yml')
        check_options(opt, is_train=True)


# ---------------------------------------------------------------------- result
def rows_of(runs: list[Run]) -> list[study_report.Row]:
    """One row for each finished run and set."""
    masks = [run.opt['train'].get('mask_opt') or {} for run in runs]
    keys = list(dict.fromkeys(['k', 'b', *(key for mask in masks for key in mask if key != 'type')]))
    rows = []
    for run, mask in zip(runs, masks, strict=True):
        for name, values in (training_jobs.result_of(run.job) or {}).items():
            row: study_report.Row = {'recipe': run.recipe.opt['name'], 'setting': run.setting.name}
            row |= {key: mask.get(key) for key in keys} | {'seed': run.seed, 'set': name}
            row |= {metric: study_report.mean(images.values()) for metric, images in values.items()}
            row |= {'iterations': run.opt['train']['total_iter'], 'seconds': round(run.job.seconds('train'), 1)}
            rows.append(row | {'options': run.job.steps[0].inputs[:12]})
    return rows


def write_csv(runs: list[Run], output: Path) -> None:
    """What there is so far."""
    study_report.write_csv(rows_of(runs), output / 'results.csv')


def report(runs: list[Run], args: argparse.Namespace) -> None:
    """CSV, plot and table of the runs that have finished."""
    rows = rows_of(runs)
    if not rows:
        return
    metrics = {name: values for run in runs for name, values in run.recipe.metrics.items()}
    summary = study_report.summarise(rows, list(metrics))
    write_csv(runs, args.output)
    study_report.plot(summary, metrics, args.output / 'results.png')
    comparison = study_report.against_baseline(summary, metrics)
    print('\n'.join([study_report.markdown(summary, list(metrics)), '', *comparison]))
    print(f'{args.output / "results.csv"}, {args.output / "results.png"}')
    if args.json:
        atomic_write_text(json.dumps({'summary': summary, 'rows': rows}, indent=1) + '\n', args.json)


def study(args: argparse.Namespace) -> Outcome:
    runs = plan(args)
    for run in runs:
        training_jobs.write_options(run.job, run.opt)
    check(runs)
    jobs = [run.job for run in runs]
    to_do = sum(bool(job.pending()) for job in jobs)
    print(f'{len(runs)} runs, {to_do} to do: {args.processes} at a time with {args.threads_per_process} threads each')
    outcome = run_jobs(jobs, args.processes, args.threads_per_process, lambda job: write_csv(runs, args.output))
    report(runs, args)
    return outcome


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1 on, but got {text!r}')
    return int(text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    processes, threads = default_processes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', nargs='+', type=Path, required=True, metavar='FILE', help='recipes')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    parser.add_argument('--k', nargs='+', type=float, help='slopes of the mask, default: 0.1 0.2 0.4')
    parser.add_argument('--b', nargs='+', type=float, help='masks where the error is 0, default: 0.25 0.5 0.75')
    parser.add_argument('--vary', nargs='+', default=[], metavar='OPTION=V,V', help='others; k and b are then 0.2, 0.5')
    parser.add_argument('--as-is', action='store_true', help='only compare the recipes, as they are')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--set', nargs='+', default=[], metavar='A:B=C', help='as --force_yml of training')
    parser.add_argument('--demo', action='store_true', help='shrink the recipes and run on embedded photographs')
    parser.add_argument(
        '--test', nargs='+', type=named_folders, default=[], metavar='SET=GT:LQ', help='default: the validation sets'
    )
    parser.add_argument(
        '--processes', type=_positive, default=processes, help=f'trainings at a time, here: {processes}'
    )
    parser.add_argument('--threads-per-process', type=_positive, default=threads, metavar='N', help=f'here: {threads}')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the table and the rows there')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
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


if __name__ == '__main__':
    sys.exit(main())
