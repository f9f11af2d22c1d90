"""Relative power spectra against NumPy and closed forms, and the loss that compares them."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss

from ext_losses.frequency import LowPass
from ext_losses.spectrum import NOISE_FLOOR, REFERENCE, RINGS, relative_spectrum, ring_means


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


def test_a_filter_adds_its_transfer_function():
    """Blurred white noise, far from borders: 10 log10 of the mean of |H|^2 over each ring."""
    images = noise(200, 64)
    low_pass = LowPass(kernel_size=7, sigma=0.6)
    blurred = low_pass(images)
    gain = (relative_spectrum(blurred[..., 8:-8, 8:-8]) - relative_spectrum(images[..., 8:-8, 8:-8])).mean(0)
    impulse = torch.zeros(1, 1, 48, 48, dtype=torch.float64)
    impulse[..., 24, 24] = 1
    response = torch.fft.fft2(low_pass(impulse)[0]).abs().square()
    expected = 10 * ring_means(response, RINGS)[0].log10()
    expected = expected[1:] - expected[REFERENCE].mean()
    assert expected[-1] < -10
    torch.testing.assert_close(gain, expected, rtol=0, atol=0.3)


def test_gradients_and_flat_images():
    images = noise(1, 26).requires_grad_()
    assert torch.autograd.gradcheck(relative_spectrum, images, atol=1e-4, fast_mode=True)
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    spectrum = relative_spectrum(flat)
    assert spectrum.abs().max() < 1e-3
    (gradient,) = torch.autograd.grad(spectrum.sum(), flat)
    assert torch.isfinite(gradient).all()


def test_small_images_are_refused():
    with pytest.raises(ValueError, match='25 px'):
        relative_spectrum(noise(1, 24))


def test_the_loss_sees_blur_but_not_contrast():
    """What whole images do the other way round."""
    real, same = noise(24, 32), noise(24, 32, seed=1)
    softer = 0.5 + 0.7 * (same - 0.5)
    blurred = LowPass(kernel_size=7, sigma=0.6)(same)
    values = {}
    for space in ('spectrum', 'image'):
        loss = build_loss({'type': 'MMDLoss', 'space': space, 'estimator': 'unbiased'})
        values[space] = [loss(images, real).item() for images in (same, softer, blurred)]
    same_value, softer_value, blurred_value = values['spectrum']
    assert blurred_value > 0.5
    assert abs(same_value) < 0.1
    assert abs(softer_value - same_value) < 0.02
    assert values['image'][1] > 5 * abs(values['image'][0])


def test_the_loss_is_gathered_and_in_float32_as_the_others_are():
    fake, real = noise(6, 32).float(), noise(6, 32, seed=1).float()
    loss = build_loss({'type': 'MMDLoss', 'space': 'spectrum'})
    assert loss.highpass is None
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(fake.bfloat16(), real)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(fake.bfloat16().float(), real).item(), rel=1e-6)
    assert loss(fake, fake).item() == pytest.approx(0, abs=1e-6)
