"""Relative power spectra against NumPy and closed forms, and the loss that compares them."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss

from ext_losses.mmd import mmd2
from ext_losses.spectrum import NOISE_FLOOR, REFERENCE, RINGS, relative_spectrum


def noise(count: int = 4, size: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.1 * torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)


def reference(image: np.ndarray) -> np.ndarray:
    """The definition, frequency by frequency."""
    size = image.shape[-1]
    y = np.tensordot([0.299, 0.587, 0.114], image, 1)
    n = np.arange(size)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / size)
    taper = np.outer(hann, hann)
    y = (y - (y * taper).sum() / taper.sum()) * taper
    power = np.abs(np.fft.fft2(y)) ** 2 / (taper**2).sum()
    rings: list[list[float]] = [[] for _ in range(RINGS)]
    for row in range(size):
        for column in range(size):
            u, v = (k - size if k > size // 2 else k for k in (row, column))
            frequency = np.hypot(u, v) / size
            if 0 < frequency <= 0.5:
                rings[min(RINGS - 1, int(round(frequency * 2 * RINGS * 1e9) // 1e9))].append(power[row, column])
    level = 10 * np.log10(np.array([np.mean(ring) for ring in rings]) + NOISE_FLOOR)
    return level[1:] - level[REFERENCE].mean()


@pytest.mark.parametrize('size', [26, 32, 48])
def test_against_the_definition(size):
    images = noise(2, size)
    expected = [reference(image) for image in images.numpy()]
    np.testing.assert_allclose(relative_spectrum(images).numpy(), expected, atol=1e-9)


def test_gradients_and_flat_images():
    images = noise(1, 26).requires_grad_()
    assert torch.autograd.gradcheck(relative_spectrum, images, atol=1e-4)
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    spectrum = relative_spectrum(flat)
    assert spectrum.abs().max() < 1e-3
    (gradient,) = torch.autograd.grad(spectrum.sum(), flat)
    assert torch.isfinite(gradient).all()


def test_small_images_are_refused():
    with pytest.raises(ValueError, match='25 px'):
        relative_spectrum(noise(1, 24))


def test_the_loss_is_gathered_and_in_float32_as_the_others_are():
    fake, real = noise(6, 32).float(), noise(6, 32, seed=1).float()
    loss = build_loss({'type': 'MMDLoss', 'space': 'spectrum'})
    assert loss.highpass is None
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(fake.bfloat16(), real)
    assert value.dtype == torch.float32
    spectra = (relative_spectrum(images) for images in (fake.bfloat16().float(), real))
    assert value.item() == pytest.approx(mmd2(*spectra).item(), rel=1e-6)
    assert loss(fake, fake).item() == pytest.approx(0, abs=1e-6)
