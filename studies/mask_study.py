"""Train a recipe with and without the mask, for several k, b and seeds, and evaluate all: CSV, plot and table.

Examples:
    python studies/mask_study.py -opt options/train_mask_esrgan.yml --output results/mask_study --demo --seeds 0
    python studies/mask_study.py -opt options/train_mask_esrgan.yml --output results/readings \\
        --vary error_norm=none,mean window=1,7 --test Set5=Set5/HR:Set5/LR Set14=Set14/HR:Set14/LR
    python studies/mask_study.py --as-is --output results/with_and_without \\
        -opt studies/options/bsds400/compact_gan.yml studies/options/bsds400/compact_mask_image_mean.yml

Each run is a training of its own in experiments/<output's name>_<recipe>_<setting>_seed<n>. Repeat the command to
continue: what has finished is kept, what was interrupted resumes. Its option file, logs and figures are in
<output>/runs/. docs/mask_study.md says how to read the result.
"""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.use.tables import Row, lower_is_better, write_csv
from studies.study import (
    AS_IS,
    Outcome,
    Run,
    Setting,
    evaluation_rows,
    markdown,
    metrics_of,
    parser_of,
    plan,
    run_script,
    summarise,
    train,
)

ROOT = Path(__file__).resolve().parents[1]
FIGURE_5 = {'k': [0.1, 0.2, 0.4], 'b': [0.25, 0.5, 0.75]}
PAPER = {'k': [0.2], 'b': [0.5]}
BASELINE = 'no_mask'  # the setting that others are compared with
MASK_KEY = 'train:mask_opt:'


def settings_of(args: argparse.Namespace) -> dict[str, dict[str, Any] | None]:
    """Values to put into the mask, by the setting's name: no mask (None) first, then every combination."""
    varied = {}
    for entry in args.vary:
        key, equals, text = entry.partition('=')
        varied[key] = yaml_safe.parse(f'[{text}]', f'--vary {entry}')
        if not (key and equals and varied[key]):
            raise UserError(f'--vary {entry}: expected OPTION=VALUE,VALUE, for instance window=1,7.')
    grid = {**(PAPER if varied else FIGURE_5), **varied}
    grid.update({key: values for key, values in (('k', args.k), ('b', args.b)) if values})
    settings: list[tuple[str, dict[str, Any] | None]] = [(BASELINE, None)]
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        name = '_'.join(f'{key}{"-" if len(key) > 1 else ""}{value}' for key, value in values.items())
        settings.append((re.sub(r'[^\w.+-]', '', name), values))  # k0.2_b0.5_error_norm-mean
    if len(dict(settings)) < len(settings):
        raise UserError('two runs would have one name: give each value and seed once.')
    return dict(settings)


def put_mask(values: Mapping[str, Any] | None, of_every_mask: Mapping[str, Any], opt: dict) -> None:
    """Put values into the mask of an option file's content, in place; None switches it off.

    Raises:
        UserError: If the mask refuses its options.
    """
    from basicsr.losses import build_loss

    train = opt['train']
    if values is None:
        train['mask_opt'] = None
        if opt['model_type'] == 'MaskGANModel':  # the same model, except that it insists on its mask
            opt['model_type'] = 'GANSRModel'
        return
    train['mask_opt'] = {'type': 'ErrorMask', **(train.get('mask_opt') or {}), **of_every_mask, **values}
    try:
        build_loss(train['mask_opt'])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'no mask can be built from {train["mask_opt"]}: {error}') from error


# ---------------------------------------------------------------------- result
def rows_of(runs: list[Run]) -> list[Row]:
    """One row for each finished run and set, with the options of its mask."""
    masks = {run.job.name: run.opt['train'].get('mask_opt') or {} for run in runs}
    keys = list(dict.fromkeys(['k', 'b', *(key for mask in masks.values() for key in mask if key != 'type')]))
    return evaluation_rows(runs, lambda run: {key: masks[run.job.name].get(key) for key in keys})


def against_baseline(summary: Sequence[Row], metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each set and recipe that has a baseline: how many settings are at least as good, by the mean."""
    sentences = []
    for baseline in (entry for entry in summary if entry['setting'] == BASELINE):
        others = [e for e in summary if e is not baseline and all(e[key] == baseline[key] for key in ('set', 'recipe'))]
        counts = []
        for metric, options in metrics.items():
            sign = -1 if lower_is_better(options) else 1
            means = [sign * e['metrics'][metric]['mean'] for e in (baseline, *others) if metric in e['metrics']]
            if metric in baseline['metrics'] and len(means) > 1:
                counts.append(f'{metric} {sum(value >= means[0] for value in means[1:])} of {len(means) - 1}')
        if counts:
            where = f'{baseline["set"]}, {baseline["recipe"]}'
            sentences.append(f'{where}: settings at least as good as without mask: {", ".join(counts)}')
    return sentences


def plot(summary: Sequence[Row], metrics: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A panel for each metric and set: lines against b where b varies, else a point for each setting.

    Error bars are standard deviations over seeds; the baseline is a band.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    metrics = {name: value for name, value in metrics.items() if any(name in entry['metrics'] for entry in summary)}
    if not metrics:
        return
    against_b = len({entry['b'] for entry in summary if entry['setting'] != AS_IS} - {None}) > 1
    groups: dict[tuple, list[Row]] = {}
    for entry in summary:
        groups.setdefault((entry['set'], entry['recipe']) if against_b else (entry['set'],), []).append(entry)
    size = (3.6 * len(metrics), 3.0 * len(groups))
    figure, axes = plt.subplots(len(groups), len(metrics), squeeze=False, figsize=size, layout='constrained')
    for row, (group, entries) in zip(axes, groups.items(), strict=True):
        for axis, (metric, options) in zip(row, metrics.items(), strict=True):
            shown = [(entry, entry['metrics'][metric]) for entry in entries if metric in entry['metrics']]
            several = len({entry['recipe'] for entry, _ in shown}) > 1
            lines: dict[str, list[tuple[float, Row]]] = {}
            labels: list[str] = []
            for entry, value in shown:
                if entry['setting'] == BASELINE and not several:
                    std = value['std'] or 0.0
                    axis.axhspan(value['mean'] - std, value['mean'] + std, color='0.85')
                    axis.axhline(value['mean'], color='0.4', linewidth=1, linestyle='--', label='no mask')
                if against_b and entry['setting'] != BASELINE:
                    lines.setdefault(entry['setting'].replace(f'_b{entry["b"]}', ''), []).append((entry['b'], value))
                if not against_b:
                    parts = [entry['recipe']] if several or entry['setting'] == AS_IS else []
                    labels.append(' '.join(parts + ([] if entry['setting'] == AS_IS else [entry['setting']])))
                    x = len(labels) - 1
                    axis.plot([x] * len(value['values']), value['values'], '.', color='0.6', markersize=4)
                    axis.errorbar(x, value['mean'], value['std'] or 0.0, fmt='o', markersize=4, capsize=3, color='C0')
            for index, (name, line) in enumerate(lines.items()):
                shift = 0.004 * (index - (len(lines) - 1) / 2)  # so that error bars do not hide one another
                line.sort(key=lambda point: point[0])
                means, stds = zip(*((value['mean'], value['std'] or 0.0) for _, value in line), strict=True)
                style = {'marker': 'o', 'markersize': 3, 'capsize': 2, 'linewidth': 1}
                axis.errorbar([b + shift for b, _ in line], means, stds, label=name, **style)
            if against_b:
                axis.set_xticks(sorted({b for line in lines.values() for b, _ in line}))
                axis.set_xlabel('b', fontsize=8)
            axis.tick_params(labelsize=7)
            if not against_b:
                axis.set_xticks(range(len(labels)), labels, rotation=40, ha='right', fontsize=6)
            axis.set_title(f'{", ".join(group)}: {metric} {"↓" if lower_is_better(options) else "↑"}', fontsize=8)
    if axes[0][0].get_legend_handles_labels()[1]:
        axes[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


# ---------------------------------------------------------------------- the study
def study(args: argparse.Namespace) -> Outcome:
    """Train, evaluate, report."""
    if args.as_is:
        if args.k or args.b or args.vary:
            raise UserError('--as-is trains the recipes as they are; leave out --k, --b and --vary.')
        runs = plan(ROOT, args, args.set, [(AS_IS, lambda opt: None)])
    else:
        # a recipe without a mask has no keys to override, so the mask's are kept apart
        rest = [entry for entry in args.set if not entry.startswith(MASK_KEY)]
        of_mask = {}
        for entry in args.set:
            if entry.startswith(MASK_KEY):
                key, _, text = entry.removeprefix(MASK_KEY).partition('=')
                of_mask[key] = yaml_safe.parse(text, f'--set {entry}')
        settings: list[Setting] = [
            (name, partial(put_mask, values, of_mask)) for name, values in settings_of(args).items()
        ]
        runs = plan(ROOT, args, rest, settings)
    table = args.output / 'results.csv'
    outcome = train(ROOT, runs, args, lambda job: write_csv(rows_of(runs), table))
    rows, metrics = rows_of(runs), metrics_of(runs)
    if rows:
        write_csv(rows, table)
        summary = summarise(rows, list(metrics))
        plot(summary, metrics, table.with_suffix('.png'))
        print('\n'.join([markdown(summary, list(metrics)), '', *against_baseline(summary, metrics)]))
        print(f'{table}, {table.with_suffix(".png")}')
        if args.json:
            atomic_write_text(json.dumps({'summary': summary, 'rows': rows}, indent=1) + '\n', args.json)
    return outcome


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('--k', nargs='+', type=float, help='slopes of the mask, default: 0.1 0.2 0.4')
    parser.add_argument('--b', nargs='+', type=float, help='masks where the error is 0, default: 0.25 0.5 0.75')
    parser.add_argument('--vary', nargs='+', default=[], metavar='OPTION=V,V', help='others; k and b are then 0.2, 0.5')
    parser.add_argument('--as-is', action='store_true', help='only compare the recipes, as they are')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(study, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
