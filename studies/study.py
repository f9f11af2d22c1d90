"""Train recipes with several settings and seeds, evaluate all, and put the figures into a table.

A run is one training, ``experiments/<output's name>_<recipe>_<setting>_seed<n>``, and its evaluation. What has finished
is kept, what was interrupted resumes. :mod:`studies.mask_study` and :mod:`studies.gan_stability` say which settings
there are and what is reported.

The evaluation of one experiment is a command of its own:
``python studies/study.py --experiment DIR --set NAME=GT_DIR:LQ_DIR --metrics JSON --output FILE.json``.
"""

import argparse
import copy
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import named_folders, whole
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status, refusal
from ext_core.networks.files import GeneratorFile
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.registration import register_all
from ext_core.use import evaluation
from ext_core.use.benchmark import default_processes
from ext_core.use.jobs import Job, Step, fingerprint, refuse_foreign_experiment, training_part
from ext_core.use.tables import Row, mean, table_text
from studies.running import Outcome, run_jobs

AS_IS = 'as_is'  # the setting of recipes that are compared with one another
EVALUATION = Path(__file__)
Setting = tuple[str, Callable[[dict], None]]  # its name, and what it does to an option file's content in place


@dataclass
class Run:
    """One training: its recipe's name, what its option file holds, its metrics, and the job that does it."""

    recipe: str
    setting: str
    seed: int
    opt: dict
    metrics: dict[str, dict]
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
        '--test', nargs='+', type=named_folders, default=[], metavar='SET=GT:LQ', help='not the val sets'
    )
    parser.add_argument('--all-metrics', action='store_true', help='also PSNR-Y, SSIM-Y, NIQE and LPIPS at the end')
    parser.add_argument('--processes', type=whole(1), default=processes, help=f'trainings at a time, here: {processes}')
    parser.add_argument('--threads-per-process', type=whole(1), default=threads, metavar='N', help=f'here: {threads}')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the table and the rows there')
    return parser


def run_script(study: Callable[[argparse.Namespace], Outcome], args: argparse.Namespace) -> int:
    """Run a study; its exit status: 0; 1 where something failed, which is printed; 128 + the signal that stopped it."""
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    try:
        outcome = study(args)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if (message := refusal(error)) is None:
            raise
        print(f'error: {message}', file=sys.stderr)
        return 1
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


def plan(root: Path, args: argparse.Namespace, overrides: Sequence[str], settings: Sequence[Setting]) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped early has compared all settings. Writes nothing.

    Raises:
        UserError: If a recipe, an override, a metric or the folders of test images are not what they should be, two
            runs would have the same name, or another training has a run's name.
    """
    recipes = []
    for path in args.opt:
        demo = ['--demo'] if args.demo else []
        opt, _ = resolve(root, path, *demo, *(['--force_yml', *overrides] if overrides else []))
        val = opt.get('val') or {}
        metrics, missing = evaluation.usable_metrics(val.get('metrics') or evaluation.METRICS)
        if val.get('metrics'):
            val['metrics'] = metrics  # with the others training would refuse to start
        if args.all_metrics:
            every, missing_too = evaluation.usable_metrics(evaluation.METRICS)
            metrics, missing = {**every, **metrics}, {**missing_too, **missing}
        for metric, reason in missing.items():
            print(f'{path}: {metric} is left out. {reason}', file=sys.stderr)
        if args.demo:
            from ext_data.preparation.demo import ensure_demo_data

            ensure_demo_data(Path.cwd(), opt['scale'])
        sets = dict(args.test) or evaluation.validation_sets(opt)
        if not sets:
            raise UserError(f'{path} has no validation set with HR and LR images; name some with --test.')
        for folders in sets.values():
            evaluation.image_pairs([folders])
        recipes.append((opt, metrics, [f'{name}={gt}:{lq}' for name, (gt, lq) in sets.items()]))

    runs: dict[str, Run] = {}
    for seed, (recipe, metrics, sets_of_images), (setting, edit) in itertools.product(args.seeds, recipes, settings):
        parts = [args.output.resolve().name, recipe['name'], *([] if setting == AS_IS else [setting])]
        name = '_'.join([*parts, f'seed{seed}'])
        if name in runs:
            raise UserError(f'two runs would be {name}: give each recipe its own name, and each value and seed once.')
        opt = copy.deepcopy(recipe) | {'name': name, 'manual_seed': seed}
        edit(opt)
        refuse_foreign_experiment(root, opt)
        experiment, folder = root / 'experiments' / name, args.output / 'runs' / name
        train = [root / 'basicsr' / 'train.py', '-opt', folder / 'options.yml', '--auto_resume']
        measure = [EVALUATION, '--experiment', experiment, '--set', *sets_of_images]
        measure += ['--metrics', json.dumps(metrics), '--output', folder / 'result.json']
        product = experiment / 'models' / 'net_g_latest.pth'
        steps = [
            Step('train', [sys.executable, *map(str, train)], product, fingerprint(training_part(opt))),
            Step('evaluate', [sys.executable, *map(str, measure)], folder / 'result.json',
                 fingerprint(sets_of_images, metrics)),
        ]  # fmt: skip
        runs[name] = Run(recipe['name'], setting, seed, opt, metrics, Job(name, folder, steps))
    return list(runs.values())


def train(root: Path, runs: Sequence[Run], args: argparse.Namespace, on_progress: Callable[[Job], None]) -> Outcome:
    """Write the option files, check them, and run what is not done."""
    from ext_core.options.check import check_options

    kinds = {}  # runs that the check cannot tell apart: of one recipe and model, with the same keys in train
    for run in runs:
        run.job.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(yaml_safe.dump(run.opt), run.job.folder / 'options.yml')
        if run.job.pending():
            given = frozenset(key for key, value in run.opt['train'].items() if value is not None)
            kinds[run.recipe, run.opt['model_type'], given] = run
    for run in kinds.values():
        check_options(resolve(root, run.job.folder / 'options.yml')[1], is_train=True)
    jobs = [run.job for run in runs]
    to_do = sum(bool(job.pending()) for job in jobs)
    print(f'{len(runs)} runs, {to_do} to do: {args.processes} at a time with {args.threads_per_process} threads each')
    return run_jobs(jobs, args.processes, args.threads_per_process, on_progress)


# ---------------------------------------------------------------------- result
def evaluation_rows(runs: Iterable[Run], describe: Callable[[Run], Mapping[str, Any]] = lambda run: {}) -> list[Row]:
    """One row for each finished run and set, with the means of the metrics; ``describe`` gives further columns."""
    rows = []
    for run in (run for run in runs if not run.job.pending()):
        for name, values in json.loads(run.job.steps[-1].product.read_text(encoding='utf-8')).items():
            row: Row = {'recipe': run.recipe, 'setting': run.setting, **describe(run), 'seed': run.seed, 'set': name}
            rows.append(row | {key: mean(images.values()) for key, images in values.items()} | training_columns(run))
    return rows


def training_columns(run: Run) -> Row:
    """The last columns of a row: iterations, seconds, and the beginning of a hash of what decides the weights."""
    seconds, inputs = run.job.seconds('train'), run.job.steps[0].inputs
    return {'iterations': run.opt['train']['total_iter'], 'seconds': round(seconds, 1), 'options': inputs[:12]}


def metrics_of(runs: Iterable[Run]) -> dict[str, dict]:
    """The metrics that any recipe is evaluated with."""
    return {name: values for run in runs for name, values in run.metrics.items()}


def summarise(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Over seeds, for each set, recipe and setting, in the order of the rows.

    ``entry['metrics'][metric]`` has ``mean``, ``std`` (of the sample; None for one value) and the ``values``. A metric
    without any value is missing.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((row['set'], row['recipe'], row['setting']), []).append(row)
    sets = list(dict.fromkeys(row['set'] for row in rows))
    summary = []
    for (set_name, recipe, setting), members in sorted(groups.items(), key=lambda item: sets.index(item[0][0])):
        entry: Row = {'set': set_name, 'recipe': recipe, 'setting': setting}
        entry |= {'b': members[0].get('b'), 'seeds': [row['seed'] for row in members], 'metrics': {}}
        for metric in metrics:
            values = [row[metric] for row in members if row.get(metric) is not None]
            if values:
                std = statistics.stdev(values) if len(values) > 1 else None
                entry['metrics'][metric] = {'mean': statistics.fmean(values), 'std': std, 'values': values}
        summary.append(entry)
    return summary


def markdown(summary: Sequence[Row], metrics: Sequence[str]) -> str:
    """A table of mean ± standard deviation over seeds."""
    metrics = [metric for metric in metrics if any(metric in entry['metrics'] for entry in summary)]
    lines = [['set', 'recipe', 'setting', 'seeds', *metrics]]
    for entry in summary:
        cells = []
        for metric in metrics:
            value = entry['metrics'].get(metric)
            std = '' if value is None or value['std'] is None else f' ± {value["std"]:.4f}'
            cells.append('–' if value is None else f'{value["mean"]:.4f}{std}')
        lines.append([entry['set'], entry['recipe'], entry['setting'], str(len(entry['seeds'])), *cells])
    return table_text(lines)


# ---------------------------------------------------------------------- evaluation of one experiment
def evaluate(
    opened: GeneratorFile, sets: Mapping[str, evaluation.Folders], metrics: Mapping[str, dict]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Metrics of every image: set, then metric, then file name. None where an image is too small for a metric."""
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    for set_name, folders in sets.items():
        values = results[set_name] = {metric: {} for metric in metrics}
        for low_path, gt_path in evaluation.image_pairs([folders]):
            low, gt = evaluation.read(low_path), evaluation.read(gt_path)
            image = evaluation.upscale(opened.net, low)
            gt = gt[: low.shape[0] * opened.scale, : low.shape[1] * opened.scale]
            for metric, value in evaluation.measure(image, gt, opened.scale, metrics).items():
                values[metric][gt_path.name] = None if math.isnan(value) else value
    return results


def main(argv: list[str] | None = None) -> int:
    """Evaluate one experiment and write every image's metrics as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--experiment', type=Path, required=True, metavar='DIR')
    parser.add_argument('--set', nargs='+', type=named_folders, required=True, metavar='NAME=GT:LQ', dest='sets')
    parser.add_argument('--metrics', type=json.loads, default=evaluation.METRICS, metavar='JSON', help='as val:metrics')
    parser.add_argument('--output', type=Path, required=True, metavar='JSON')
    args = parser.parse_args(argv)
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')

    def job() -> None:
        opened = evaluation.load_experiment(args.experiment)
        if torch.cuda.is_available():
            opened.net.cuda()
        results = evaluate(opened, dict(args.sets), args.metrics)
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.output)

    return exit_status(job)


if __name__ == '__main__':
    sys.exit(main())
