"""Does the error of a trained generator follow the local variance of the true image? (mask-aided GAN, eq. 6 and 7)

    python studies/mask_variance.py --generator photo_x4_psnr \\
        --set Set14=../shared/data/bench/Set14/X4/HR:../shared/data/bench/Set14/X4/LR

Each image is cut into squares of --window px, and each gives two numbers: the mean squared error of the super-resolved
image, E[l] of eq. 8, and the variance of the true image, both means over colours. Spearman's rank correlation of them
is taken for each image, then averaged over a set; the interval is a bootstrap's over its images (95 %, percentiles).
The same for bicubic interpolation stands beside it: what both share is no property of the generator.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.stats import spearmanr

from ext_core.arguments import named_folders
from ext_core.atomic import atomic_write_text
from ext_core.errors import exit_status
from ext_core.registration import register_quietly
from ext_core.use.evaluation import bicubic, image_pairs, load_experiment, read, upscale

DRAWS = 10_000


def squares(image: np.ndarray, window: int) -> np.ndarray:
    """(h, w, c) to all whole squares side by side, (number, window * window, c); a remainder is left out."""
    rows, columns = (side // window for side in image.shape[:2])
    cut = image[: rows * window, : columns * window].reshape(rows, window, columns, window, -1)
    return cut.swapaxes(1, 2).reshape(rows * columns, window * window, -1)


def correlation(sr: np.ndarray, hr: np.ndarray, window: int, border: int) -> float:
    """Spearman's correlation of squared error and variance over the squares of one image.

    Args:
        sr, hr (np.ndarray): (h, w, c), in grey levels.
        window (int): Side of the squares in px.
        border (int): Px left out at each side.
    """
    sr, hr = (image[border:-border, border:-border].astype(np.float64) for image in (sr, hr))
    error = squares((sr - hr) ** 2, window).mean(axis=(1, 2))
    variance = squares(hr, window).var(axis=1).mean(axis=1)
    return float(spearmanr(error, variance).statistic)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % of the means of samples drawn with repetition."""
    drawn = np.random.default_rng(seed).choice(values, (DRAWS, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def run(args: argparse.Namespace) -> dict:
    """Correlations by set and method."""
    generator = Path(args.generator)
    opened = load_experiment(generator)
    results: dict = {}
    for name, folders in args.set:
        found: dict[str, list[float]] = {}
        for low_path, gt_path in image_pairs([folders]):
            low, hr = read(low_path), read(gt_path)
            made = {generator.name: upscale(opened.net, low), 'bicubic': bicubic(low, opened.scale)}
            for each, sr in made.items():
                value = correlation(sr, hr[: sr.shape[0], : sr.shape[1]], args.window, opened.scale)
                found.setdefault(each, []).append(value)
        results[name] = found
        for each_name, values in found.items():
            low_end, high_end = interval(np.array(values))
            print(
                f'{name:10} {each_name:16} {len(values):4} images: {np.mean(values):.3f} '
                f'[{low_end:.3f}, {high_end:.3f}], single images {min(values):.3f} to {max(values):.3f}'
            )
    return results


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--generator', required=True, help='folder of an experiment, or a generator of the box')
    parser.add_argument('--set', type=named_folders, nargs='+', required=True, metavar='NAME=GT_DIR:LQ_DIR')
    parser.add_argument('--window', type=int, default=7, help="side of the squares in px. Default: 7, ErrorMask's")
    parser.add_argument('--json', type=Path, help="also write every image's correlation")
    args = parser.parse_args(argv)
    register_quietly()
    results = run(args)
    if args.json:
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.json)


if __name__ == '__main__':
    sys.exit(exit_status(main))
