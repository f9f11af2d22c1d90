"""A trained degradation network on large images: in tiles without seams."""

import copy

import torch
from torch import Tensor, nn

from ext_core.errors import UserError
from ext_core.images.tiles import in_tiles
from ext_models.degrading import degraded, low_resolution

PROBES = (16, 32, 64, 128)  # sides in LR pixels of the images on which the reach of a network is measured


def low_resolution_in_tiles(net: nn.Module, gt: Tensor, scale: int, tile: int, reach: int) -> Tensor:
    """As :func:`ext_models.degrading.low_resolution`, with the memory of one tile: see
    :func:`ext_core.images.tiles.in_tiles`.

    Args:
        net, gt, scale: See :func:`ext_models.degrading.low_resolution`.
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
        touched = degraded(probe, image, scale).isnan().any(dim=1)[0]
        places = torch.cat([touched.any(dim=0).nonzero(), touched.any(dim=1).nonzero()])
        if len(places) and places.min() > 0 and places.max() < side - 1:
            return int((places - centre).abs().max())
    raise UserError(
        f'{type(net).__name__} sees further than {PROBES[-1] // 2} LR pixels, so that tiles would show seams. '
        'Use --tile 0, which takes images whole.'
    )
