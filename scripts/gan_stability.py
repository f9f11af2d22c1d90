"""Train GAN recipes with several seeds and compare how steadily they train: CSV, plot and table.

Examples:
    python scripts/gan_stability.py -opt options/train_esrgan.yml options/train_pesr.yml --output results/stability \\
        --demo --seeds 0 1 --set val:val_freq=10
    python scripts/gan_stability.py -opt options/bsds400/esrgan.yml options/bsds400/rrdb_psnr.yml \\
        --output results/esrgan --test Set5=Set5/HR:Set5/LR

Each run is a training of its own in experiments/<output's name>_<recipe>_seed<n>, with its curves in tb_logger/. Repeat
the command to continue: what has finished or diverged is kept, what was interrupted resumes. Figures for each run: does
it diverge (a loss, energy or PSNR that is not finite, or a validation PSNR more than --drop below the run's best so
far, after pretrain_iters), how far does the validation PSNR scatter over the last --tail of the training, and how
large and steady is the adversarial gradient at the generated images. docs/gan_stability.md says how to read them.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError
from ext_core.saving.checkpoint import atomic_write_text
from ext_core.studies import recipes as recipe_studies
from ext_core.studies import report as study_report
from ext_core.studies import stability, stability_report
from ext_core.studies.jobs import Job, Outcome
from ext_core.studies.recipes import Run
from ext_core.studies.stability import Divergence

ROOT = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------------- runs
def log_curves(opt: dict) -> None:
    """Let a training write what the figures are made of; what it learns stays the same."""
    from basicsr.utils.registry import MODEL_REGISTRY

    from ext_core.options.declared import declared
    from ext_core.options.problems import is_number, look_up

    logger = opt['logger'] = {**(opt.get('logger') or {}), 'use_tb_logger': True}
    # BasicSR's own do not know the key
    known = 'log_gradient_norms' in declared(look_up(MODEL_REGISTRY, opt['model_type']), 'TrainOptions')
    every = logger.get('print_freq')
    if known and not opt['train'].get('log_gradient_norms') and is_number(every) and every >= 1:
        opt['train']['log_gradient_norms'] = int(every)


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs of all recipes."""
    recipes = [recipe_studies.read_recipe(ROOT, path, args, args.set) for path in args.opt]
    for path, recipe in zip(args.opt, recipes, strict=True):
        if course_of(recipe.opt, args).psnr is None:
            print(f'{path} has no PSNR among val:metrics; its figures of PSNR stay blank.', file=sys.stderr)
    runs = recipe_studies.plan(ROOT, recipes, [(study_report.AS_IS, log_curves)], args)
    for run in runs:
        if 'debug' in run.job.name:
            raise UserError(
                f"{run.job.name}: BasicSR writes no curves for names with 'debug' in them. Choose another --output, or "
                'another name in the recipe.'
            )
    return runs


def course_of(opt: dict, args: argparse.Namespace) -> stability.Course:
    return stability.Course.of(opt, args.tail, args.drop)


# ---------------------------------------------------------------------- divergence that ended a training
def record_of(run: Run) -> Path:
    return run.job.folder / 'diverged.json'


def stopped(run: Run) -> Divergence | None:
    """Where an earlier command saw this training end because a loss was not finite."""
    path = record_of(run)
    try:
        record = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}. Delete it, and the training is run again.') from error
    if record.get('inputs') != run.job.steps[0].inputs:  # of a training with other options
        return None
    return Divergence(record['iteration'], record['reason'])


def train(runs: list[Run], args: argparse.Namespace) -> Outcome:
    """Train what is not done. A run that ends on a loss that is not finite is a result, not a failure: it is recorded,
    and not repeated."""
    to_train = [run for run in runs if stopped(run) is None]
    logs = {run.job.name: run.job.folder / 'train.log' for run in to_train}
    before = {name: log.stat().st_size if log.is_file() else 0 for name, log in logs.items()}

    def write_what_there_is(job: Job) -> None:
        write_csv(measure(runs, args)[0], recipe_studies.evaluation_rows(runs), args.output)

    outcome = recipe_studies.train(ROOT, to_train, args, write_what_there_is)
    for run in to_train:
        name = run.job.name
        if name not in outcome.failed or not logs[name].is_file():
            continue
        found = stability.stopped_by(logs[name].read_bytes()[before[name] :].decode(errors='replace'))
        if found:
            record = {'inputs': run.job.steps[0].inputs, 'iteration': found.iteration, 'reason': found.reason}
            atomic_write_text(json.dumps(record, indent=1) + '\n', record_of(run))
            del outcome.failed[name]
    return outcome


# ---------------------------------------------------------------------- result
def ended(runs: list[Run]) -> list[Run]:
    """Runs that were trained to the end or diverged before; those that failed or are under way tell nothing yet."""
    return [run for run in runs if stopped(run) or run.job.steps[0] not in run.job.pending()]


def measure(runs: list[Run], args: argparse.Namespace) -> tuple[list[study_report.Row], list[stability_report.Line]]:
    """A row of figures, and a line in the plot, for each run that has ended."""
    rows, lines = [], []
    for run in ended(runs):
        curves = stability.read_curves(ROOT / 'tb_logger' / run.job.name)
        course = course_of(run.opt, args)
        row = {'recipe': run.recipe.opt['name'], 'seed': run.seed, **stability.figures(curves, course, stopped(run))}
        rows.append(row | recipe_studies.training_columns(run))
        lines.append(stability_report.Line(row['recipe'], curves, course, row['diverged_at']))
    return rows, lines


def write_csv(rows: list[study_report.Row], results: list[study_report.Row], output: Path) -> None:
    """Figures of the trainings, and metrics of the final generators."""
    for name, content in {'stability.csv': rows, 'results.csv': results}.items():
        if content:
            study_report.write_csv(content, output / name)


def remarks(runs: list[Run], rows: list[study_report.Row], lines: list[stability_report.Line]) -> None:
    """Say which runs diverged, and which left no curves."""
    for run, row, line in zip(ended(runs), rows, lines, strict=True):
        if row['diverged'] == 'yes':
            print(f'{run.job.name} diverged at iteration {row["diverged_at"]}: {row["reason"]}')
        if not line.curves:
            print(f'{run.job.name}: there are no curves in tb_logger/{run.job.name}, so its figures stay blank.')


def report(runs: list[Run], args: argparse.Namespace) -> None:
    """CSV, plot and tables of the runs that have ended."""
    rows, lines = measure(runs, args)
    if not rows:
        return
    results, metrics = recipe_studies.evaluation_rows(runs), list(recipe_studies.metrics_of(runs))
    write_csv(rows, results, args.output)
    remarks(runs, rows, lines)
    summary, final = stability_report.over_seeds(rows), study_report.summarise(results, metrics)
    print(stability_report.markdown(summary))
    if final:
        print(f'\n{study_report.markdown(final, metrics)}')
    stability_report.plot(lines, args.output / 'stability.png')
    print(', '.join(str(path) for path in sorted(args.output.iterdir()) if path.suffix in ('.csv', '.png')))
    if args.json:
        content = {'summary': summary, 'rows': rows, 'results': final}
        atomic_write_text(json.dumps(content, indent=1) + '\n', args.json)


def study(args: argparse.Namespace) -> Outcome:
    runs = plan(args)
    outcome = train(runs, args)
    report(runs, args)
    return outcome


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'expected a share above 0, up to 1, but got {text!r}')
    return value


def _decibels(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f'expected decibels above 0, but got {text!r}')
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_studies.parser_of(__doc__)
    parser.add_argument('--tail', type=_share, default=0.5, help='share of the training for spreads, default: 0.5')
    parser.add_argument('--drop', type=_decibels, default=3.0, help='dB of PSNR that are divergence, default: 3')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return recipe_studies.run_script(study, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
