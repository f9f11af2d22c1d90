"""LR images for the bounds of the domain adaptation: what the camera itself would have made of other photographs.

Example:
    D=../shared/data/realLR/Nikon_oracle
    python studies/adaptation_bounds.py --pairs $D/HR $D/LR_x3 --hr datasets/BSDS400/HR_x3 \
        --output datasets/bounds/BSDS400

From real pairs, which unpaired methods may not see, two linear degradations are measured:
    true    the radial transfer of the bicubic LR images to the real ones: their cross-spectrum over the bicubic power
    kernel  the least-squares kernel of 23 px from the HR grid to the LR one, the mean of the three colours
--output gets a folder of LR images for each, with the names of the HR images.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from ext_arch.resize import bicubic_downscale

WINDOW, SIDE = 72, 23


def pixels(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Names and images (h, w, 3) of a folder, BGR, float64, range [0, 255]."""
    return [(file.stem, np.asarray(cv2.imread(str(file)), np.float64)) for file in sorted(folder.iterdir())]


def reduced(hr: np.ndarray, scale: int) -> np.ndarray:
    return bicubic_downscale(torch.from_numpy(hr).permute(2, 0, 1)[None], scale)[0].permute(1, 2, 0).numpy()


def radial_transfer(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in cycles per px, and the real part of <bicubic* real> / <bicubic* bicubic> at them."""
    taper = np.outer(np.hanning(WINDOW), np.hanning(WINDOW))
    power, cross = np.zeros((2, WINDOW, WINDOW))
    for bicubic, real in pairs:
        grey = [image.mean(2) for image in (bicubic, real)]
        for top in range(0, grey[0].shape[0] - WINDOW + 1, WINDOW // 2):
            for left in range(0, grey[0].shape[1] - WINDOW + 1, WINDOW // 2):
                tiles = [image[top : top + WINDOW, left : left + WINDOW] for image in grey]
                one, other = (np.fft.fft2((tile - tile.mean()) * taper) for tile in tiles)
                power += abs(one) ** 2
                cross += (one.conj() * other).real
    axis = np.fft.fftfreq(WINDOW)
    ring = np.rint(np.hypot(axis[:, None], axis) * WINDOW).astype(int).ravel()
    transfer = np.bincount(ring, cross.ravel()) / np.bincount(ring, power.ravel())
    transfer[:2] = 1  # the taper mixes the mean in
    return np.arange(len(transfer)) / WINDOW, transfer


def filtered(image: np.ndarray, frequencies: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """An image whose spectrum is multiplied by a radial transfer; its border is mirrored."""
    pad = 24
    wide = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode='symmetric')
    radius = np.hypot(np.fft.fftfreq(wide.shape[0])[:, None], np.fft.rfftfreq(wide.shape[1]))
    gains = np.interp(radius, frequencies, transfer)[..., None]
    return np.fft.irfft2(np.fft.rfft2(wide, axes=(0, 1)) * gains, wide.shape[:2], axes=(0, 1))[pad:-pad, pad:-pad]


def neighbourhoods(image: np.ndarray, scale: int) -> np.ndarray:
    """(h / scale, w / scale, SIDE^2): the HR pixels around the centre of each LR pixel of a grey image."""
    shift = (scale - 1) // 2
    wide = np.pad(image, SIDE // 2, mode='symmetric')
    windows = np.lib.stride_tricks.sliding_window_view(wide, (SIDE, SIDE))[shift::scale, shift::scale]
    return windows.reshape(*windows.shape[:2], SIDE**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', nargs=2, type=Path, required=True, metavar=('HR', 'LR'))
    parser.add_argument('--hr', type=Path, required=True, help='photographs to degrade')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    args = parser.parse_args()
    hr, lr = map(dict, map(pixels, args.pairs))
    scale = next(iter(hr.values())).shape[0] // lr[next(iter(hr))].shape[0]
    if scale % 2 == 0:
        parser.error(f'--pairs: scale is {scale}, but an odd one is needed, whose LR pixels have a centre.')
    frequencies, transfer = radial_transfer([(reduced(image, scale), lr[name]) for name, image in hr.items()])
    print('cycles per px:', *(f'{frequency:.3f}' for frequency in frequencies[:37:3]))
    print('transfer, dB: ', *(f'{20 * np.log10(abs(gain)):.1f}' for gain in transfer[:37:3]))
    products, targets = np.zeros((SIDE**2, SIDE**2)), np.zeros(SIDE**2)
    for name, image in hr.items():
        around = neighbourhoods(image.mean(2), scale)[8:-8, 8:-8].reshape(-1, SIDE**2)
        products += around.T @ around
        targets += around.T @ lr[name].mean(2)[8:-8, 8:-8].ravel()
    kernel = np.linalg.solve(products + np.eye(SIDE**2) * products.trace() / SIDE**2 * 1e-6, targets)
    kernel /= kernel.sum()
    for name, image in pixels(args.hr):
        degraded = {
            'true': filtered(reduced(image, scale), frequencies, transfer),
            'kernel': np.stack([neighbourhoods(channel, scale) @ kernel for channel in image.transpose(2, 0, 1)], 2),
        }
        for folder, made in degraded.items():
            (args.output / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(args.output / folder / f'{name}.png'), made.clip(0, 255).round().astype(np.uint8))


if __name__ == '__main__':
    main()
