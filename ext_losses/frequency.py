"""Low-pass and high-pass filters of images, for losses and views that look at one band of frequencies."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILTERS = ('gaussian', 'average', 'haar')
PADS = {'reflect': 'reflect', 'zero': 'constant'}


def at_least_float32(images: Tensor) -> Tensor:
    """The images in float32, or in float64 if they are."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """Samples of a Gaussian at the pixels around its centre, of sum 1: (size,), float64."""
    positions = torch.arange(size, dtype=torch.float64) - size // 2
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    return kernel / kernel.sum()


class LowPass(nn.Module):
    """Low frequencies of images: what is left after smoothing.

    ``gaussian`` and ``average`` convolve rows and columns with a kernel of sum 1. ``haar`` keeps the approximation
    band of one level of the Haar wavelet transform: each block of 2 x 2 pixels becomes its mean, so images of odd size
    are padded by one row or column at the end.

    Computed in float32 also under autocast and for half-precision images: the high frequencies of a photograph have a
    standard deviation of about 0.06, and bfloat16 resolves 0.004 at white. float64 stays float64.

    Args:
        filter (str): 'gaussian', 'average' or 'haar'. Default: 'gaussian'.
        kernel_size (int): Side of the kernel in pixels, odd; not used by 'haar'. Default: 13.
        sigma (float): Standard deviation of the Gaussian in pixels; used by 'gaussian' only. Default: 2.0.
        pad (str): 'reflect', or 'zero', which darkens a frame of kernel_size // 2 pixels. Default: 'reflect'.

    Shape:
        (n, c, h, w) of any floating type, any c and range. Output: that shape, float32, or float64 for float64.

    Raises:
        ValueError: If filter or pad is unknown, kernel_size is not odd and positive, sigma is not positive, or images
            are too small for the reflected border.

    Reference: Fritsche et al., Frequency Separation for Real-World Super-Resolution, ICCVW 2019, section 3.2.
    """

    kernel: Tensor

    def __init__(self, filter: str = 'gaussian', kernel_size: int = 13, sigma: float = 2.0, pad: str = 'reflect'):
        super().__init__()
        if filter not in FILTERS:
            raise ValueError(f"filter must be one of {', '.join(FILTERS)}, but is '{filter}'.")
        if pad not in PADS:
            raise ValueError(f"pad must be one of {', '.join(PADS)}, but is '{pad}'.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd and positive, but is {kernel_size}.')
        if not sigma > 0:
            raise ValueError(f'sigma must be positive, but is {sigma}.')
        self.filter = filter
        self.pad = pad
        self.kernel_size = 2 if filter == 'haar' else kernel_size
        if filter != 'haar':
            average = torch.full((kernel_size,), 1 / kernel_size)
            kernel = gaussian_kernel(kernel_size, sigma) if filter == 'gaussian' else average
            self.register_buffer('kernel', kernel.float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = at_least_float32(images)
        with torch.autocast(images.device.type, enabled=False):
            return self._block_means(images) if self.filter == 'haar' else self._smooth(images)

    def _smooth(self, images: Tensor) -> Tensor:
        # Every plane is a channel of one image. This makes the convolution depthwise in any memory format and for any
        # number of channels, which is what runs fast on the CPU, and on a GPU stays clear of TF32's short mantissa.
        planes = images.reshape(1, -1, *images.shape[-2:])
        border = self.kernel_size // 2
        padded = self._padded(planes, (border,) * 4)
        kernel = self.kernel.to(images.dtype).expand(planes.shape[1], 1, 1, -1)
        rows = F.conv2d(padded, kernel, groups=planes.shape[1])
        return F.conv2d(rows, kernel.transpose(2, 3), groups=planes.shape[1]).reshape(images.shape)

    def _block_means(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        means = F.avg_pool2d(self._padded(images, (0, width % 2, 0, height % 2)), 2)
        return F.interpolate(means, scale_factor=2, mode='nearest')[..., :height, :width]

    def _padded(self, images: Tensor, borders: tuple[int, ...]) -> Tensor:
        if not any(borders):
            return images
        if self.pad == 'reflect' and min(images.shape[-2:]) <= max(borders):
            kernel = 'filter haar' if self.filter == 'haar' else f'kernel_size {self.kernel_size}'
            raise ValueError(
                f'{kernel} with reflected borders needs images larger than {max(borders)} px, '
                f'but got {tuple(images.shape[-2:])}.'
            )
        return F.pad(images, borders, mode=PADS[self.pad])


class HighPass(nn.Module):
    """High frequencies of images, HP(x) = x - LP(x), with the low-pass filter :class:`LowPass`.

    A constant image becomes 0, with reflected borders everywhere. With zero borders a frame remains that is 2.5 to 3.5
    times as strong as the high frequencies inside.

    Args:
        filter, kernel_size, sigma, pad: see :class:`LowPass`.
        shift (bool): Return 0.5 + 0.5 HP(x), which lies in [0, 1] for images in [0, 1]. Default: False.

    Shape:
        As :class:`LowPass`; images in [0, 1] give [-1, 1].

    Raises:
        ValueError: See :class:`LowPass`.

    Reference: two-stage domain adaptation for real-world super-resolution, eq. 7 (Gaussian); Fritsche et al., Frequency
    Separation for Real-World Super-Resolution, ICCVW 2019 (average, zero borders, shifted).
    """

    def __init__(
        self,
        filter: str = 'gaussian',
        kernel_size: int = 13,
        sigma: float = 2.0,
        pad: str = 'reflect',
        shift: bool = False,
    ):
        super().__init__()
        self.low_pass = LowPass(filter, kernel_size, sigma, pad)
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        images = at_least_float32(images)  # here, so that the gradients of both terms are added before any rounding
        high = images - self.low_pass(images)
        return 0.5 + 0.5 * high if self.shift else high
