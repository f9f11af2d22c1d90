"""Patches for compiled or layout-sensitive operators: pure PyTorch where the compiled ones are absent."""

import importlib

import torch
import torch.nn.functional as F
import torchvision
from basicsr.utils import img_process_util

from ext_core.compat.deform_conv import deform_conv2d
from ext_core.compat.patch import Patch, rebind

# The packages' __init__ bind functions of the same name, hence no 'import ... as'.
_fused_act = importlib.import_module('basicsr.ops.fused_act.fused_act')
_upfirdn2d = importlib.import_module('basicsr.ops.upfirdn2d.upfirdn2d')


def fused_leaky_relu(
    input: torch.Tensor, bias: torch.Tensor, negative_slope: float = 0.2, scale: float = 2**0.5
) -> torch.Tensor:
    """Leaky ReLU of ``input + bias`` times ``scale``, as StyleGAN2's compiled operator.

    Args:
        input (Tensor): Features.
        bias (Tensor): One value per channel.
        negative_slope (float): Slope for negative values. Default: 0.2.
        scale (float): Factor on the result. Default: sqrt(2), which keeps the variance.

    Shape:
        input: (n, c, ...); bias: (c,). Output: as input.
    """
    bias = bias.view(1, -1, *[1] * (input.ndim - 2))
    return F.leaky_relu(input + bias, negative_slope) * scale


def upfirdn2d(
    input: torch.Tensor, kernel: torch.Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """Upsample, filter and downsample by BasicSR's PyTorch code, on every device.

    Args:
        input (Tensor): Features.
        kernel (Tensor): FIR filter.
        up (int): Upsampling factor. Default: 1.
        down (int): Downsampling factor. Default: 1.
        pad (tuple[int, int]): Padding before and after, in pixels. Default: (0, 0).

    Shape:
        input: (n, c, h, w); kernel: (k, k). Output: (n, c, (h * up + pad_0 + pad_1 - k) // down + 1, likewise w).
    """
    return _upfirdn2d.upfirdn2d_native(input, kernel, up, up, down, down, *pad, *pad)


def _filter_needs_contiguous() -> bool:
    image = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    try:
        img_process_util.filter2D(image, torch.zeros(2, 3, 3))
    except RuntimeError:
        return True
    return False


def _cure_filter2d() -> None:
    stock = img_process_util.filter2D

    def filter2D(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return stock(img.contiguous(), kernel)

    rebind(stock, filter2D)


PATCHES = [
    Patch(
        'filter2d',
        "filter2D on a channels_last tensor: 'view size is not compatible with input tensor's size and stride'",
        _filter_needs_contiguous,
        _cure_filter2d,
    ),
    Patch(
        'fused_act',
        "StyleGAN2: 'name fused_act_ext is not defined' where BasicSR's operators are not compiled",
        lambda: not hasattr(_fused_act, 'fused_act_ext'),
        lambda: rebind(_fused_act.fused_leaky_relu, fused_leaky_relu),
    ),
    Patch(
        'upfirdn2d',
        "StyleGAN2 on a GPU: 'name upfirdn2d_ext is not defined' where BasicSR's operators are not compiled",
        lambda: not hasattr(_upfirdn2d, 'upfirdn2d_ext'),
        lambda: rebind(_upfirdn2d.upfirdn2d, upfirdn2d),
    ),
    Patch(
        'deform_conv2d',
        "EDVR, IconVSR: 'Couldn't load custom C++ ops' where torchvision's operators do not fit the build of torch",
        lambda: not torchvision.extension._has_ops(),
        lambda: rebind(torchvision.ops.deform_conv2d, deform_conv2d, package='torchvision'),
    ),
]
