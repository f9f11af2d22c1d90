"""Compare trained experiments with bicubic upsampling: a table of metrics and a picture of crops.

Examples:
    python scripts/compare.py --experiment experiments/demo_train_mask_esrgan --output comparison.png
    python scripts/compare.py --experiment experiments/a experiments/b --gt Set5/HR --lq Set5/LR --output set5.png \\
        --json set5.json

Each experiment is a folder that training left: its option file, and models/net_g_latest.pth (its EMA weights where it
has them); or the name of a generator of the box, such as photo_x4_psnr. Images are the validation sets of the first
folder, or the folders given. Where the last experiment was trained with a mask, a column shows what that makes of its
error.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from ext_core.errors import exit_status
from ext_core.registration import register_quietly
from ext_core.use.crops import detail, strongest_window
from ext_core.use.evaluation import METRICS, bicubic, load_experiment, measure, pairs, read, tensor_of, upscale


def draw(rows: list[dict[str, np.ndarray]], output: Path, crop: int) -> None:
    """One row of whole images and one of crops for each test image, columns titled."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    titles = list(rows[0])
    figure = Figure(figsize=(2.6 * len(titles), 5.4 * len(rows)), layout='constrained')
    axes = figure.subplots(2 * len(rows), len(titles), squeeze=False)
    for row, images in enumerate(rows):
        y, x, _ = strongest_window(detail(images['GT']), crop)
        for column, title in enumerate(titles):
            picture = images[title][..., ::-1]
            whole, zoom = axes[2 * row][column], axes[2 * row + 1][column]
            whole.imshow(picture)
            whole.add_patch(Rectangle((x, y), crop, crop, fill=False, color='yellow', linewidth=1.2))
            zoom.imshow(picture[y : y + crop, x : x + crop], interpolation='nearest')
            whole.set_title('\n'.join(textwrap.wrap(title, 28)), fontsize=9)
            for axis in (whole, zoom):
                axis.set_axis_off()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)


def compare(args: argparse.Namespace) -> None:
    from basicsr.losses import build_loss

    names = [folder.name for folder in args.experiment]
    opened = {f.name if names.count(f.name) == 1 else str(f): load_experiment(f) for f in args.experiment}
    *_, last = opened.values()
    scale, mask_opt = next(iter(opened.values())).scale, ((last.options or {}).get('train') or {}).get('mask_opt')
    figures: dict[str, dict[str, list[float]]] = {}
    rows: list[dict[str, np.ndarray]] = []
    options = next((one.options for one in opened.values() if one.options), {})
    for low_path, gt_path in pairs(options, args.gt, args.lq):
        low, gt = read(low_path), read(gt_path)
        gt = gt[: low.shape[0] * scale, : low.shape[1] * scale]
        images = {'bicubic': bicubic(low, scale), **{name: upscale(one.net, low) for name, one in opened.items()}}
        for name, image in images.items():
            for metric, value in measure(image, gt, scale).items():
                figures.setdefault(name, {}).setdefault(metric, []).append(value)
        if len(rows) < args.rows:
            if mask_opt:
                seen = build_loss(mask_opt).mask(tensor_of(list(images.values())[-1]), tensor_of(gt))
                mask = (seen[0].mean(0).numpy() * 255).round().astype(np.uint8)
                images['mask'] = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)
            rows.append({**images, 'GT': gt})
    print(f'{"method":32}' + ''.join(f'{metric:>10}' for metric in METRICS))
    for name, values in figures.items():  # means over images; NaN counts as missing
        print(f'{name:32}' + ''.join(f'{np.nanmean(found):10.4f}' for found in values.values()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + '\n')
    draw(rows, args.output, args.crop)
    print(f'picture: {args.output}')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--experiment', nargs='+', type=Path, required=True, metavar='DIR', help='or a name in generators/'
    )
    parser.add_argument('--gt', type=Path, metavar='DIR', help='HR images; with --lq, instead of the validation sets')
    parser.add_argument('--lq', type=Path, metavar='DIR', help='LR images of the same names')
    parser.add_argument('--output', type=Path, required=True, metavar='PNG')
    parser.add_argument('--json', type=Path, metavar='FILE', help="also write each image's metrics there")
    parser.add_argument('--rows', type=int, default=3, help='images in the picture')
    parser.add_argument('--crop', type=int, default=72, help='side of the zoomed crop, in HR pixels')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: compare(args))


if __name__ == '__main__':
    sys.exit(main())
