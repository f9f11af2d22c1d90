"""Radial power spectra of image windows, differentiable: blur and noise change them, content hardly does."""

import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
RINGS = 12  # of a relative spectrum, each 1/24 cycles per px wide
REFERENCE = slice(1, 4)  # 0.04 to 0.17 cycles per px: what a camera at this resolution hardly changes
NOISE_FLOOR = (0.2 / 255) ** 2  # power; keeps the logarithm of flat windows finite, below that of 8-bit rounding


def luminance(images: Tensor) -> Tensor:
    """(n, 3, h, w) RGB to (n, h, w); images with another number of channels give their mean."""
    if images.shape[1] != len(LUMINANCE):
        return images.mean(1)
    return torch.einsum('c,nchw->nhw', images.new_tensor(LUMINANCE), images)


def window_power(windows: Tensor) -> Tensor:
    """|FFT(w (y - mean y))|^2 / sum w^2 of square windows y with the Hann window w.

    White noise of variance v has power v at every frequency.

    Shape:
        windows: (n, s, s), float32 or float64. Output: the same, frequencies in the order of ``torch.fft.fft2``.
    """
    hann = torch.hann_window(windows.shape[-1], dtype=windows.dtype, device=windows.device)
    taper = hann[:, None] * hann
    means = (windows * taper).sum((1, 2), keepdim=True) / taper.sum()
    return torch.fft.fft2((windows - means) * taper).abs().square() / taper.square().sum()


def ring_means(power: Tensor, rings: int) -> Tensor:
    """Means of (n, s, s) over rings of equal width between the frequencies 0 and 0.5 cycles per px: (n, rings).

    The first ring is without the frequency 0, the last one includes 0.5; corners beyond 0.5 are left out.

    Raises:
        ValueError: If the windows are so small that a ring holds no frequency.
    """
    size = power.shape[-1]
    if size <= 2 * rings:
        raise ValueError(f'{size} px are too small for a spectrum of {rings} rings: it needs {2 * rings + 1} px.')
    steps = torch.fft.fftfreq(size, 1 / size, device=power.device)  # whole numbers, so that no border is rounded
    squares = (steps[:, None].square() + steps.square()).long()
    inside = (squares > 0) & (4 * squares <= size**2)
    ring = (squares[inside].double().sqrt() * 2 * rings / size).long().clamp_max(rings - 1)
    totals = power.new_zeros(len(power), rings).index_add(1, ring, power[:, inside])
    return totals / torch.bincount(ring, minlength=rings)


def relative_spectrum(images: Tensor) -> Tensor:
    """Power of each image by spatial frequency in dB, relative to its own power at low frequencies.

    10 log10 P_r - mean over the reference rings of 10 log10 P_r,   P_r the mean power of a ring plus a noise floor

    A filter that is applied to an image adds 20 log10 of its transfer function. More contrast or another exposure adds
    the same to all rings, so it cancels: scenes of different contrast are compared by how fast their spectra fall.

    Args:
        images (Tensor): (n, c, s, t), range [0, 1], float32 or float64; the central square is used, at least 25 px.

    Returns:
        Tensor: (n, 11), dB, for the rings from 1/24 to 0.5 cycles per px.

    Raises:
        ValueError: If the images are too small.
    """
    side = min(images.shape[-2:])
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    windows = luminance(images)[:, top : top + side, left : left + side]
    level = 10 * (ring_means(window_power(windows), RINGS) + NOISE_FLOOR).log10()
    return level[:, 1:] - level[:, REFERENCE].mean(1, keepdim=True)
