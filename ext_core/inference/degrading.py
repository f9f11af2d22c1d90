"""Use a trained degradation network: low-resolution images of high-resolution ones, whole or in tiles without seams."""

import copy

import torch
from torch import Tensor, nn

from ext_core.errors import UserError
from ext_core.images.tiles import in_tiles

PROBES = (16, 32, 64, 128)  # sides in LR pixels of the images on which the reach of a network is measured


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
    return _raw(net, gt, scale).clamp(0, 1).mul(255).round().div(255)


@torch.no_grad()
def _raw(net: nn.Module, gt: Tensor, scale: int) -> Tensor:
    from ext_arch.resize import bicubic_downscale

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


def low_resolution_in_tiles(net: nn.Module, gt: Tensor, scale: int, tile: int, reach: int) -> Tensor:
    """As :func:`low_resolution`, with the memory of one tile: see :func:`ext_core.images.tiles.in_tiles`.

    Args:
        net, gt, scale: See :func:`low_resolution`.
        tile (int): Side of a tile in LR pixels, without its frame; 0 takes the image whole.
        reach (int): From :func:`reach_of`, in LR pixels.
    """
    return in_tiles(lambda piece: low_resolution(net, piece, scale), gt, tile, reach, (scale, 1))


def reach_of(net: nn.Module, scale: int) -> int:
    """How far an HR pixel's influence reaches, in LR pixels: measured, by following a NaN through the network.

    Args:
        net (nn.Module): Degradation network of three channels in evaluation mode.
        scale (int): HR size / LR size.

    Returns:
        int: Largest distance between the LR pixel over an HR pixel and one that depends on it.

    Raises:
        UserError: If it reaches further than half of the largest probe, as that of global normalisation does.
    """
    probe = copy.deepcopy(net).cpu()  # convolutions of a GPU may spread a NaN further than they spread numbers
    for side in PROBES:
        centre = side // 2
        image = torch.zeros(1, 3, side * scale, side * scale)
        image[..., centre * scale : (centre + 1) * scale, centre * scale : (centre + 1) * scale] = torch.nan
        touched = _raw(probe, image, scale).isnan().any(dim=1)[0]
        places = torch.cat([touched.any(dim=0).nonzero(), touched.any(dim=1).nonzero()])
        if len(places) and places.min() > 0 and places.max() < side - 1:
            return int((places - centre).abs().max())
    raise UserError(
        f'{type(net).__name__} sees further than {PROBES[-1] // 2} LR pixels, so that tiles would show seams. '
        'Use --tile 0, which takes images whole.'
    )
