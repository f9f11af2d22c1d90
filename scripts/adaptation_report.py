"""Report on a two-stage domain adaptation: how far stage 1 closed the gap, what stage 2 gains over bicubic upsampling.

Example:
    python scripts/adaptation_report.py experiments/train_domain_adaptation

The folder is one that scripts/train_domain_adaptation.py made, which calls this at its end. It gets report.md,
report.json and crops.png. Stage 2 is measured on its validation images by the metrics of val:metrics, those without
reference where there are no true images.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly

if TYPE_CHECKING:
    from ext_core.networks.files import GeneratorFile

ROWS = 4  # images in the picture
CROP = 96  # px of HR
LEGEND = (
    'MMD^2 of high-passed patches and its p-value; distance of the power spectra, and of their top band, dB; distance '
    'of the mean colours and contrasts, grey levels. 0 is no gap; the last row compares two halves of the real images.'
)
METHODS = ('bicubic', 'stage 2')


def super_resolution(opt: dict, opened: 'GeneratorFile') -> tuple[dict[str, dict], dict[str, dict], list[dict]]:
    """Of each validation set the mean metrics of bicubic upsampling and of stage 2; the metrics' options; pictures.

    A picture is the square of an image that has the most detail.
    """
    from basicsr.data import build_dataset
    from basicsr.utils import tensor2img

    from ext_core.use.adaptation_options import needs_gt, resolve
    from ext_core.use.crops import detail, strongest_window
    from ext_core.use.evaluation import METRICS, bicubic, measure, upscale, usable_metrics
    from ext_core.use.tables import mean

    metrics, reasons = usable_metrics((opt.get('val') or {}).get('metrics') or METRICS)
    for name, reason in reasons.items():
        print(f'{name} is left out. {reason}', file=sys.stderr)
    metrics = {name: {k: v for k, v in options.items() if k != 'optional'} for name, options in metrics.items()}
    results: dict[str, dict] = {}
    rows: list[dict] = []
    _, complete = resolve(opt, [], Path())
    for phase, section in complete['datasets'].items():
        if not phase.startswith('val'):
            continue
        values: dict[str, dict[str, list]] = {name: {metric: [] for metric in metrics} for name in METHODS}
        samples: Any = build_dataset(section)  # as the training of stage 2 reads them
        for sample in samples:
            low = tensor2img(sample['lq'])
            images = dict(zip(METHODS, (bicubic(low, opened.scale), upscale(opened.net, low)), strict=True))
            if 'gt' in sample:
                height, width = images['bicubic'].shape[:2]
                images['HR'] = tensor2img(sample['gt'])[:height, :width]
            usable = {name: value for name, value in metrics.items() if 'HR' in images or not needs_gt(value)}
            for name in METHODS:
                # metrics without reference take no notice of the second image
                found = measure(images[name], images.get('HR', images[name]), opened.scale, usable)
                for metric, value in found.items():
                    values[name][metric].append(None if math.isnan(value) else value)
            if len(rows) < ROWS:
                weight = detail(list(images.values())[-1])
                size = min(CROP, *weight.shape)
                top, left = strongest_window(weight, size)
                rows.append({name: image[top : top + size, left : left + size] for name, image in images.items()})
        means = {name: {metric: mean(v) for metric, v in of.items() if v} for name, of in values.items()}
        results[str(opt['datasets'][phase].get('name', phase))] = means
    return results, metrics, rows


def make(folder: Path) -> None:
    """Measure, and write the report into the folder."""
    import torch

    from ext_core.atomic import atomic_write_text
    from ext_core.options import yaml_safe
    from ext_core.use.adaptation import COMMANDS
    from ext_core.use.adaptation_options import shown
    from ext_core.use.crops import gallery
    from ext_core.use.evaluation import load_experiment
    from ext_core.use.tables import lower_is_better, table_text
    from ext_metrics.domain_gap import verdict

    first, second = (yaml_safe.read(folder / f'stage{number}.yml') for number in (1, 2))
    try:
        gap = json.loads((folder / 'gap.json').read_text(encoding='utf-8'))
        commands = (folder / COMMANDS).read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        raise UserError(f'{folder} cannot be reported on: {error}. Run scripts/train_domain_adaptation.py.') from error
    gap = {'stage 1' if Path(name).name == first['name'] else name: row for name, row in gap.items()}
    opened = load_experiment(folder.parent / second['name'])
    if torch.cuda.is_available():
        opened.net.cuda()
    results, metrics, rows = super_resolution(second, opened)
    gallery([('', images) for images in rows]).savefig(folder / 'crops.png')
    val = first['datasets']['val']
    report = {'name': folder.name, 'hr': val['dataroot_gt'], 'real': val['dataroot_real_lq'], 'gap': gap}
    report |= {'super_resolution': results, 'checkpoints': {}, 'commands': commands.splitlines()}
    for what, stage in (('degradation network', first), ('super-resolution network', second)):
        report['checkpoints'][what] = shown(folder.parent / stage['name'] / 'models' / 'net_g_latest.pth')
    atomic_write_text(json.dumps(report, indent=1) + '\n', folder / 'report.json')

    def table(rows: dict[str, dict[str, float | None]]) -> str:
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        arrows = {name: ' ↓' if lower_is_better(value) else ' ↑' for name, value in metrics.items()}
        lines = [['', *(key + arrows.get(key, '') for key in columns)]]
        for name, row in rows.items():
            values = [row.get(key) for key in columns]
            lines.append([name, *('–' if value is None else f'{value:.4g}' for value in values)])
        return table_text(lines)

    blocks = ['## Stage 1: gap between LR images and real ones']
    blocks += [f'HR: `{report["hr"]}`, real: `{report["real"]}`. {LEGEND}', table(gap)]
    blocks += [verdict({name: row['spectrum_db'] for name, row in gap.items()}), '![power spectra](gap.png)']
    for name, rows_of_set in results.items():
        blocks += [f'## Stage 2: super-resolution of {name}', table(rows_of_set)]
    tables = '\n\n'.join([*blocks, '![crops](crops.png)'])
    files = '\n'.join(f'- {what}: `{path}`' for what, path in report['checkpoints'].items())
    by_step = f'As scripts/train_domain_adaptation.py ran it:\n\n```\n{commands}```\n'
    text = [f'# {folder.name}', tables, '## Files', files, '## Step by step', by_step]
    atomic_write_text('\n\n'.join(text), folder / 'report.md')
    print(f'{tables}\n\nreport: {shown(folder / "report.md")}')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, metavar='DIR', help='experiments/<name>')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: make(args.folder))


if __name__ == '__main__':
    sys.exit(main())
