"""What the readings of the mask's equation do to a trained generator's images: mean of the mask, shares at 0 and at 1.

Example:
    python scripts/mask_readings.py --experiment experiments/train_mask_esrgan --gt Set14/HR --lq Set14/LR

Use it to choose mask_opt for your own data: a mask that is 1 nearly everywhere changes nothing.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

from compare import load_experiment, pairs, read, upscale

from ext_core.errors import UserError
from ext_core.registration import register_all

READINGS = {
    f'error_norm: {norm}, window: {window}': {'error_norm': norm, 'window': window}
    for norm, window in itertools.product(('none', 'mean'), (1, 7))
}


def statistics(experiment: Path, gt: Path | None, lq: Path | None, k: float, b: float) -> dict[str, dict[str, float]]:
    """Means over images, for each reading."""
    import numpy as np
    from basicsr.losses import build_loss
    from basicsr.utils import img2tensor

    method, opt = load_experiment(experiment)
    masks = {name: build_loss({'type': 'ErrorMask', 'k': k, 'b': b, **reading}) for name, reading in READINGS.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in masks}
    for low_path, gt_path in pairs(opt, gt, lq):
        low, high = read(low_path), read(gt_path)
        image = upscale(method, low)
        high = high[: image.shape[0], : image.shape[1]]
        sr, hr = (img2tensor(value.astype(np.float32) / 255)[None] for value in (image, high))
        for name, mask in masks.items():
            mask.mask(sr, hr)
            found[name].append({key: value.item() for key, value in mask.statistics().items()})
    return {
        name: {key: float(np.mean([v[key] for v in values])) for key in values[0]} for name, values in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--experiment', type=Path, required=True, metavar='DIR', help='a finished experiment')
    parser.add_argument('--gt', type=Path, metavar='DIR', help='HR images; with --lq, instead of the validation sets')
    parser.add_argument('--lq', type=Path, metavar='DIR', help='LR images of the same names')
    parser.add_argument('-k', type=float, default=0.2)
    parser.add_argument('-b', type=float, default=0.5)
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures there')
    args = parser.parse_args(argv)
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    try:
        result = statistics(args.experiment, args.gt, args.lq, args.k, args.b)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    title = f'reading (k = {args.k:g}, b = {args.b:g})'
    print(f'{title:32}{"mean":>8}{"at 0":>8}{"at 1":>8}')
    for name, values in result.items():
        print(f'{name:32}' + ''.join(f'{value:8.3f}' for value in values.values()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
