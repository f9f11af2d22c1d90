"""Train GAN recipes with several seeds and compare how steadily they train: CSV, plot and table.

Examples:
    python studies/gan_stability.py -opt options/train_esrgan.yml options/train_pesr.yml --output results/stability \\
        --demo --seeds 0 1 --set val:val_freq=10
    python studies/gan_stability.py -opt studies/options/bsds400/srgan.yml studies/options/bsds400/vgg_srgan.yml \\
        --output results/energy --test Set5=Set5/HR:Set5/LR

Each run is a training of its own in experiments/<output's name>_<recipe>_seed<n>, with its curves in tb_logger/. Repeat
the command to continue: what has finished or diverged is kept, what was interrupted resumes. Figures for each run: does
it diverge (a loss, energy or PSNR that is not finite, or a validation PSNR more than --drop below the run's best so
far, after pretrain_iters), how far does the validation PSNR scatter over the last --tail of the training, and how
large and steady is the adversarial gradient at the generated images. docs/gan_stability.md says how to read them.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.networks.records import Curves, read_curves
from ext_core.use.tables import Row, table_text, write_csv
from studies import study as runs_of
from studies.divergence import (
    Course,
    Divergence,
    figures,
    gradient_curves,
    output_gap,
    psnr_curves,
    stopped_by,
)
from studies.study import (
    AS_IS,
    Outcome,
    Run,
    evaluation_rows,
    markdown,
    metrics_of,
    parser_of,
    plan,
    run_script,
    summarise,
    training_columns,
)

ROOT = Path(__file__).resolve().parents[1]
_NO_FIGURES = ('recipe', 'seed', 'diverged', 'diverged_at', 'reason', 'iterations', 'seconds', 'options')


# ---------------------------------------------------------------------- over seeds
def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """For each recipe its seeds, how many ``diverged``, their share (``divergence_rate``), and the ``figures``.

    A figure has ``mean``, ``std`` (of the sample; None for one value) and ``values``, of the runs that have it.
    """
    names = list(dict.fromkeys(key for row in rows for key in row if key not in _NO_FIGURES))
    summary = []
    for entry in summarise([{**row, 'set': '', 'setting': AS_IS} for row in rows], names):
        diverged = sum(row['recipe'] == entry['recipe'] and row['diverged'] == 'yes' for row in rows)
        summary.append({'recipe': entry['recipe'], 'seeds': entry['seeds'], 'diverged': diverged})
        summary[-1] |= {'divergence_rate': diverged / len(entry['seeds']), 'figures': entry['metrics']}
    return summary


def table(summary: Sequence[Row]) -> str:
    """A line for each figure, a column for each recipe: mean ± standard deviation over seeds.

    Where only some of the seeds have the figure, their number follows.
    """
    lines = [['', *(entry['recipe'] for entry in summary)]]
    lines.append(['diverged', *(f'{entry["diverged"]} of {len(entry["seeds"])}' for entry in summary)])
    for name in dict.fromkeys(name for entry in summary for name in entry['figures']):
        cells = []
        for entry in summary:
            value = entry['figures'].get(name)
            if value is None:
                cells.append('–')
                continue
            text = f'{value["mean"]:.4g}' + ('' if value['std'] is None else f' ± {value["std"]:.2g}')
            count = len(value['values'])
            cells.append(text if count == len(entry['seeds']) else f'{text} ({count})')
        lines.append([name, *cells])
    return table_text(lines)


@dataclass
class Line:
    """One run in the plot."""

    recipe: str
    curves: Curves
    course: Course
    diverged_at: int | None


def plot(lines: Sequence[Line], path: Path) -> None:
    """A panel each for the PSNR of every validation set, ``grad_gan`` and the gap of the discriminator's outputs.

    A recipe is a colour, a seed a thin line, their mean a thick one, up to where the first of them ends. A cross is
    where a run diverged. Without any curve nothing is written.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    of_psnr = [psnr_curves(line.curves, line.course) for line in lines]
    panels = {  # of each line its curve, by title
        f'validation PSNR on {name}, dB': [curves.get(name, {}) for curves in of_psnr]
        for name in dict.fromkeys(itertools.chain(*of_psnr))
    }
    norms = [gradient_curves(line.curves, line.course)['grad_gan'] for line in lines]
    panels['grad_gan: gradient norm at the images'] = norms
    panels["discriminator's output, real minus generated"] = [output_gap(line.curves) for line in lines]
    panels = {title: shown for title, shown in panels.items() if any(shown)}
    if not panels:
        return
    recipes = list(dict.fromkeys(line.recipe for line in lines))
    figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.2 * len(panels), 3.4), layout='constrained')
    for axis, (title, shown) in zip(axes[0], panels.items(), strict=True):
        for index, recipe in enumerate(recipes):
            colour = f'C{index % 10}'
            of_all = zip(lines, shown, strict=True)
            drawn = [(line, curve) for line, curve in of_all if line.recipe == recipe and curve]
            marker = '.' if drawn and min(len(curve) for _, curve in drawn) < 3 else None  # a lone point is invisible
            for line, curve in drawn:
                axis.plot([*curve], [*curve.values()], color=colour, linewidth=0.7, alpha=0.5, marker=marker)
                before = [step for step in curve if line.diverged_at is not None and step <= line.diverged_at]
                if before:
                    axis.plot(before[-1], curve[before[-1]], 'x', color=colour, markersize=7)
            common = sorted(set.intersection(*(set(curve) for _, curve in drawn))) if drawn else []
            if common:
                means = [statistics.fmean(curve[step] for _, curve in drawn) for step in common]
                axis.plot(common, means, color=colour, linewidth=1.8, marker=marker, label=recipe)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('iteration', fontsize=8)
        axis.tick_params(labelsize=7)
        if title.startswith('grad_gan'):
            axis.set_yscale('log')
    handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[0][0].legend(handles.values(), handles.keys(), fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


# ---------------------------------------------------------------------- the study
def log_curves(opt: dict) -> None:
    """Let a training write what the figures are made of; what it learns stays the same."""
    from basicsr.utils.registry import MODEL_REGISTRY

    from ext_core.options.declared import declared
    from ext_core.options.problems import is_number
    from ext_models.registries import look_up

    logger = opt['logger'] = {**(opt.get('logger') or {}), 'use_tb_logger': True}
    # BasicSR's own do not know the key
    known = 'log_gradient_norms' in declared(look_up(MODEL_REGISTRY, opt['model_type']), 'TrainOptions')
    every = logger.get('print_freq')
    if known and not opt['train'].get('log_gradient_norms') and is_number(every) and every >= 1:
        opt['train']['log_gradient_norms'] = int(every)


def stopped(run: Run) -> Divergence | None:
    """Where an earlier command saw this training end because a loss was not finite."""
    path = run.job.folder / 'diverged.json'
    try:
        record = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}. Delete it, and the training is run again.') from error
    if record.get('inputs') != run.job.steps[0].inputs:  # of a training with other options
        return None
    return Divergence(record['iteration'], record['reason'])


def measure(runs: Sequence[Run], args: argparse.Namespace) -> tuple[list[Run], list[Row], list[Line]]:
    """The runs that were trained to the end or diverged; of each its row of figures, and its line in the plot."""
    ended = [run for run in runs if stopped(run) or run.job.steps[0] not in run.job.pending()]
    rows, lines = [], []
    for run in ended:
        curves, course = read_curves(ROOT / 'tb_logger' / run.job.name), Course.of(run.opt, args.tail, args.drop)
        row = {'recipe': run.recipe, 'seed': run.seed, **figures(curves, course, stopped(run))}
        rows.append(row | training_columns(run))
        lines.append(Line(run.recipe, curves, course, row['diverged_at']))
    return ended, rows, lines


def train(runs: Sequence[Run], args: argparse.Namespace) -> Outcome:
    """Train what is not done. A run that ends on a loss that is not finite is a result, not a failure: it is recorded,
    and not repeated."""
    to_train = [run for run in runs if stopped(run) is None]
    logs = {run.job.name: run.job.folder / 'train.log' for run in to_train}
    before = {name: log.stat().st_size if log.is_file() else 0 for name, log in logs.items()}
    outcome = runs_of.train(ROOT, to_train, args, lambda job: write_tables(runs, measure(runs, args)[1], args.output))
    for run in to_train:
        name = run.job.name
        if name not in outcome.failed or not logs[name].is_file():
            continue
        found = stopped_by(logs[name].read_bytes()[before[name] :].decode(errors='replace'))
        if found:
            record = {'inputs': run.job.steps[0].inputs, 'iteration': found.iteration, 'reason': found.reason}
            atomic_write_text(json.dumps(record, indent=1) + '\n', run.job.folder / 'diverged.json')
            del outcome.failed[name]
    return outcome


def write_tables(runs: Sequence[Run], rows: list[Row], output: Path) -> None:
    """Figures of the trainings, and metrics of the final generators."""
    for name, content in {'stability.csv': rows, 'results.csv': evaluation_rows(runs)}.items():
        if content:
            write_csv(content, output / name)


def study(args: argparse.Namespace) -> Outcome:
    """Train, measure, report."""
    runs = plan(ROOT, args, args.set, [(AS_IS, log_curves)])
    for run in runs:
        if Course.of(run.opt, args.tail, args.drop).psnr is None and run.seed == args.seeds[0]:
            print(f'{run.recipe} has no PSNR among val:metrics; its figures of PSNR stay blank.', file=sys.stderr)
        if 'debug' in run.job.name:
            raise UserError(
                f"{run.job.name}: BasicSR writes no curves for names with 'debug' in them. Choose another --output, or "
                'another name in the recipe.'
            )
    outcome = train(runs, args)
    ended, rows, lines = measure(runs, args)
    if not rows:
        return outcome
    write_tables(runs, rows, args.output)
    for run, row, line in zip(ended, rows, lines, strict=True):
        if row['diverged'] == 'yes':
            print(f'{run.job.name} diverged at iteration {row["diverged_at"]}: {row["reason"]}')
        if not line.curves:
            print(f'{run.job.name}: there are no curves in tb_logger/{run.job.name}, so its figures stay blank.')
    metrics = list(metrics_of(runs))
    summary, final = over_seeds(rows), summarise(evaluation_rows(runs), metrics)
    print(table(summary))
    if final:
        print(f'\n{markdown(final, metrics)}')
    plot(lines, args.output / 'stability.png')
    print(', '.join(str(path) for path in sorted(args.output.iterdir()) if path.suffix in ('.csv', '.png')))
    if args.json:
        content = {'summary': summary, 'rows': rows, 'results': final}
        atomic_write_text(json.dumps(content, indent=1) + '\n', args.json)
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
    parser = parser_of(__doc__)
    parser.add_argument('--tail', type=_share, default=0.5, help='share of the training for spreads, default: 0.5')
    parser.add_argument('--drop', type=_decibels, default=3.0, help='dB of PSNR that are divergence, default: 3')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(study, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
