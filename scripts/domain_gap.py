"""How far bicubic or generated LR images are from a camera's own, which show other things: a table and a plot.

Examples:
    python scripts/domain_gap.py --hr datasets/DIV2K/valid_HR_x4 --real datasets/RealSR/Nikon_test_LR_real_x4 --scale 4
    python scripts/domain_gap.py --hr HR --real LR --experiment experiments/train_da_stage1 --output gap.png
    python scripts/domain_gap.py --lr generated.lmdb --real LR --json gap.json

Sets are folders, or LMDBs (*.lmdb). Rows, each compared with the real images:
    bicubic            the HR images, reduced by bicubic: the gap before any training
    each --experiment  the HR images through its degradation network (EMA weights where it has them), and its noise
    each --lr          images that are there already, LR like the real ones
    real, two halves   every other real image against the rest: what a closed gap looks like
Columns:
    MMD^2, p     squared maximum mean discrepancy of high-passed patches (unbiased, 0 on average where there is no gap),
                 and the share of random divisions into two sets whose value is as large: small p, different sets
    spectrum     distance of the mean power spectra, dB
    top band     power at 0.45 to 0.5 cycles per px over that of the real images, dB; above 0 is sharper or noisier
    colour, std  distance of the mean colours, and of the contrasts, in grey levels
    noise, shot  standard deviation of the set's own noise at black, and what white has in addition, in grey levels
All see content, too: compare rows of one table. The last lines say what to do: adapt, or not, or take more images; and
which noise to add, as options/train_domain_adaptation.yml takes it. Of larger sets, --images evenly spaced ones are
used.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import picture, spare_inputs, whole
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = {
    'mmd': 'MMD^2',
    'p': 'p',
    'spectrum_db': 'spectrum',
    'top_band_db': 'top band',
    'colour': 'colour',
    'colour_std': 'std',
    'noise': 'noise',
    'shot_noise': 'shot',
}
FLOOR_ROW = 'real, two halves'
SEEN_NOISE = 1.0  # grey levels
FEWEST_REAL = 2  # images, so that they have two halves


def stored_images(root: Path, limit: int) -> 'Iterator[Tensor]':
    """At most ``limit`` evenly spaced images of a folder or LMDB, (3, h, w), RGB in [0, 1]."""
    from ext_core.use.evaluation import tensor_of
    from ext_core.use.hr_sources import pictures_of, read_picture
    from ext_data.decoding import ImageError

    pictures = pictures_of(root)
    count = min(limit, len(pictures))
    for number in range(count):
        try:
            image = read_picture(pictures[number * len(pictures) // count])
        except ImageError as error:
            raise UserError(f'{error}. Replace or delete it.') from error
        yield tensor_of(image)[0]


def collect(args: argparse.Namespace) -> 'dict[str, list[Tensor]]':
    """The sets to compare with the real one, by the names of their rows."""
    import torch

    from ext_arch.resize import bicubic_downscale
    from ext_core.use.evaluation import load_experiment
    from ext_models.degrading import degraded, in_levels, noisy

    sets: dict[str, list[Tensor]] = {}
    if args.hr:
        degraders = {str(folder): load_experiment(folder) for folder in args.experiment}
        scales = {degrader.scale for degrader in degraders.values()} | ({args.scale} if args.scale else set())
        if len(scales) > 1:
            raise UserError(f'--experiment, --scale: scales {sorted(scales)} cannot be mixed: give those of one scale.')
        if not scales:
            raise UserError('--hr needs --scale (or an --experiment, which has one).')
        (scale,) = scales
        rows = {'bicubic': None, **degraders}
        sets = {name: [] for name in rows}
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        for opened in degraders.values():
            opened.net.to(device)
        torch.manual_seed(0)
        for hr in stored_images(args.hr, args.images):  # HR images are large: one at a time
            height, width = (side // scale * scale for side in hr.shape[-2:])
            hr = hr[None, :, :height, :width]
            for name, degrader in rows.items():
                if degrader is None:
                    lr = bicubic_downscale(hr, scale)
                else:
                    train = (degrader.options or {}).get('train') or {}
                    lr = degraded(degrader.net, hr.to(device), scale)
                    lr = noisy(lr, train.get('noise') or 0, train.get('shot_noise') or 0)
                sets[name].append(in_levels(lr)[0].cpu())  # rounded to 8 bits as LR files are
    elif args.experiment:
        raise UserError('--experiment needs --hr, the images to put through the network.')
    sets |= {str(root): list(stored_images(root, args.images)) for root in args.lr}
    if not sets:
        raise UserError('Nothing to compare: give --hr with --scale, or --lr.')
    return sets


def draw(sets: 'dict[str, list[Tensor]]', output: Path) -> None:
    """Mean power spectra of all sets, and each less that of the last one, the real images."""
    import numpy as np
    from matplotlib.figure import Figure

    from ext_metrics.domain_gap import common_crop, mean_spectrum

    crop = common_crop(*sets.values())
    bins = (crop - 1) // 2
    frequencies = (np.arange(bins) + 0.5) / (2 * bins)
    spectra = {name: mean_spectrum(images, bins, crop).numpy() for name, images in sets.items()}
    real = list(spectra.values())[-1]
    figure = Figure(figsize=(11, 4), layout='constrained')
    power, difference = figure.subplots(1, 2)
    for name, spectrum in spectra.items():
        style = {'color': 'black', 'linewidth': 2} if name == 'real' else {}
        power.plot(frequencies, spectrum, label=name, **style)
        difference.plot(frequencies, spectrum - real, **style)
    power.set(ylabel='power of luminance, dB', title='mean power spectrum')
    difference.set(ylabel='dB', title='less that of the real images')
    for axis in (power, difference):
        axis.set(xlabel='frequency, cycles per px', xlim=(0, 0.5))
        axis.grid(alpha=0.3)
    power.legend()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)


def run(args: argparse.Namespace) -> None:
    from ext_metrics.domain_gap import camera_blur, colour_distance, mmd_test, spectrum_distance, verdict
    from ext_metrics.noise_level import noise_level

    if taken := {'bicubic', 'real', FLOOR_ROW} & {str(place) for place in (*args.experiment, *args.lr)}:
        raise UserError(f'{min(taken)} is the name of a row or a line of the plot. Write its absolute path.')
    for output in (args.output, args.json):
        folders = [root for root in (args.real, args.hr, *args.lr) if root and root.is_dir()]
        spare_inputs(output, [path for root in folders for path in root.iterdir()])
    real = list(stored_images(args.real, args.images))
    if len(real) < FEWEST_REAL:
        raise UserError(f'--real: {args.real} must hold at least {FEWEST_REAL} images.')
    sets = collect(args)
    compared = {name: (images, real) for name, images in sets.items()} | {FLOOR_ROW: (real[::2], real[1::2])}
    results: dict[str, dict[str, float]] = {}
    space = max(map(len, compared)) + 2
    for name, pair in compared.items():
        distances = (*mmd_test(*pair, args.permutations), *spectrum_distance(*pair), *colour_distance(*pair))
        results[name] = dict(zip(COLUMNS, (*distances, *noise_level(pair[0])), strict=True))
    print(' ' * space + ''.join(f'{column:>10}' for column in COLUMNS.values()))
    for name, row in results.items():
        figures = (f'{value:{"10.5f" if column == "mmd" else "10.3f"}}' for column, value in row.items())
        print(f'{name:{space}}' + ''.join(figures))
    if 'bicubic' in results:
        print('\n' + verdict({name: row['spectrum_db'] for name, row in results.items()}))
        own = [
            max(0.0, results[FLOOR_ROW][key] ** 2 - results['bicubic'][key] ** 2) ** 0.5
            for key in ('noise', 'shot_noise')
        ]
        if max(own) > SEEN_NOISE:
            print(f'Noise: the real images have some that bicubic ones lack, noise: [{own[0]:.1f}, {own[1]:.1f}].')
        elif results['bicubic']['spectrum_db'] >= 2 * results[FLOOR_ROW]['spectrum_db']:
            gains = ', '.join(f'{gain:g}' for gain in camera_blur(sets['bicubic'], real))
            print(f'Blur, without stage 1: degrade: {{type: CameraBlur, gains: [{gains}]}}')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.json)
    if args.output:
        draw({**sets, 'real': real}, args.output)
        print(f'picture: {args.output}')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--real', type=Path, required=True, metavar='SET', help='real LR images')
    parser.add_argument('--hr', type=Path, metavar='SET', help='HR images, of other things or the same')
    parser.add_argument('--scale', type=int, help='between HR and LR. Default: that of the experiments')
    parser.add_argument('--experiment', nargs='+', type=Path, default=[], metavar='DIR', help='finished stage 1')
    parser.add_argument('--lr', nargs='+', type=Path, default=[], metavar='SET', help='LR images made before')
    parser.add_argument('--images', type=whole(1), default=100, help='at most so many of each set. Default: 100')
    parser.add_argument('--permutations', type=whole(1), default=200, help='for the p-value. Default: 200')
    parser.add_argument('--output', type=picture, metavar='PNG', help='also plot the power spectra')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures there')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: run(args))


if __name__ == '__main__':
    sys.exit(main())
