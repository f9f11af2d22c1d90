"""Train GAN recipes with several seeds and compare how steadily they train: CSV, plot and table.

Examples:
    python studies/gan_stability.py -opt options/train_esrgan.yml options/train_pesr.yml --output results/stability \\
        --demo --seeds 0 1 --set val:val_freq=10
    python studies/gan_stability.py -opt studies/options/bsds400/esrgan.yml studies/options/bsds400/rrdb_psnr.yml \\
        --output results/esrgan --test Set5=Set5/HR:Set5/LR

Each run is a training of its own in experiments/<output's name>_<recipe>_seed<n>, with its curves in tb_logger/. Repeat
the command to continue: what has finished or diverged is kept, what was interrupted resumes. Figures for each run: does
it diverge (a loss, energy or PSNR that is not finite, or a validation PSNR more than --drop below the run's best so
far, after pretrain_iters), how far does the validation PSNR scatter over the last --tail of the training, and how
large and steady is the adversarial gradient at the generated images. docs/gan_stability.md says how to read them.
"""

import argparse
import itertools
import json
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.networks.records import Curve, Curves, read_curves
from ext_core.use.tables import Row, table_text, write_csv
from studies import study as runs_of
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
_VALIDATION = ('metrics/', 'gap/')  # tags that validations write; all others are of training steps
_STOPPED = re.compile(r'error: Iteration (\d+): (?:loss|gradient of) (.+?) is not finite')  # what training ends with
_NO_FIGURES = ('recipe', 'seed', 'diverged', 'diverged_at', 'reason', 'iterations', 'seconds', 'options')


@dataclass(frozen=True)
class Course:
    """What a run's curves are read by.

    Args:
        total_iter (int): Iterations that the training should take.
        alone_iters (int): Those before the adversarial phase.
        gradients_every (int): ``train:log_gradient_norms``; a norm is logged again until the next is measured.
        psnr (str | None): Name of the PSNR among ``val:metrics``.
        tail (float): Share of the training, at its end, over which spreads are taken, in (0, 1].
        drop (float): dB of validation PSNR below the best so far that count as divergence, > 0.
    """

    total_iter: int
    alone_iters: int = 0
    gradients_every: int = 1
    psnr: str | None = 'psnr'
    tail: float = 0.5
    drop: float = 3.0

    @classmethod
    def of(cls, opt: Mapping[str, Any], tail: float, drop: float) -> 'Course':
        """From an option file's content. The first PSNR of ``val:metrics`` counts."""
        train, metrics = opt['train'], (opt.get('val') or {}).get('metrics') or {}
        first = sum(int(train.get(key) or 0) for key in ('pretrain_iters', 'autoencoder_iters'))
        psnr = [name for name, options in metrics.items() if str(options.get('type')).startswith('calculate_psnr')]
        return cls(
            total_iter=int(train['total_iter']),
            alone_iters=max(first, int(train.get('net_d_init_iters') or 0)),
            gradients_every=int(train.get('log_gradient_norms') or 1),
            psnr=psnr[0] if psnr else None,
            tail=tail,
            drop=drop,
        )

    def adversarial(self, curve: Curve) -> Curve:
        """The adversarial phase of a curve, without what is not finite."""
        return {step: value for step, value in curve.items() if step > self.alone_iters and math.isfinite(value)}

    def in_tail(self, curve: Curve) -> list[float]:
        """Values of the adversarial phase in the last ``tail`` of the training."""
        start = self.total_iter * (1 - self.tail)
        return [value for step, value in self.adversarial(curve).items() if step > start]

    def quarters(self, curve: Curve) -> tuple[list[float], list[float]]:
        """Values of the first and of the last quarter of the adversarial phase."""
        quarter = (self.total_iter - self.alone_iters) / 4
        values = self.adversarial(curve).items()
        first = [value for step, value in values if step <= self.alone_iters + quarter]
        return first, [value for step, value in values if step > self.total_iter - quarter]


@dataclass(frozen=True)
class Divergence:
    """Where a run diverged, and how it shows."""

    iteration: int
    reason: str


# ---------------------------------------------------------------------- curves
def psnr_curves(curves: Curves, course: Course) -> Curves:
    """Validation PSNR, by the name of the set."""
    suffix = f'/{course.psnr}'
    names = [tag for tag in curves if tag.startswith('metrics/') and tag.endswith(suffix)]
    return {tag.removeprefix('metrics/').removesuffix(suffix): curves[tag] for tag in names}


def gradient_curves(curves: Curves, course: Course) -> Curves:
    """``grad_gan``, the norm of the adversarial loss's gradient at the generated images, and ``gan_share``: that over
    the sum of the other losses' norms (pixel, perceptual, ...), at the iterations where they were measured."""
    norm = curves.get('grad_gan', {})
    others = [curve for tag, curve in curves.items() if tag.startswith('grad_') and tag != 'grad_gan']
    content = {step: math.fsum(curve.get(step, 0.0) for curve in others) for step in norm}
    share = {step: norm[step] / total for step, total in content.items() if total > 0}
    every = course.gradients_every
    return {
        name: {step // every * every: value for step, value in curve.items()}
        for name, curve in (('grad_gan', norm), ('gan_share', share))
    }


def output_gap(curves: Curves) -> Curve:
    """The discriminator's mean output on real images minus that on generated ones."""
    real, fake = curves.get('out_d_real', {}), curves.get('out_d_fake', {})
    return {step: real[step] - fake[step] for step in real if step in fake}


# ---------------------------------------------------------------------- divergence
def stopped_by(log: str) -> Divergence | None:
    """What a training's output says if a loss that is not finite ended it."""
    found = _STOPPED.findall(log)
    return Divergence(int(found[-1][0]), f'{found[-1][1]} not finite') if found else None


def divergence(curves: Curves, course: Course, stopped: Divergence | None = None) -> Divergence | None:
    """The first sign that a run diverged, or None. Signs are:

    * training ended because a loss was not finite (``stopped``);
    * a scalar logged of a training step (loss, energy, output, gradient norm) is NaN or infinite;
    * a validation PSNR is NaN or more than ``drop`` below the best on the same set so far. Validations before the
      adversarial phase do not count, since a GAN is meant to give up some of the PSNR that it starts with. A run whose
      PSNR recovers has diverged all the same.
    """
    signs = [stopped] if stopped else []
    for tag, curve in curves.items():
        if not tag.startswith(_VALIDATION):
            bad = [step for step, value in curve.items() if not math.isfinite(value)]
            signs += [Divergence(step, f'{tag} not finite') for step in bad[:1]]
    for name, curve in psnr_curves(curves, course).items():
        best = -math.inf
        for step, value in curve.items():
            if step <= course.alone_iters:
                continue
            if math.isnan(value) or best - value > course.drop:
                after = f' after {best:.2f} dB' if best > -math.inf else ''
                signs.append(Divergence(step, f'PSNR on {name} {value:.2f} dB{after}'))
                break
            best = max(best, value)
    return min(signs, key=lambda sign: sign.iteration, default=None)


# ---------------------------------------------------------------------- figures
def figures(curves: Curves, course: Course, stopped: Divergence | None = None) -> dict[str, Any]:
    """One run's figures; None where the curves do not tell.

    ``diverged`` ('yes', 'no'), ``diverged_at`` (iteration) and ``reason``: :func:`divergence`. For each validation set,
    in dB: ``psnr_last:<set>``, ``psnr_std:<set>`` (standard deviation over the validations in the tail, n - 1) and
    ``psnr_best_minus_last:<set>`` (the best is of the adversarial phase). For the adversarial gradient, ``grad_gan``,
    and its ``gan_share``: ``_first`` and ``_last`` (medians over the first and last quarter of the adversarial phase),
    ``_ratio`` (last over first) and ``_cv`` (coefficient of variation in the tail: standard deviation over mean).
    """
    sign = divergence(curves, course, stopped)
    result: dict[str, Any] = {
        'diverged': 'yes' if sign else 'no',
        'diverged_at': sign.iteration if sign else None,
        'reason': sign.reason if sign else None,
    }
    for name, curve in psnr_curves(curves, course).items():
        adversarial = list(course.adversarial(curve).values())
        last = adversarial[-1] if adversarial else None
        result[f'psnr_last:{name}'] = last
        result[f'psnr_std:{name}'] = _std(course.in_tail(curve))
        result[f'psnr_best_minus_last:{name}'] = None if last is None else max(adversarial) - last
    for key, curve in gradient_curves(curves, course).items():
        first, final = (statistics.median(values) if values else None for values in course.quarters(curve))
        tail = course.in_tail(curve)
        std, mean = _std(tail), statistics.fmean(tail) if tail else 0.0
        result[f'{key}_first'], result[f'{key}_last'] = first, final
        result[f'{key}_ratio'] = final / first if first and final is not None else None
        result[f'{key}_cv'] = std / mean if std is not None and mean > 0 else None
    return result


def _std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


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
    from ext_core.options.problems import is_number, look_up

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
