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
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import picture, require_json, spare_inputs, whole
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly


def compare(args: argparse.Namespace) -> None:
    import cv2
    import numpy as np
    from basicsr.losses import build_loss

    from ext_core.use.crops import detail, gallery, strongest_window
    from ext_core.use.evaluation import METRICS, bicubic, load_experiment, measure, pairs, read, tensor_of, upscale
    from ext_data.decoding import is_scaled

    names = [folder.name for folder in args.experiment]
    opened = {f.name if names.count(f.name) == 1 else str(f): load_experiment(f) for f in args.experiment}
    *_, last = opened.values()
    scale, mask_opt = next(iter(opened.values())).scale, ((last.options or {}).get('train') or {}).get('mask_opt')
    figures: dict[str, dict[str, list[float]]] = {}
    blocks: list[tuple[str, dict[str, np.ndarray]]] = []
    options = next((one.options for one in opened.values() if one.options), {})
    files = pairs(options, args.gt, args.lq)
    inputs = [path for pair in files for path in pair]
    spare_inputs(args.output, inputs)
    require_json(args.json, inputs)
    for low_path, gt_path in files:
        low, gt = read(low_path), read(gt_path)
        for name, one in opened.items():
            if not is_scaled(gt.shape[:2], low.shape[:2], one.scale):
                raise UserError(
                    f'{gt_path} is not {one.scale} times as large as {low_path}, as {name} needs: correct them.'
                )
        gt = gt[: low.shape[0] * scale, : low.shape[1] * scale]
        images = {'bicubic': bicubic(low, scale), **{name: upscale(one.net, low) for name, one in opened.items()}}
        for name, image in images.items():
            for metric, value in measure(image, gt, scale).items():
                figures.setdefault(name, {}).setdefault(metric, []).append(value)
        if len(blocks) < 2 * args.rows:
            if mask_opt:
                seen = build_loss(mask_opt).mask(tensor_of(list(images.values())[-1]), tensor_of(gt))
                mask = (seen[0].mean(0).numpy() * 255).round().astype(np.uint8)
                images['mask'] = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)
            images['GT'] = gt
            side = min(args.crop, *gt.shape[:2])
            y, x = strongest_window(detail(gt), side)
            frame, cut = (x, y, side, side), np.s_[y : y + side, x : x + side]
            blocks.append(('', {n: cv2.rectangle(image.copy(), frame, (0, 255, 255)) for n, image in images.items()}))
            blocks.append(('', {name: image[cut] for name, image in images.items()}))
    print(f'{"method":32}' + ''.join(f'{metric:>10}' for metric in METRICS))
    for name, values in figures.items():  # means over images; NaN counts as missing
        known = [[value for value in found if not math.isnan(value)] for found in values.values()]
        print(f'{name:32}' + ''.join(f'{np.mean(found):10.4f}' if found else f'{"–":>10}' for found in known))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    gallery(blocks, len(blocks[0][1])).savefig(args.output, dpi=125)
    print(f'picture: {args.output}')
    if args.json:  # which has neither NaN nor infinity
        valid = {
            name: {
                metric: [value if math.isfinite(value) else None for value in found] for metric, found in values.items()
            }
            for name, values in figures.items()
        }
        atomic_write_text(json.dumps(valid, indent=1) + '\n', args.json)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--experiment', nargs='+', type=Path, required=True, metavar='DIR', help='or a name in generators/'
    )
    parser.add_argument('--gt', type=Path, metavar='DIR', help='HR images; with --lq, instead of the validation sets')
    parser.add_argument('--lq', type=Path, metavar='DIR', help='LR images of the same names')
    parser.add_argument('--output', type=picture, required=True, metavar='PNG')
    parser.add_argument('--json', type=Path, metavar='FILE', help="also write each image's metrics there")
    parser.add_argument('--rows', type=whole(1), default=3, help='images in the picture')
    parser.add_argument('--crop', type=whole(1), default=72, help='side of the zoomed crop, in HR pixels')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: compare(args))


if __name__ == '__main__':
    sys.exit(main())
