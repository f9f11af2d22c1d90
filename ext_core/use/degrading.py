"""A trained degradation network on large images: in tiles without seams."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from ext_core.errors import UserError
from ext_core.networks.files import GeneratorFile, open_generator
from ext_models import tiles
from ext_models.degrading import degraded, low_resolution

MAX_REACH = 64  # LR pixels; of networks that see further, images are taken whole


def load_degrader(option_file: Path, weights: Path, device: torch.device | str = 'cpu') -> GeneratorFile:
    """The degradation network ``network_g`` of an option file, with its EMA weights where the file has them.

    Args:
        option_file (Path): That of stage 1.
        weights (Path): Checkpoint of its generator. :func:`ext_core.networks.weight_files.experiment_files` finds
            both in an experiment.
        device (torch.device | str): Where to put it. Default: 'cpu'.

    Raises:
        UserError: If a file is missing or the weights belong to another network.
    """
    opened = open_generator(weights, options=option_file)
    opened.net.requires_grad_(False).to(device)
    return opened


def low_resolution_in_tiles(net: nn.Module, gt: Tensor, scale: int, tile: int, reach: int) -> Tensor:
    """As :func:`ext_models.degrading.low_resolution`, with the memory of one tile: see
    :func:`ext_models.tiles.in_tiles`.

    Args:
        net, gt, scale: See :func:`ext_models.degrading.low_resolution`.
        tile (int): Side of a tile in LR pixels, without its frame; 0 takes the image whole.
        reach (int): From :func:`reach_of`, in LR pixels.
    """
    return tiles.in_tiles(lambda piece: low_resolution(net, piece, scale), gt, tile, reach, (scale, 1))


def reach_of(net: nn.Module, scale: int) -> int:
    """How far the influence of an HR pixel reaches, in LR pixels, see :func:`ext_models.tiles.reach_of`.

    Args:
        net (nn.Module): Degradation network of three channels in evaluation mode.
        scale (int): HR size / LR size.

    Raises:
        UserError: If it reaches further than ``MAX_REACH``, as that of global normalisation does.
    """
    probe = copy.deepcopy(net).cpu()  # convolutions of a GPU may spread a NaN further than they spread numbers
    reach = tiles.reach_of(lambda image: degraded(probe, image, scale), MAX_REACH, (scale, 1))
    if reach is None:
        raise UserError(
            f'{type(net).__name__} sees further than {MAX_REACH} LR pixels, so that tiles would show seams. '
            'Use --tile 0, which takes images whole.'
        )
    return reach
