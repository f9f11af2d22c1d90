"""Degradations: what makes a low-quality image of a high-quality one, by the ``type`` of the option section degrade.

A degradation is a module whose ``forward(gt, lq)`` maps ground truths (n, c, h, w), and the dataset's own low-quality
images or None, to low-quality images (n, c, h / scale, w / scale). Both have range [0, 1]; the result is clamped and
rounded to 8 bits afterwards. It draws from Python's, NumPy's and torch's global generators. ``DRAWS = False`` says
that it draws nothing; the others get one sample at a time, with the generators seeded for it.
"""

import math
import random
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from basicsr.data.degradations import (
    circular_lowpass_kernel,
    random_add_gaussian_noise_pt,
    random_add_poisson_noise_pt,
    random_mixed_kernels,
)
from basicsr.utils import DiffJPEG
from basicsr.utils.img_process_util import filter2D
from basicsr.utils.registry import ARCH_REGISTRY, Registry
from torch import Tensor, nn
from torch.nn import functional as F

from ext_arch.resize import bicubic_downscale
from ext_models.degrading import degraded
from ext_models.registries import look_up
from ext_models.weights import load_checkpoint, select_weights, weights_problem

DEGRADATION_REGISTRY = Registry('degradation')
KERNELS = ('iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso')
KERNEL_PROB = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
SMALLEST_KERNEL = 7
BLUR_KERNEL = 21  # px


def build_degradation(options: Mapping[str, Any], scale: int) -> nn.Module:
    """The degradation of an option section.

    Args:
        options (Mapping[str, Any]): ``type`` and its arguments: one of this file, or any degradation network by its
            name, with ``weights``, the file of a training.
        scale (int): HR size / LR size.

    Raises:
        ValueError, TypeError, OSError: If there is no such type, or it refuses its arguments, or the weights cannot be
            read or belong to another network.
    """
    arguments = dict(options)
    name = arguments.pop('type', None)
    kind = look_up(DEGRADATION_REGISTRY, name)
    if kind is not None:
        if 'scale' in signature(kind).parameters:
            arguments['scale'] = scale
        return kind(**arguments)
    kind, path = look_up(ARCH_REGISTRY, name), arguments.pop('weights', None)
    if kind is None:
        known = ', '.join(sorted(dict(iter(DEGRADATION_REGISTRY))))
        raise ValueError(f"there is no degradation '{name}'. Use one of: {known}; or a network, with its weights.")
    if path is None:
        raise ValueError(
            f'weights is missing: {name} is used as it was trained. Name the file, such as '
            'experiments/train_da_stage1/models/net_g_latest.pth.'
        )
    if 'scale' in signature(kind).parameters and arguments.setdefault('scale', scale) != scale:
        raise ValueError(
            f'scale is {arguments["scale"]}, but that of the file is {scale}. Use a network of that scale.'
        )
    net = kind(**arguments)
    _, weights = select_weights(load_checkpoint(path), 'params_ema', path)
    remedy = 'Name the file that this network was trained to in degrade:weights, or correct its arguments.'
    if problem := weights_problem(net, weights, path, 'degrade', remedy):
        raise ValueError(problem)
    net.load_state_dict(weights)
    return TrainedDegradation(net, scale)


def degradation_class(name: Any) -> Any:
    """What ``type`` names: a degradation, or a network; None where it is neither."""
    return look_up(DEGRADATION_REGISTRY, name) or look_up(ARCH_REGISTRY, name)


class TrainedDegradation(nn.Module):
    """A trained degradation network, such as DegradationNet.

    Args:
        net (nn.Module): The network, with its weights.
        scale (int): HR size / LR size.
    """

    DRAWS = False

    def __init__(self, net: nn.Module, scale: int):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        return degraded(self.net, gt, self.scale)


@DEGRADATION_REGISTRY.register()
class Bicubic(nn.Module):
    """MATLAB's bicubic reduction.

    Args:
        scale (int): HR size / LR size.
    """

    DRAWS = False

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        return bicubic_downscale(gt, self.scale)


@DEGRADATION_REGISTRY.register()
class CameraBlur(nn.Module):
    """MATLAB's bicubic reduction, then a camera's blur, the same in all directions.

    Light adds up on the sensor, and the camera's tone curve comes afterwards: where a bright and a dark part meet in
    one pixel, that is brighter than the mean of their values. With ``gamma``, values to the power of it are reduced
    and blurred, and the result is taken to the power of 1 / gamma.

    Args:
        scale (int): HR size / LR size.
        gains (Sequence[float]): Magnitudes of the blur's transfer function at (i + 0.5) / (2 n) cycles per LR px, i
            from 0 to n - 1, as ``scripts/domain_gap.py`` measures them; in between interpolated, beyond constant.
        gamma (float): Above 0; 1: values are reduced as they are. Default: 1.0.

    Raises:
        ValueError: If there are no gains, the first is not 1, or one is not in 0 to 2; or gamma is not above 0.
    """

    DRAWS = False

    def __init__(self, scale: int, gains: Sequence[float], gamma: float = 1.0):
        super().__init__()
        if not gains or gains[0] != 1 or not all(0 <= gain <= 2 for gain in gains):
            raise ValueError(f'gains must be numbers from 0 to 2, the first of them 1, but are {gains}.')
        if not 0 < gamma < math.inf:
            raise ValueError(f'gamma must be a number above 0, but is {gamma}.')
        self.scale, self.gamma = scale, gamma
        axis = np.fft.fftfreq(BLUR_KERNEL)
        transfer = np.interp(np.hypot(axis[:, None], axis), (np.arange(len(gains)) + 0.5) / (2 * len(gains)), gains)
        kernel = torch.from_numpy(np.fft.fftshift(np.fft.ifft2(transfer).real))
        self.register_buffer('kernel', kernel.float()[None], persistent=False)

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        if self.gamma == 1:
            return filter2D(bicubic_downscale(gt, self.scale), self.kernel)
        light = filter2D(bicubic_downscale(gt.clamp(0, 1) ** self.gamma, self.scale), self.kernel)
        return light.clamp(0, 1) ** (1 / self.gamma)


@DEGRADATION_REGISTRY.register()
class Pairs(nn.Module):
    """The dataset's own low-quality images, for mixtures of real pairs and synthetic ones."""

    DRAWS = False

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        if lq is None:
            raise ValueError('Pairs needs low-quality images, and the batches have no lq. Use PairedImageDataset.')
        return lq


@DEGRADATION_REGISTRY.register()
class Mixture(nn.Module):
    """One of several degradations, drawn for each sample.

    Args:
        of (Sequence[dict]): Sections of degradations, each with a ``type``.
        weights (Sequence[float] | None): How often each is drawn, relative to the others. Default: all alike.
        scale (int): HR size / LR size.

    Raises:
        ValueError: If there are no parts, or not one weight of at least 0 for each.
    """

    def __init__(self, of: Sequence[dict], scale: int, weights: Sequence[float] | None = None):
        super().__init__()
        if not of:
            raise ValueError('of must name one degradation or more, such as [{type: RealESRGANDegradation}].')
        self.weights = [1.0] * len(of) if weights is None else list(weights)
        if len(self.weights) != len(of) or min(self.weights) < 0 or not sum(self.weights):
            raise ValueError(f'weights must have a number of at least 0 for each of {len(of)} parts, not all 0.')
        self.parts = nn.ModuleList(build_degradation(part, scale) for part in of)

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        drawn = [random.choices(self.parts, self.weights)[0] for _ in gt]
        return torch.cat(
            [
                part(gt[index : index + 1], None if lq is None else lq[index : index + 1])
                for index, part in enumerate(drawn)
            ]
        )


@DEGRADATION_REGISTRY.register()
class RealESRGANDegradation(nn.Module):
    """Blur, resize, noise and JPEG compression, twice, and a final sinc filter: BasicSR's RealESRGANModel.

    The kernels are those of its RealESRGANDataset, drawn here. For one image and the same state of the random
    generators the result equals BasicSR's bit for bit. Options have the names and the meaning that they have there,
    those of the second round end in 2; the defaults are the published setting.

    Args:
        scale (int): HR size / LR size.
        blur_kernel_size, blur_kernel_size2 (int): Side of the largest kernel, odd, from 7; all odd sides from 7 on are
            drawn. The final sinc filter takes the second. Default: 21.
        kernel_list, kernel_list2 (Sequence[str]): Kinds of kernels. Default: all six of BasicSR.
        kernel_prob, kernel_prob2 (Sequence[float]): Their weights.
        sinc_prob, sinc_prob2 (float): Probability of a sinc filter instead. Default: 0.1.
        blur_sigma (Sequence[float]): Standard deviation of the kernels in pixels. Default: (0.2, 3).
        blur_sigma2 (Sequence[float]): Likewise. Default: (0.2, 1.5).
        betag_range, betag_range2 (Sequence[float]): Exponent of generalized kernels. Default: (0.5, 4).
        betap_range, betap_range2 (Sequence[float]): Exponent of plateau kernels. Default: (1, 2).
        second_blur_prob (float): Probability of the second blur. Default: 0.8.
        final_sinc_prob (float): Probability of the final sinc filter. Default: 0.8.
        resize_prob, resize_prob2 (Sequence[float]): Weights of enlarging, reducing and keeping the size.
        resize_range, resize_range2 (Sequence[float]): Smallest and largest factor; the second is relative to LR size.
        gaussian_noise_prob, gaussian_noise_prob2 (float): Probability of Gaussian noise; else it is Poisson's.
            Default: 0.5.
        noise_range, noise_range2 (Sequence[float]): Standard deviation of Gaussian noise in levels of 255.
        poisson_scale_range, poisson_scale_range2 (Sequence[float]): Factor of Poisson noise.
        gray_noise_prob, gray_noise_prob2 (float): Probability that noise is grey. Default: 0.4.
        jpeg_range, jpeg_range2 (Sequence[float]): Quality of JPEG. Default: (30, 95).

    Shape:
        gt: (n, 3, h, w), RGB, range [0, 1]. Output: (n, 3, h // scale, w // scale).

    Raises:
        ValueError: If an argument is out of its range, or (in ``forward``) images are too small for the kernels.

    Reference: Wang et al., Real-ESRGAN, ICCVW 2021.
    """

    def __init__(
        self,
        scale: int,
        blur_kernel_size: int = 21,
        kernel_list: Sequence[str] = KERNELS,
        kernel_prob: Sequence[float] = KERNEL_PROB,
        sinc_prob: float = 0.1,
        blur_sigma: Sequence[float] = (0.2, 3.0),
        betag_range: Sequence[float] = (0.5, 4.0),
        betap_range: Sequence[float] = (1.0, 2.0),
        resize_prob: Sequence[float] = (0.2, 0.7, 0.1),
        resize_range: Sequence[float] = (0.15, 1.5),
        gaussian_noise_prob: float = 0.5,
        noise_range: Sequence[float] = (1.0, 30.0),
        poisson_scale_range: Sequence[float] = (0.05, 3.0),
        gray_noise_prob: float = 0.4,
        jpeg_range: Sequence[float] = (30.0, 95.0),
        second_blur_prob: float = 0.8,
        blur_kernel_size2: int = 21,
        kernel_list2: Sequence[str] = KERNELS,
        kernel_prob2: Sequence[float] = KERNEL_PROB,
        sinc_prob2: float = 0.1,
        blur_sigma2: Sequence[float] = (0.2, 1.5),
        betag_range2: Sequence[float] = (0.5, 4.0),
        betap_range2: Sequence[float] = (1.0, 2.0),
        resize_prob2: Sequence[float] = (0.3, 0.4, 0.3),
        resize_range2: Sequence[float] = (0.3, 1.2),
        gaussian_noise_prob2: float = 0.5,
        noise_range2: Sequence[float] = (1.0, 25.0),
        poisson_scale_range2: Sequence[float] = (0.05, 2.5),
        gray_noise_prob2: float = 0.4,
        jpeg_range2: Sequence[float] = (30.0, 95.0),
        final_sinc_prob: float = 0.8,
    ):
        given = {name: value for name, value in locals().items() if name not in ('self', '__class__')}
        super().__init__()
        for name, value in given.items():
            _check(name, value)
        for end in ('', '2'):
            if len(given[f'kernel_list{end}']) != len(given[f'kernel_prob{end}']):
                raise ValueError(f'kernel_prob{end} must have one weight for each of kernel_list{end}.')
        self.scale, self.second_blur_prob, self.final_sinc_prob = scale, second_blur_prob, final_sinc_prob
        both = [name for name in given if f'{name}2' in given]
        self.first, self.second = ({name: given[name + end] for name in both} for end in ('', '2'))
        self.jpeg = DiffJPEG(differentiable=False).requires_grad_(False)

    def forward(self, gt: Tensor, lq: Tensor | None = None) -> Tensor:
        """Degraded images, see the class. Each has kernels of its own; what else is drawn they have in common."""
        self._check_size(gt)
        height, width = gt.shape[-2:]
        size = self.second['blur_kernel_size']
        kernels = [(_kernel(self.first), _kernel(self.second), self._final_kernel(size)) for _ in gt]
        blur, blur2, sinc = (gt.new_tensor(np.stack(kind)) for kind in zip(*kernels, strict=True))

        out = filter2D(gt.contiguous(), blur)
        out = F.interpolate(out, scale_factor=_factor(self.first), mode=_mode())
        out = self._compressed(_noisy(out, self.first), self.first)
        if np.random.uniform() < self.second_blur_prob:  # noqa: NPY002, as BasicSR draws
            out = filter2D(out.contiguous(), blur2)  # the JPEG module turns the layout
        factor = _factor(self.second)
        sides = int(height / self.scale * factor), int(width / self.scale * factor)
        out = _noisy(F.interpolate(out, size=sides, mode=_mode()), self.second)
        jpeg_last = np.random.uniform() < 0.5  # noqa: NPY002
        if not jpeg_last:
            out = self._compressed(out, self.second)
        out = F.interpolate(out, size=(height // self.scale, width // self.scale), mode=_mode())
        out = filter2D(out.contiguous(), sinc)
        return self._compressed(out, self.second) if jpeg_last else out

    def _compressed(self, images: Tensor, options: dict) -> Tensor:
        quality = images.new_zeros(len(images)).uniform_(*options['jpeg_range'])
        return self.jpeg(images.clamp(0, 1), quality=quality)

    def _final_kernel(self, size: int) -> np.ndarray:
        if np.random.uniform() >= self.final_sinc_prob:  # noqa: NPY002
            kernel = np.zeros((size, size))
            kernel[size // 2, size // 2] = 1
            return kernel
        side = random.choice(range(SMALLEST_KERNEL, size + 1, 2))
        return circular_lowpass_kernel(np.random.uniform(np.pi / 3, np.pi), side, pad_to=size)  # noqa: NPY002

    def _check_size(self, gt: Tensor) -> None:
        """The smallest image that may be drawn has to be wider than half the kernel, whose border is mirrored."""
        if gt.shape[1] != 3:
            raise ValueError(f'RealESRGANDegradation takes images of 3 channels, but got {gt.shape[1]}.')
        side, size = min(gt.shape[-2:]), max(part['blur_kernel_size'] for part in (self.first, self.second))
        shrunk = int(side * self.first['resize_range'][0]) if self.first['resize_prob'][1] else side
        if min(side // self.scale, shrunk if self.second_blur_prob else side) <= size // 2:
            raise ValueError(
                f'images of {side} px may shrink to {min(side // self.scale, shrunk)} px, too small for '
                f'kernels of {size} px (blur_kernel_size). Raise gt_size of datasets:train or the lower end of '
                'resize_range, or lower blur_kernel_size and blur_kernel_size2.'
            )


def _kernel(options: dict) -> np.ndarray:
    """A blur kernel, padded to the largest size."""
    largest = options['blur_kernel_size']
    side = random.choice(range(SMALLEST_KERNEL, largest + 1, 2))
    if np.random.uniform() < options['sinc_prob']:  # noqa: NPY002
        cutoff = np.random.uniform(np.pi / (3 if side < 13 else 5), np.pi)  # noqa: NPY002
        return circular_lowpass_kernel(cutoff, side, pad_to=largest)
    sigma, turns = options['blur_sigma'], [-math.pi, math.pi]
    kernel = random_mixed_kernels(
        options['kernel_list'],
        options['kernel_prob'],
        side,
        sigma,
        sigma,
        turns,
        options['betag_range'],
        options['betap_range'],
    )
    return np.pad(kernel, (largest - side) // 2)


def _factor(options: dict) -> float:
    """A factor of resizing."""
    way = random.choices(('up', 'down', 'keep'), options['resize_prob'])[0]
    low, high = options['resize_range']
    return np.random.uniform(*{'up': (1, high), 'down': (low, 1)}[way]) if way != 'keep' else 1  # noqa: NPY002


def _mode() -> str:
    return random.choice(('area', 'bilinear', 'bicubic'))


def _noisy(images: Tensor, options: dict) -> Tensor:
    gray = options['gray_noise_prob']
    if np.random.uniform() < options['gaussian_noise_prob']:  # noqa: NPY002
        return random_add_gaussian_noise_pt(images, sigma_range=options['noise_range'], gray_prob=gray)
    return random_add_poisson_noise_pt(images, scale_range=options['poisson_scale_range'], gray_prob=gray)


def _check(name: str, value: Any) -> None:
    """Refuse an argument of RealESRGANDegradation that would fail, or do something else, while training."""
    stem = name.removesuffix('2')
    numbers: list[Any] = [value] if not isinstance(value, Sequence) or isinstance(value, str) else list(value)
    if stem == 'kernel_list':
        fits, wanted = bool(numbers) and set(numbers) <= set(KERNELS), f'a list of some of {", ".join(KERNELS)}'
    elif any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        fits, wanted = False, 'numbers'
    elif stem in ('kernel_prob', 'resize_prob'):
        fits = min(numbers, default=-1) >= 0 and sum(numbers) > 0 and (stem == 'kernel_prob' or len(numbers) == 3)
        wanted = 'weights of at least 0, not all 0' + ('' if stem == 'kernel_prob' else ', of up, down and keep')
    elif stem.endswith('_prob'):
        fits, wanted = len(numbers) == 1 and 0 <= numbers[0] <= 1, 'a number from 0 to 1'
    elif stem == 'blur_kernel_size':
        fits, wanted = value % 2 == 1 and value >= SMALLEST_KERNEL, f'an odd number of at least {SMALLEST_KERNEL}'
    elif stem in ('blur_sigma', 'betag_range', 'betap_range'):
        fits, wanted = len(numbers) == 2 and 0 < numbers[0] < numbers[1], 'two positive numbers, the first smaller'
    elif stem == 'resize_range':
        fits, wanted = len(numbers) == 2 and 0 < numbers[0] <= 1 <= numbers[1], 'two numbers, one on each side of 1'
    elif stem == 'jpeg_range':
        fits, wanted = len(numbers) == 2 and 1 <= numbers[0] <= numbers[1] <= 99, 'two numbers from 1 to 99'
    else:
        fits, wanted = name == 'scale' or (len(numbers) == 2 and 0 <= numbers[0] <= numbers[1]), 'two numbers from 0 on'
    if not fits:
        raise ValueError(f'{name} must be {wanted}, but is {value}.')
