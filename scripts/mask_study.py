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
import itertools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.saving.checkpoint import atomic_write_text
from ext_core.studies import recipes as recipe_studies
from ext_core.studies import report as study_report
from ext_core.studies.jobs import Outcome
from ext_core.studies.recipes import Run

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
def put_mask(setting: Setting, of_every_mask: Mapping[str, Any], opt: dict) -> None:
    """Do to an option file's content what the setting says, in place.

    Raises:
        UserError: If the mask refuses its options.
    """
    from basicsr.losses import build_loss

    train = opt['train']
    if setting.values is not None:
        mask_opt = {'type': 'ErrorMask', **(train.get('mask_opt') or {}), **of_every_mask, **setting.values}
        try:
            build_loss(mask_opt)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f'{setting.name}: no mask can be built from {mask_opt}: {error}') from error
        train['mask_opt'] = mask_opt
    elif not setting.as_is:
        train['mask_opt'] = None
        if opt['model_type'] == 'MaskGANModel':  # the same model, except that it insists on its mask
            opt['model_type'] = 'GANSRModel'


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs of all settings."""
    # a recipe without a mask has no keys to override, so the mask's are kept apart
    of_mask = [entry for entry in args.set if entry.startswith(MASK_KEY) and not args.as_is]
    rest = [entry for entry in args.set if entry not in of_mask]
    values = {}
    for entry in of_mask:
        key, _, text = entry.removeprefix(MASK_KEY).partition('=')
        values[key] = yaml_safe.parse(text, f'--set {entry}')
    variants = [(setting.name, partial(put_mask, setting, values)) for setting in settings_of(args)]
    recipes = [recipe_studies.read_recipe(ROOT, path, args, rest) for path in args.opt]
    return recipe_studies.plan(ROOT, recipes, variants, args)


# ---------------------------------------------------------------------- result
def rows_of(runs: list[Run]) -> list[study_report.Row]:
    """One row for each finished run and set, with the options of its mask."""
    masks = {run.job.name: run.opt['train'].get('mask_opt') or {} for run in runs}
    keys = list(dict.fromkeys(['k', 'b', *(key for mask in masks.values() for key in mask if key != 'type')]))
    return recipe_studies.evaluation_rows(runs, lambda run: {key: masks[run.job.name].get(key) for key in keys})


def write_csv(runs: list[Run], output: Path) -> None:
    """What there is so far."""
    study_report.write_csv(rows_of(runs), output / 'results.csv')


def report(runs: list[Run], args: argparse.Namespace) -> None:
    """CSV, plot and table of the runs that have finished."""
    rows = rows_of(runs)
    if not rows:
        return
    metrics = recipe_studies.metrics_of(runs)
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
    outcome = recipe_studies.train(ROOT, runs, args, lambda job: write_csv(runs, args.output))
    report(runs, args)
    return outcome


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_studies.parser_of(__doc__)
    parser.add_argument('--k', nargs='+', type=float, help='slopes of the mask, default: 0.1 0.2 0.4')
    parser.add_argument('--b', nargs='+', type=float, help='masks where the error is 0, default: 0.25 0.5 0.75')
    parser.add_argument('--vary', nargs='+', default=[], metavar='OPTION=V,V', help='others; k and b are then 0.2, 0.5')
    parser.add_argument('--as-is', action='store_true', help='only compare the recipes, as they are')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return recipe_studies.run_script(study, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
