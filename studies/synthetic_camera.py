"""A synthetic camera: LR photographs of known blur and noise, and how near a degradation network comes to them.

Examples:
    python studies/synthetic_camera.py --hr datasets/BSDS400/HR_x3 --val ../shared/data/bench/BSD100/X4/HR \
        --output datasets/synthetic --scale 3
    python studies/synthetic_camera.py --measure experiments/synthetic_stage1 --noise 3.0 4.8 \
        --val ../shared/data/bench/BSD100/X4/HR

The camera is bicubic reduction, a Gaussian of 0.8 LR px, noise of variance 3^2 + 5^2 x (levels of 255, brightness x in
[0, 1]), rounding. --output gets HR (every other photograph), LR_camera (the other ones through the camera; each tenth
in LR_camera_val), LR_true (HR through the camera, for the bound) and val/HR, val/LR: pairs of the first 30 images.
--measure prints the network's contrast at low frequencies, the blur that fits its transfer best, from 0 to 0.35 cycles
per px, and --noise, as domain_gap.py reads it off LR_camera, beside the camera's.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from ext_core.registration import register_quietly
from ext_models.degrading import degraded, in_levels, noisy
from studies.adaptation_bounds import filtered, pixels, radial_transfer, reduced

BLUR, READ, SHOT = 0.8, 3.0, 5.0
VALIDATION = 30  # images
HIGHEST = 0.35  # cycles per px: above, the camera passes less than 22 %


def gaussian(sigma: float, frequencies: np.ndarray) -> np.ndarray:
    """Transfer of a Gaussian of ``sigma`` px."""
    return np.exp(-2 * (np.pi * sigma * frequencies) ** 2)


def photographed(hr: np.ndarray, scale: int) -> np.ndarray:
    """What the camera makes of an HR image, uint8."""
    frequencies = np.linspace(0, 0.75, 500)
    lr = torch.from_numpy(filtered(reduced(hr, scale), frequencies, gaussian(BLUR, frequencies)) / 255)
    return (in_levels(noisy(lr, READ, SHOT)) * 255).numpy().round().astype(np.uint8)


def pictures(folder: Path, scale: int) -> list[tuple[str, np.ndarray]]:
    """Names and images of a folder, cut to a multiple of the scale."""
    from basicsr.data.transforms import mod_crop

    return [(name, mod_crop(image, scale)) for name, image in pixels(folder)]


def make(hr: Path, val: Path, output: Path, scale: int) -> None:
    torch.manual_seed(0)

    def write(folder: str, name: str, image: np.ndarray) -> None:
        (output / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(output / folder / f'{name}.png'), image.astype(np.uint8))

    for number, (name, image) in enumerate(pictures(hr, scale)):
        if number % 2:
            write('LR_camera_val' if number % 20 == 1 else 'LR_camera', name, photographed(image, scale))
        else:
            write('HR', name, image)
            write('LR_true', name, photographed(image, scale))
    for name, image in pictures(val, scale)[:VALIDATION]:
        write('val/HR', name, image)
        write('val/LR', name, photographed(image, scale))


def measure(experiment: Path, val: Path, noise: list[float]) -> None:
    from ext_core.use.evaluation import load_experiment

    degrader = load_experiment(experiment)
    scale = degrader.scale
    pairs = []
    for _, hr in pictures(val, scale)[:VALIDATION]:
        gt = torch.from_numpy(hr[..., ::-1].transpose(2, 0, 1).copy()).float()[None] / 255
        generated = degraded(degrader.net, gt, scale)[0].permute(1, 2, 0).double().numpy()[..., ::-1] * 255
        pairs.append((reduced(hr, scale), generated))
    frequencies, transfer = radial_transfer(pairs)
    seen = (frequencies > 1.5 / 72) & (frequencies <= HIGHEST)
    sigmas = np.arange(0, 2, 0.005)
    errors = [((gaussian(sigma, frequencies[seen]) - transfer[seen]) ** 2).sum() for sigma in sigmas]
    blur = sigmas[int(np.argmin(errors))]
    gain = (transfer[2:5] / gaussian(BLUR, frequencies[2:5])).mean()  # 0.03 to 0.06 cycles per px
    print(f"contrast {gain:.2f} of the camera's at low frequencies")
    print(f'blur    {blur:.2f} px, the camera has {BLUR} ({blur / BLUR - 1:+.0%})')
    for level in (0.1, 0.5, 0.9):
        found, true = ((read**2 + shot**2 * level) ** 0.5 for read, shot in (noise, (READ, SHOT)))
        print(f'noise   at {level:.0%} {found:.2f} levels, the camera has {true:.2f} ({found / true - 1:+.0%})')


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--val', type=Path, required=True, metavar='DIR', help='HR images for validation')
    parser.add_argument('--hr', type=Path, metavar='DIR', help='HR photographs')
    parser.add_argument('--output', type=Path, metavar='DIR')
    parser.add_argument('--scale', type=int, default=3)
    parser.add_argument('--measure', type=Path, metavar='EXPERIMENT', help='stage 1, instead of making images')
    parser.add_argument('--noise', type=float, nargs=2, default=(0, 0), metavar=('READ', 'SHOT'), help='of stage 1')
    args = parser.parse_args(argv)
    register_quietly()
    if args.measure:
        measure(args.measure, args.val, args.noise)
    elif args.hr and args.output:
        make(args.hr, args.val, args.output, args.scale)
    else:
        parser.error('Give --hr and --output, or --measure.')


if __name__ == '__main__':
    main()
