"""Distances of two sets of images that show different things: power spectrum, colour, and patches (MMD).

For instance the LR images that a network generates and a camera's own. Images are float tensors (3, h, w), RGB in
[0, 1], on any device; sizes may differ within and between the sets. Nothing here is random but for fixed seeds: the
same sets give the same figures.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ext_losses.frequency import HighPass
from ext_losses.mmd import Kernel
from ext_losses.mmd_loss import patch_grid
from ext_losses.spectrum import luminance, ring_means, window_power

Images = Sequence[Tensor]

BINS = 10
GAINS = 20  # of a camera's blur
FLAT = (0.03, 0.2)  # cycles per px, where a camera's blur does nothing
CROP = 64  # px; side of the windows that spectra are taken of
FLOOR = 1e-10  # of power, -100 dB; rounding to 8 bits alone gives -59 dB
PATCH = 8  # px
MAX_IMAGES = 256
MAX_PATCHES = 2048  # of each set: kernel matrices of 4096 x 4096
BLOCK = 512  # rows of the kernel matrix made at a time
# Images of each set from which on whole images are permuted: 4 and 4 fall into two sets in 70 ways
MIN_IMAGES = 4
FEW_IMAGES_DB = 2.0  # between halves of the real images; ten photographs of a camera have about 1


# ---------------------------------------------------------------------- power spectrum
def radial_power_spectrum(image: Tensor, bins: int = BINS, crop: int = CROP) -> Tensor:
    """Power of an image's luminance by spatial frequency, in dB.

    Windows of crop x crop px, half a window apart, cover the image; each loses its mean and gets a Hann window. The
    power of a frequency is the mean over the windows, that of a ring the mean over its frequencies:

        10 log10 mean |FFT(w (y - mean y))|^2 / sum w^2

    White noise of variance v is 10 log10 v everywhere. Power below -100 dB counts as -100 dB. A filter adds 20 log10
    of the magnitude of its transfer function. As all windows are of one size, images of different sizes compare.

    Args:
        image (Tensor): (3, h, w), RGB in [0, 1].
        bins (int): Rings of equal width between the frequencies 0 and 0.5 cycles per px. Default: 10.
        crop (int): Side of the windows in px, more than twice the number of rings. Default: 64.

    Returns:
        Tensor: (bins,), dB, float64. The first ring is without the frequency 0, the last one includes 0.5.

    Raises:
        ValueError: If the image is no such image or smaller than a window.
    """
    _check(image, crop)
    windows = patch_grid(luminance(image[None].double())[:, None], crop, crop // 2).reshape(-1, crop, crop)
    power = window_power(windows).mean(0, keepdim=True)
    return 10 * ring_means(power, bins)[0].clamp_min(FLOOR).log10()


def mean_spectrum(images: Images, bins: int = BINS, crop: int = CROP) -> Tensor:
    """Mean over the images of their spectra in dB, (bins,), see :func:`radial_power_spectrum`."""
    return torch.stack([radial_power_spectrum(image, bins, crop).cpu() for image in images]).mean(0)


def spectrum_distance(fake: Images, real: Images, bins: int = BINS) -> tuple[float, float]:
    """Distance of the mean power spectra of two sets, over all frequencies and in the top band.

    Windows are of 64 px, or of the smallest side of all images where that is less. More contrast in one set raises
    its spectrum at all frequencies, so content counts; compare with the distance of two halves of one set.

    Args:
        fake, real (Sequence[Tensor]): Images, (3, h, w), RGB in [0, 1], at least 21 px wide and high.
        bins (int): Number of rings. Default: 10.

    Returns:
        tuple[float, float]: Root of the mean squared difference over the rings, dB, >= 0; and the last ring's
        difference ``fake`` less ``real``, dB: with ten rings the power at 0.45 to 0.5 cycles per px. It is positive
        where ``fake`` is sharper or noisier.

    Raises:
        ValueError: If a set is empty or an image too small.
    """
    crop = common_crop(fake, real)
    difference = mean_spectrum(fake, bins, crop) - mean_spectrum(real, bins, crop)
    return difference.square().mean().sqrt().item(), difference[-1].item()


def common_crop(*sets: Images) -> int:
    """Side in px of the windows that fit into all images, at most 64.

    Raises:
        ValueError: If a set is empty.
    """
    if not all(len(images) for images in sets):
        raise ValueError('The gap between two sets of images needs at least one image of each.')
    return min(CROP, *(min(image.shape[-2:]) for images in sets for image in images))


def camera_blur(bicubic: Images, real: Images) -> list[float]:
    """The blur that a camera adds to bicubic reduction, from images of other scenes.

    Mean powers of natural images follow power laws, and below FLAT[1] a camera changes nothing that reduced images
    still have. So the ratio of the powers of two sets is there a power law, A f^b, which tells the scenes apart; what
    lies below that line at higher frequencies is the blur:

        gain(f) = sqrt(P_real(f) / (A f^b P_bicubic(f))), at most 1, and 1 below 0.15 cycles per px

    Noise of the camera would count as sharpness, so it tells blurs of cameras with hardly any.

    Args:
        bicubic (Sequence[Tensor]): HR images after bicubic reduction, (3, h, w), RGB in [0, 1], at least 21 px wide
            and high.
        real (Sequence[Tensor]): The camera's LR images.

    Returns:
        list[float]: n magnitudes, 20 or, of images below 41 px, fewer, at (i + 0.5) / (2 n) cycles per px: for
        ``degrade: {type: CameraBlur}``.

    Raises:
        ValueError: If a set is empty or an image too small.
    """
    crop = common_crop(bicubic, real)
    count = min(GAINS, (crop - 1) // 2)
    powers = [
        torch.stack([10 ** (radial_power_spectrum(image, count, crop) / 10) for image in images]).mean(0)
        for images in (bicubic, real)
    ]
    frequencies = (torch.arange(count) + 0.5) / (2 * count)
    decibels, octaves = 10 * (powers[1] / powers[0]).log10(), frequencies.double().log2()
    flat = (frequencies > FLAT[0]) & (frequencies < FLAT[1])
    line = torch.stack([octaves, torch.ones_like(octaves)], 1)
    slope_and_level = torch.linalg.lstsq(line[flat], decibels[flat, None]).solution
    excess = decibels - (line @ slope_and_level)[:, 0]
    gains = torch.where(frequencies < 0.15, 1.0, (10 ** (excess / 20)).clamp_max(1))
    return [round(gain, 3) for gain in gains.tolist()]


# ---------------------------------------------------------------------- colour
def colour_distance(fake: Images, real: Images) -> tuple[float, float]:
    """Difference of the mean colour of two sets, and of the mean contrast.

    Every image counts the same, whatever its size. Content counts, too, unless both sets show the same.

    Args:
        fake, real (Sequence[Tensor]): Images, (3, h, w), RGB in [0, 1].

    Returns:
        tuple[float, float]: Of the means of red, green and blue, and of their standard deviations within an image,
        the root of the mean squared difference over the three, in grey levels (1/255), >= 0.
    """
    (fake_mean, fake_std), (real_mean, real_std) = _colours(fake), _colours(real)
    return _rms(fake_mean - real_mean), _rms(fake_std - real_std)


def _colours(images: Images) -> tuple[Tensor, Tensor]:
    """Means over the images of each channel's mean and standard deviation, grey levels, (3,) each."""
    flat = [image.detach().double().flatten(1).cpu() * 255 for image in images]
    means = torch.stack([pixels.mean(1) for pixels in flat])
    stds = torch.stack([pixels.std(1, correction=0) for pixels in flat])
    return means.mean(0), stds.mean(0)


def _rms(difference: Tensor) -> float:
    return difference.square().mean().sqrt().item()


# ---------------------------------------------------------------------- maximum mean discrepancy
def mmd_test(x: Images, y: Images, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """Squared maximum mean discrepancy of two sets of images, and how likely chance alone would make it so large.

    Samples are 8 x 8 patches of the high-passed images (Gaussian of 1 px; of raw patches one sees content and colour,
    and hardly the degradation), the kernel is DAN's sum of five Gaussians about the mean distance of the joint set.

    Patches of one image are alike, so **the unit is the image**: two images compare by the mean of the kernel over
    pairs of their patches, the unbiased estimate leaves out the pairs within an image, and the permutations deal
    whole images to two sets. Sets of fewer than four images (then of few permutations, too) have each patch as a unit
    instead; their p-value is too small, as if patches were independent.

    It sees content, too: of ten photographs and their blurred versions it may not tell the blur, where the spectrum
    does. Take many images, and compare values with each other and with that of two halves of one set.

    Time and memory are bounded: at most 256 evenly spaced images of a set are used, and 2048 patches, the same number
    from each image, chosen with a fixed seed.

    Args:
        x, y (Sequence[Tensor]): Images, (3, h, w), RGB in [0, 1], at least 8 px wide and high.
        permutations (int): Number of random divisions of the joint set. Default: 200.
        seed (int): Of the permutations. Default: 0.

    Returns:
        tuple[float, float]: The unbiased estimate of MMD^2, 0 on average for sets of one distribution, and then also
        negative; and p = (1 + number of permutations with at least that value) / (1 + permutations).

    Raises:
        ValueError: If a set is empty or an image too small.

    Reference: Gretton et al., A Kernel Two-Sample Test, JMLR 2012, eq. 3 and section 5.
    """
    kernel, sizes = _unit_kernels(x, y)
    generator = torch.Generator().manual_seed(seed)
    identity = torch.arange(sum(sizes))
    orders = [identity, *(torch.randperm(len(identity), generator=generator) for _ in range(permutations))]
    chosen = torch.zeros(len(identity), len(orders), dtype=kernel.dtype)
    for column, order in enumerate(orders):
        chosen[order[: sizes[0]], column] = 1
    values = _unbiased(kernel, chosen, *sizes)
    # equal divisions must count as equal, although their sums are rounded differently
    at_least = (values[1:] >= values[0] - 1e-9 * kernel.abs().mean()).sum().item()
    return values[0].item(), (1 + at_least) / (1 + permutations)


def gap(fake: Images, real: Images) -> dict[str, float]:
    """The gap between two sets of images as four figures, all better nearer to 0.

    Args:
        fake, real (Sequence[Tensor]): Images, (3, h, w), RGB in [0, 1], at least 21 px wide and high.

    Returns:
        dict[str, float]: ``mmd``: MMD^2, see :func:`mmd_test`; ``spectrum_db`` and ``top_band_db`` (which has a
        sign): see :func:`spectrum_distance`; ``colour``: distance of the mean colours in grey levels.

    Raises:
        ValueError: If a set is empty or an image too small.
    """
    spectrum_db, top_band_db = spectrum_distance(fake, real)
    return {
        'mmd': mmd_test(fake, real, permutations=0)[0],
        'spectrum_db': spectrum_db,
        'top_band_db': top_band_db,
        'colour': colour_distance(fake, real)[0],
    }


def verdict(distances: Mapping[str, float]) -> str:
    """One line: whether there is a gap to adapt to, and how much of it is closed. From distances of spectra alone,
    which tell degradations where colours and patches also tell content.

    Args:
        distances (Mapping[str, float]): ``spectrum_db`` from the real images by name: first of bicubic LR images, then
            of those made otherwise, last of two halves of the real ones, which chance and content make.
    """
    (_, bicubic), *made, (_, halves) = distances.items()
    found = f'bicubic LR images are {bicubic:.1f} dB from the real ones, halves of the real ones {halves:.1f} dB apart'
    if bicubic >= 2 * halves:
        parts = [f'{name} closes {1 - distance / bicubic:.0%} of it' for name, distance in made]
        return f'Adapt: {found}. ' + ('; '.join(parts) + '.' if parts else 'Stage 1 learns the difference.')
    if halves > FEW_IMAGES_DB:
        return f'Too few images to tell: {found}. Take more real ones, of many scenes.'
    return f'Nothing to adapt: {found}. A network trained on bicubic images fits these.'


def _unbiased(kernel: Tensor, chosen: Tensor, n: int, m: int) -> Tensor:
    """Unbiased MMD^2 for divisions of the units, the columns of ``chosen``: 1 in the first set, 0 in the second."""
    kernel = kernel - kernel.diagonal().diag()
    first = (chosen * (kernel @ chosen)).sum(0)
    others = 1 - chosen
    second = (others * (kernel @ others)).sum(0)
    mixed = kernel.sum() - first - second
    return first / (n * (n - 1)) + second / (m * (m - 1)) - mixed / (n * m)


@torch.no_grad()
def _unit_kernels(x: Images, y: Images) -> tuple[Tensor, tuple[int, int]]:
    """Kernel between the units of both sets, (n + m, n + m), float64, and n and m."""
    common_crop(x, y)  # refuses empty sets
    samples = [_patches(_evenly(x)), _patches(_evenly(y))]
    n, m = (len(patches) for patches in samples)
    count = min(len(patches) for of_set in samples for patches in of_set)  # of each image
    first, second = (torch.cat([patches[:count] for patches in of_set]) for of_set in samples)
    kernel, joint = Kernel(), torch.cat([first, second])
    bandwidths = kernel.bandwidths(first, second)
    if min(n, m) < MIN_IMAGES:
        n, m, count = n * count, m * count, 1
    units = torch.zeros(n + m, n + m, dtype=torch.float64)
    step = max(1, BLOCK // count)
    for start in range(0, n + m, step):
        rows = joint[start * count : (start + step) * count]
        block = kernel.matrix(rows, joint, bandwidths).double()
        units[start : start + step] = block.unflatten(1, (-1, count)).mean(2).unflatten(0, (-1, count)).mean(1)
    return units, (n, m)


def _evenly(images: Images) -> list[Tensor]:
    """At most MAX_IMAGES of a set."""
    count = min(len(images), MAX_IMAGES)
    return [images[number * len(images) // count] for number in range(count)]


def _patches(images: list[Tensor]) -> list[Tensor]:
    """Random patches of each high-passed image, together at most MAX_PATCHES: (count, 192) each, on the CPU."""
    high_pass = HighPass('gaussian', kernel_size=7, sigma=1.0)
    found = []
    for image in images:
        _check(image, PATCH)
        patches = patch_grid(high_pass(image.detach().cpu().float()[None]), PATCH, PATCH).reshape(-1, 3 * PATCH**2)
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))
        found.append(patches[order[: MAX_PATCHES // len(images)]])
    return found


def _check(image: Tensor, size: int) -> None:
    if image.ndim != 3 or len(image) != 3 or min(image.shape[-2:]) < size:
        raise ValueError(f'The gap of images needs (3, h, w) of at least {size} px, but got {tuple(image.shape)}.')
