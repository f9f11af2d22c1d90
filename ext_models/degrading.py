"""LR images made by a trained degradation network, and what a sensor adds to them."""

import torch
from torch import Tensor, nn

from ext_arch.resize import bicubic_downscale


def low_resolution(net: nn.Module, gt: Tensor, scale: int) -> Tensor:
    """LR images as they would be written and read again: clamped to [0, 1] and rounded to the 256 levels of a file.

    A network whose class says ``INPUT = 'lq'`` gets the bicubic LR image, neither rounded nor clipped, instead of the
    HR image. Computed in float32, without a graph.

    Args:
        net (nn.Module): Degradation network in evaluation mode.
        gt (Tensor): HR images, float32, range [0, 1].
        scale (int): HR size / LR size.

    Shape:
        gt: (n, c, h, w), h and w multiples of scale. Output: (n, c, h / scale, w / scale).

    Raises:
        ValueError: If the network gives another size.
    """
    return in_levels(degraded(net, gt, scale))


@torch.no_grad()
def degraded(net: nn.Module, gt: Tensor, scale: int) -> Tensor:
    """As :func:`low_resolution`, neither clamped nor rounded."""
    with torch.autocast(gt.device.type, enabled=False):
        source = bicubic_downscale(gt, scale) if getattr(net, 'INPUT', 'gt') == 'lq' else gt
        lr = net(source)
    wanted = (gt.shape[-2] // scale, gt.shape[-1] // scale)
    if lr.shape[-2:] != wanted:
        raise ValueError(
            f'{type(net).__name__} makes {tuple(lr.shape[-2:])} of {tuple(gt.shape[-2:])} (height, width), but scale '
            f'{scale} asks for {wanted}. Use a degradation network of that scale.'
        )
    return lr


def noisy(images: Tensor, read: float, shot: float) -> Tensor:
    """Images with a sensor's noise, of variance (read^2 + shot^2 x) / 255^2 at brightness x; the same ones for 0 and 0.

    Args:
        images (Tensor): Range [0, 1]; the gradient passes as through a sum.
        read, shot (float): Standard deviations in levels of 255: at black, and what white has in addition.
    """
    if not read and not shot:
        return images
    return images + torch.randn_like(images) * (read**2 + shot**2 * images.detach().clamp(0, 1)).sqrt() / 255


def in_levels(images: Tensor) -> Tensor:
    """Images as they would be written and read again: clamped to [0, 1] and rounded to the 256 levels of a file."""
    return images.clamp(0, 1).mul(255).round().div(255)
