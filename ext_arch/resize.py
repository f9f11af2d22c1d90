"""MATLAB's bicubic ``imresize`` on tensors, by integer factors, on any device and with gradients.

``F.interpolate(mode='bicubic', antialias=True)`` uses MATLAB's kernel (a = -0.5, widened when it reduces; without
``antialias`` torch uses a = -0.75 and does not widen). What is left is the border: MATLAB continues the image by
its mirror, the edge pixel repeated, while torch leaves out what is outside. So the image is mirrored first, by the two
low-resolution pixels that the kernel reaches beyond the border, and they are cut off afterwards. The result equals
``basicsr.utils.matlab_functions.imresize`` everywhere, up to float32 rounding (3e-7; 3e-6 when enlarging by 3).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

BORDER = 2  # low-resolution pixels; half the cubic kernel's width of 4


def bicubic_downscale(x: Tensor, scale: int) -> Tensor:
    """Reduce images by an integer factor, as MATLAB's ``imresize(x, 1 / scale)`` does.

    Neither rounded nor clipped: next to strong edges values leave the input's range by a few percent.

    Args:
        x (Tensor): Images, floating point, any range. Halves are computed, and returned, in float32.
        scale (int): Factor, at least 1.

    Shape:
        x: (n, c, h, w), h and w multiples of scale and at least 2 * scale. Output: (n, c, h / scale, w / scale).

    Raises:
        ValueError: If the factor is less than 1, the tensor is not of that shape, or it is not of floating point.
    """
    height, width = _checked(x, scale, multiple=scale)
    border = BORDER * scale
    size = (height // scale + 2 * BORDER, width // scale + 2 * BORDER)
    return _cut(_interpolate(_mirrored(x, border), size), BORDER)


def bicubic_upscale(x: Tensor, scale: int) -> Tensor:
    """Enlarge images by an integer factor, as MATLAB's ``imresize(x, scale)`` does.

    Neither rounded nor clipped, see :func:`bicubic_downscale`.

    Args:
        x (Tensor): Images, floating point, any range. Halves are computed, and returned, in float32.
        scale (int): Factor, at least 1.

    Shape:
        x: (n, c, h, w), h and w at least 2. Output: (n, c, scale * h, scale * w).

    Raises:
        ValueError: If the factor is less than 1, the tensor is not of that shape, or it is not of floating point.
    """
    height, width = _checked(x, scale, multiple=1)
    size = (scale * (height + 2 * BORDER), scale * (width + 2 * BORDER))
    return _cut(_interpolate(_mirrored(x, BORDER), size), BORDER * scale)


def _checked(x: Tensor, scale: int, multiple: int) -> tuple[int, int]:
    """Height and width of images that can be resized."""
    if scale < 1:
        raise ValueError(f'The scale must be a whole number of at least 1, but is {scale}.')
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f'Images must be floating point (n, c, h, w), but are {x.dtype} {tuple(x.shape)}.')
    height, width = x.shape[-2:]
    if height % multiple or width % multiple or min(height, width) < BORDER * multiple:
        raise ValueError(
            f'Images of {height} x {width} (height x width) cannot be resized by {scale}: both must be multiples of '
            f'{multiple} and at least {BORDER * multiple}. Crop the images to a multiple.'
        )
    return height, width


def _mirrored(x: Tensor, border: int) -> Tensor:
    """Continued by its mirror image, the edge pixel repeated (NumPy's 'symmetric'; torch's 'reflect' does not)."""
    x = torch.cat([x[..., :border].flip(-1), x, x[..., -border:].flip(-1)], dim=-1)
    return torch.cat([x[..., :border, :].flip(-2), x, x[..., -border:, :].flip(-2)], dim=-2)


def _interpolate(x: Tensor, size: tuple[int, int]) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    return F.interpolate(wide, size=size, mode='bicubic', antialias=True, align_corners=False)


def _cut(x: Tensor, border: int) -> Tensor:
    return x[..., border:-border, border:-border].contiguous()
