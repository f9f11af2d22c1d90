"""What the readings of the mask's equation do to a trained generator's images: a table, and a picture of the masks.

Examples:
    python studies/mask_readings.py --experiment experiments/train_mask_esrgan --output readings.png
    python studies/mask_readings.py --experiment experiments/train_mask_esrgan --gt Set14/HR --lq Set14/LR -k 0.1

Use it to choose mask_opt for your own data: a mask that is 1 nearly everywhere changes nothing. error_norm is none
where a reading does not name it. Columns, means over the images:
    mean, std, at 0, at 1   of the mask, and the shares of it that are clipped
    darker      how much darker the masked image is: what tells it from a real one with apply_to: fake
    detail      strength of the masked image's high frequencies; 1 is that of the image itself, the rest is mask edges
    via mask    with detach: false, the generator's gradient that comes through the mask, as a multiple of what comes
                through the image, for a gradient of 1 everywhere at the discriminator's input
    k at 10 %   the k for which a tenth of the mask is 1, with this b
With error_norm: mean, the images count as one batch.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.nn import functional as F

from ext_core.errors import exit_status
from ext_core.registration import register_quietly
from ext_core.use.evaluation import load_experiment, pairs, read, tensor_of, upscale

# every reading that changes the mask's values; apply_to and detach are columns of the table
READINGS: dict[str, dict[str, Any]] = {
    'error_norm: none': {},
    'window: 1': {'window': 1},
    'window: 15': {'window': 15},
    'per_channel: true': {'per_channel': True},
    'error_scale: 1': {'error_scale': 1},
    'error_scale: 2': {'error_scale': 2},
    'error_measure: rmse': {'error_measure': 'rmse'},
    'error_norm: mean': {'error_norm': 'mean'},
    'error_norm: image_mean': {'error_norm': 'image_mean'},
    'error_norm: image_mean, window: 1': {'error_norm': 'image_mean', 'window': 1},
    'error_norm: image_mean, window: 15': {'error_norm': 'image_mean', 'window': 15},
    'error_norm: image_mean, error_measure: rmse': {'error_norm': 'image_mean', 'error_measure': 'rmse'},
}
COLUMNS = {
    'mask_mean': 'mean',
    'mask_std': 'std',
    'mask_at_0': 'at 0',
    'mask_at_1': 'at 1',
    'darker': 'darker',
    'detail': 'detail',
    'via_mask': 'via mask',
    'k_for_10_percent': 'k at 10 %',
}
Pair = tuple[torch.Tensor, torch.Tensor]


def load_images(experiment: Path, gt: Path | None, lq: Path | None) -> list[Pair]:
    """Super-resolved and true images, (1, 3, h, w) in [0, 1]."""
    opened = load_experiment(experiment)
    found = []
    for low_path, gt_path in pairs(opened.options or {}, gt, lq):
        image, high = upscale(opened.net, read(low_path)), read(gt_path)
        found.append((tensor_of(image), tensor_of(high[: image.shape[0], : image.shape[1]])))
    return found


def build_masks(images: list[Pair], k: float, b: float) -> dict[str, Any]:
    """An ``ErrorMask`` for each reading; all images are one batch."""
    from basicsr.losses import build_loss

    masks = {}
    for name, reading in READINGS.items():
        mask_opt = {'type': 'ErrorMask', 'k': k, 'b': b, 'error_norm': 'none', **reading}
        if reading.get('error_norm') == 'mean':
            # images differ in size and cannot be stacked; dividing the error by their mean is a change of scale
            plain = build_loss({**mask_opt, 'error_norm': 'none', 'error_scale': 1})
            mean = np.mean(np.concatenate([plain.error_map(*pair).flatten().numpy() for pair in images]))
            power = 1 if reading.get('error_measure') == 'rmse' else 2
            mask_opt.update(error_norm='none', error_scale=float(max(mean, 1e-30)) ** (-1 / power))
        masks[name] = build_loss(mask_opt)
    return masks


def high_frequency_strength(image: torch.Tensor) -> float:
    """Standard deviation of the image less its 5 x 5 mean."""
    return (image - F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)).std().item()


def gradient_via_mask(mask: Any, sr: torch.Tensor, hr: torch.Tensor) -> float:
    """What comes through the mask over what comes through the image, mean absolute values, not detached."""
    leaf = sr.clone().requires_grad_()
    mask.detach = False
    (gradient,) = torch.autograd.grad(mask(leaf, hr)[0].sum(), leaf)
    mask.detach = True
    return ((gradient - mask.last_mask).abs().mean() / mask.last_mask.mean().clamp_min(1e-12)).item()


def statistics(mask: Any, images: list[Pair]) -> dict[str, float]:
    """The table's row of a reading, see the top of this file."""
    rows, errors = [], []
    for sr, hr in images:
        seen, _ = mask(sr, hr)
        row = {name: value.item() for name, value in mask.statistics().items()}
        row['mask_std'] = mask.last_mask.std().item()
        row['darker'] = 1 - (seen.mean() / sr.mean().clamp_min(1e-12)).item()
        row['detail'] = high_frequency_strength(seen) / max(high_frequency_strength(sr), 1e-12)
        errors.append(mask.last_error[..., ::3, ::3].flatten().numpy())  # enough for a quantile
        row['via_mask'] = gradient_via_mask(mask, sr, hr)
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    top = float(np.quantile(np.concatenate(errors), 0.9))
    means['k_for_10_percent'] = (1 - mask.b) / top if top > 0 else float('inf')
    return {name: means[name] for name in COLUMNS}


def table(results: dict[str, dict[str, float]], title: str) -> str:
    lines = [f'{title:45}' + ''.join(f'{column:>10}' for column in COLUMNS.values())]
    for name, values in results.items():
        lines.append(f'{name:45}' + ''.join(f'{value:10.3g}' for value in values.values()))
    return '\n'.join(lines)


def panels(masks: dict[str, Any], pair: Pair, crop: int) -> list[tuple[str, np.ndarray]]:
    """Titled pictures of one image, in [0, 1]: the images, the error, what the discriminator sees, and the masks."""
    sr, hr = pair
    y, x = (max(side - crop, 0) // 2 for side in hr.shape[-2:])

    def picture(value: torch.Tensor) -> np.ndarray:
        return value[0, :, y : y + crop, x : x + crop].permute(1, 2, 0).clamp(0, 1).numpy()

    error = (sr - hr).square().mean(1, keepdim=True).sqrt() * 255
    fake, _ = masks['error_norm: none'](sr, hr)
    normalised_fake, normalised_real = masks['error_norm: image_mean'](sr, hr)
    found = [
        ('SR', picture(sr)),
        ('GT: what D gets as real\nwith apply_to: fake', picture(hr)),
        ('RMS error\nwhite: 32 levels', picture(error / 32)),
        ('SR × mask: D gets as fake\nerror_norm: none', picture(fake)),
        ('SR × mask: D gets as fake\nerror_norm: image_mean', picture(normalised_fake)),
        ('GT × mask: D gets as real\nerror_norm: image_mean', picture(normalised_real)),
    ]
    for name, mask in masks.items():
        value = mask.mask(sr, hr)
        title = name.replace(', ', '\n')
        found.append((f'{title}\nmean {value.mean():.2f}, at 1: {(value >= 1).float().mean():.0%}', picture(value)))
    return found


def draw(rows: list[list[tuple[str, np.ndarray]]], output: Path, columns: int = 6) -> None:
    """All panels of all images, black 0 and white 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    cells = [cell for row in rows for cell in row]
    lines = len(cells) // columns
    figure = Figure(figsize=(1.75 * columns, 2.2 * lines), dpi=100, layout='constrained')
    axes = figure.subplots(lines, columns).flat
    for axis, (title, value) in zip(axes, cells, strict=True):
        axis.imshow(value.squeeze(), cmap='gray', vmin=0, vmax=1)
        axis.set_title(title, fontsize=7)
        axis.set(xticks=[], yticks=[])  # the frame stays: most masks are as white as the page
    output.parent.mkdir(parents=True, exist_ok=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    steps = (drawn / 255 * 30).round() / 30 * 255  # 31 levels a channel, half the bytes; the masks' 0.5 is one of them
    Image.fromarray(steps.round().astype(np.uint8)).save(output, optimize=True)


def run(args: argparse.Namespace) -> None:
    images = load_images(args.experiment, args.gt, args.lq)
    masks = build_masks(images, args.k, args.b)
    results = {name: statistics(mask, images) for name, mask in masks.items()}
    print(table(results, f'reading (k = {args.k:g}, b = {args.b:g})'))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + '\n')
    if args.output:
        draw([panels(masks, pair, args.crop) for pair in images[: args.rows]], args.output)
        print(f'picture: {args.output}')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--experiment', type=Path, required=True, metavar='DIR', help='a finished experiment')
    parser.add_argument('--gt', type=Path, metavar='DIR', help='HR images; with --lq, instead of the validation sets')
    parser.add_argument('--lq', type=Path, metavar='DIR', help='LR images of the same names')
    parser.add_argument('-k', type=float, default=0.2)
    parser.add_argument('-b', type=float, default=0.5)
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures there')
    parser.add_argument('--output', type=Path, metavar='PNG', help='also draw the masks')
    parser.add_argument('--rows', type=int, default=2, help='images in the picture')
    parser.add_argument('--crop', type=int, default=288, help='side of the middle part that is drawn, in HR pixels')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: run(args))


if __name__ == '__main__':
    sys.exit(main())
