"""The gap between two sets of images: closed forms, the test's level and power, and what figures may not depend on."""

import re

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ext_arch.resize import bicubic_downscale
from ext_losses.frequency import LowPass
from ext_losses.mmd import Kernel, mmd2
from ext_metrics import domain_gap
from ext_metrics.domain_gap import (
    camera_blur,
    colour_distance,
    common_crop,
    gap,
    mean_spectrum,
    mmd_test,
    radial_power_spectrum,
    spectrum_distance,
    verdict,
)


def noise(*shape: int, seed: int = 0, std: float = 0.1) -> Tensor:
    return 0.5 + std * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grey(image: Tensor) -> Tensor:
    return image.expand(3, -1, -1)


def noises(count: int, size: int = 24, seed: int = 0, std: float = 0.1) -> list[Tensor]:
    return list(noise(count, 3, size, size, seed=seed, std=std))


# ---------------------------------------------------------------------- power spectrum
@pytest.mark.parametrize('std', [0.01, 0.1])
def test_white_noise_is_flat(std):
    spectrum = radial_power_spectrum(grey(noise(1, 512, 512, std=std)))
    # by the number of independent values in a ring, 0.3 dB is three standard deviations of the first
    np.testing.assert_allclose(spectrum.numpy(), 20 * np.log10(std), atol=0.35)
    np.testing.assert_allclose(spectrum.numpy()[3:], 20 * np.log10(std), atol=0.1)
    assert torch.equal(radial_power_spectrum(torch.full((3, 64, 70), 0.7)), torch.full((10,), -100.0).double())


def test_wave_is_in_the_ring_of_its_frequency():
    columns = torch.arange(64, dtype=torch.float64)
    for cycles, ring in ((5, 1), (16, 5), (31, 9), (32, 9)):
        wave = 0.5 + 0.2 * torch.cos(2 * torch.pi * cycles / 64 * columns)
        assert radial_power_spectrum(grey(wave.expand(1, 64, 64))).argmax() == ring


def test_distances_of_spectra():
    sharp = noises(3, 64)
    soft = [0.5 + (image - 0.5) / 2 for image in sharp]
    six = 20 * np.log10(2)
    assert spectrum_distance(sharp, soft) == pytest.approx((six, six))
    assert spectrum_distance(soft, sharp) == pytest.approx((six, -six))
    blurred = [LowPass('gaussian', 5, 0.8)(image[None])[0] for image in sharp]
    distance, top = spectrum_distance(blurred, sharp)
    assert top < -distance < -5
    difference = mean_spectrum(blurred) - mean_spectrum(sharp)
    assert distance == pytest.approx(difference.square().mean().sqrt().item())
    assert top == pytest.approx(difference[-1].item())


def test_sizes_may_differ():
    """The same noise in windows of another size has the same power."""
    fake, real = [noise(3, 300, 200)], [noise(3, 128, 300, seed=1), noise(3, 160, 128, seed=2)]
    assert common_crop(fake, real) == 64
    assert spectrum_distance(fake, real)[0] < 0.4
    assert common_crop(fake, [noise(3, 24, 30)]) == 24
    assert abs(spectrum_distance(fake, noises(200, 24))[1]) < 0.4


@pytest.mark.data
@pytest.mark.parametrize(('scale', 'expected'), [(3, 12.2), (4, 5.0)])
def test_top_band_of_bicubic_against_real_photographs(scale, expected, shared_data):
    folder = shared_data / 'realLR' / 'Nikon_val'

    def read(path):
        return torch.from_numpy(cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255)

    paths = sorted((folder / 'HR').iterdir())
    bicubic = [(bicubic_downscale(read(path)[None], scale)[0].clamp(0, 1) * 255).round() / 255 for path in paths]
    real = [read(folder / f'LR_x{scale}' / path.name) for path in paths]
    assert spectrum_distance(bicubic, real)[1] == pytest.approx(expected, abs=0.3)
    assert colour_distance(bicubic, real)[0] < 0.1


# ---------------------------------------------------------------------- colour
def test_colour_distance_is_in_grey_levels():
    images = noises(3)
    shift = torch.tensor([3.0, -4.0, 0.0], dtype=torch.float64).view(3, 1, 1) / 255
    assert colour_distance([image + shift for image in images], images) == pytest.approx((np.sqrt(25 / 3), 0), abs=1e-9)
    flat = [torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]
    half = torch.cat([torch.zeros(3, 4, 6), torch.ones(3, 4, 6)], dim=1)
    assert colour_distance(flat, [half]) == pytest.approx((0, 127.5))


# ---------------------------------------------------------------------- maximum mean discrepancy
def test_estimate_is_the_definition(monkeypatch):
    """Means over pairs of images of the mean kernel of their patches; a single patch an image is ext_losses.mmd's."""
    single = noises(6, 8), noises(5, 8, seed=1)
    flat = [torch.cat(domain_gap._patches(images)) for images in single]
    assert mmd_test(*single, 1)[0] == pytest.approx(mmd2(*flat, estimator='unbiased').item(), rel=1e-4)

    x, y = noises(5, 16), noises(4, 16, seed=1, std=0.2)
    patches = [domain_gap._patches(images) for images in (x, y)]
    assert [len(p) for p in patches[0]] == [4] * 5
    bandwidths = Kernel().bandwidths(*(torch.cat(p) for p in patches))
    (first, second), total = patches, {'xx': [], 'yy': [], 'xy': []}
    for name, a, b in (('xx', first, first), ('yy', second, second), ('xy', first, second)):
        for i, one in enumerate(a):
            for j, other in enumerate(b):
                if a is not b or i != j:
                    total[name].append(Kernel().matrix(one, other, bandwidths).mean().item())
    expected = np.mean(total['xx']) + np.mean(total['yy']) - 2 * np.mean(total['xy'])
    assert mmd_test(x, y, 1)[0] == pytest.approx(expected, rel=1e-4)
    monkeypatch.setattr(domain_gap, 'BLOCK', 10)  # in pieces
    assert mmd_test(x, y, 1)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('count', [3, 4])
def test_p_is_uniform_where_there_is_no_gap(count):
    """With patches (3 images) and with images (4) as units, over 100 seeds."""
    p = [mmd_test(noises(count, 16, 2 * s), noises(count, 16, 2 * s + 1), 39, seed=s)[1] for s in range(100)]
    assert 0.4 < np.mean(p) < 0.6
    for level in (0.1, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.15)
    assert min(p) >= 1 / 40


def test_images_are_the_units():
    """Patches of one image are alike: dealt singly they would make two sets of one distribution differ."""

    def contrasts(seed):
        generator = torch.Generator().manual_seed(seed)
        return [noise(3, 32, 32, seed=1000 * seed + i, std=s) for i, s in enumerate(torch.rand(6, generator=generator))]

    def rejected():
        return np.mean([mmd_test(contrasts(2 * s), contrasts(2 * s + 1), 39)[1] <= 0.05 for s in range(25)])

    assert rejected() < 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_gap, 'MIN_IMAGES', 100)
        assert rejected() > 0.5


def test_repeatable_symmetric_and_quiet():
    x, y = noises(4, 40), noises(5, 24, seed=1)
    before = torch.get_rng_state()
    first = mmd_test(x, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert mmd_test(x, y) == first
    assert mmd_test(y, x)[0] == pytest.approx(first[0], rel=1e-6)
    assert mmd_test([i + 0.1 for i in x], [i + 0.1 for i in y])[0] == pytest.approx(first[0], rel=1e-3)


def test_large_sets_are_thinned(monkeypatch):
    monkeypatch.setattr(domain_gap, 'MAX_IMAGES', 4)
    monkeypatch.setattr(domain_gap, 'MAX_PATCHES', 20)
    images = noises(9, 40)
    assert len(domain_gap._evenly(images)) == 4
    assert domain_gap._evenly(images)[1] is images[2]
    kernel, sizes = domain_gap._unit_kernels(images, images)
    assert sizes == (4, 4)
    assert kernel.shape == (8, 8)
    assert [len(patches) for patches in domain_gap._patches(domain_gap._evenly(images))] == [5] * 4


# ---------------------------------------------------------------------- all together
def test_gap_is_the_single_figures_and_none_of_a_set_with_itself():
    fake, real = noises(4, 40), noises(5, 32, seed=1, std=0.2)
    spectrum_db, top_band_db = spectrum_distance(fake, real)
    colour = colour_distance(fake, real)[0]
    mmd = mmd_test(fake, real, 1)[0]
    expected = {'mmd': mmd, 'spectrum_db': spectrum_db, 'top_band_db': top_band_db, 'colour': colour}
    assert gap(fake, real) == pytest.approx(expected)
    figures = gap(fake, fake)
    assert list(figures.values())[1:] == [0, 0, 0]
    assert figures['mmd'] < 0  # unbiased: equal images count between the sets and not within them
    assert mmd_test(fake, fake)[1] == 1


@pytest.mark.parametrize(
    ('figure', 'images', 'said'),
    [
        (gap, ([], noises(1)), 'at least one image'),
        (gap, (noises(1, 20), noises(1)), r'20 px are too small .* 21 px'),
        (radial_power_spectrum, (torch.zeros(3, 64, 60),), r'at least 64 px, but got \(3, 64, 60\)'),
        (radial_power_spectrum, (torch.zeros(1, 64, 64),), r'\(1, 64, 64\)'),
    ],
)
def test_errors(figure, images, said):
    with pytest.raises(ValueError, match=said):
        figure(*images)


@pytest.mark.parametrize(
    ('distances', 'line'),
    [
        ((5.0, None, 1.0), 'Adapt: bicubic LR images are 5.0 dB from the real ones, halves of the real ones 1.0 dB'),
        ((5.0, 1.0, 1.0), r'Adapt: .* stage 1 closes 80% of it\.$'),
        ((0.5, 0.1, 0.6), 'Nothing to adapt: bicubic LR images are 0.5 dB'),
        ((3.0, None, 2.5), 'Too few images to tell: .* Take more real ones'),
    ],
)
def test_one_line_says_what_to_do(distances, line):
    figures = zip(('bicubic', 'stage 1', 'halves'), distances, strict=True)
    assert re.match(line, verdict({name: value for name, value in figures if value is not None}))


# ---------------------------------------------------------------------- the camera's blur
def scene(seed: int, slope: float) -> torch.Tensor:
    """Grey noise whose power falls with the frequency to the power of ``slope``."""
    radius = torch.hypot(torch.fft.fftfreq(192)[:, None], torch.fft.rfftfreq(192)).clamp_min(0.01)
    noise = torch.randn(192, 192, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    image = torch.fft.irfft2(torch.fft.rfft2(noise) / radius ** (slope / 2), (192, 192))
    return (0.5 + 0.1 * image / image.std()).expand(3, -1, -1)


def test_a_cameras_blur_is_told_from_other_scenes():
    """Of other contrast, whose spectra fall at another rate."""
    radius = torch.hypot(torch.fft.fftfreq(192)[:, None], torch.fft.rfftfreq(192))
    blur = torch.where(radius < 0.2, 1, (-12 * (radius - 0.2) ** 2).exp())
    photographs = [torch.fft.irfft2(torch.fft.rfft2(scene(seed, 2.4)) * blur, (192, 192)) * 1.5 for seed in range(12)]
    gains = camera_blur([scene(seed, 2.0) for seed in range(20, 32)], photographs)
    frequencies = (torch.arange(len(gains)) + 0.5) / (2 * len(gains))
    true = torch.where(frequencies < 0.2, 1, (-12 * (frequencies - 0.2) ** 2).exp())
    assert gains[:6] == [1] * 6
    assert 20 * (torch.tensor(gains) / true).log10().abs().max() < 0.6  # dB; at 0.5 it is -9.4
