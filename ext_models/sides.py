"""Images that a network does not take as they are in a test: of sides that are no multiples of a window, for instance,
or too large for the memory. They are continued and the results cut, or go through in tiles."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ext_models.tiles import in_tiles

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # that are tried
FRAME = 32  # px of the network's input around a tile, as scripts/upscale.py has at most
SMALLEST = 32  # px, side of a tile
ALIGN = 16  # px; windows of transformers lie alike in all tiles


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so: PyTorch has a type for it on GPUs only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ('not enough memory', "can't allocate memory", 'out of memory')
    )


def in_pieces(model: Any, test: Callable[[], None]) -> None:
    """:func:`in_whole_multiples`, in tiles of ``val:tile``; where the memory does not suffice, in smaller and smaller
    ones, down to SMALLEST.

    A network that looks further than FRAME, or averages over the image, gives a slightly other result in tiles.

    Args:
        model (SRModel): ``output`` is (n, c, scale h, scale w) afterwards.
        test (Callable): Makes ``model.output`` of ``model.lq``.

    Raises:
        Exception: As :func:`in_whole_multiples`; or the last error for want of memory.
    """
    image = model.lq

    def run(piece: Tensor) -> Tensor:
        model.lq = piece
        test()
        return model.output

    process = partial(in_whole_multiples, run)

    tile = (model.opt.get('val') or {}).get('tile') or 0  # side in the network's input
    cells = (1, 1)  # sides in the network's input and output
    try:
        while True:
            try:
                if tile and cells == (1, 1):
                    piece = image[..., : 2 * SMALLEST, : 2 * SMALLEST]
                    sides = piece.shape[-1], process(piece).shape[-1]
                    cells = max(sides[0] // sides[1], 1), max(sides[1] // sides[0], 1)
                model.output = in_tiles(
                    process, image, tile // cells[0], FRAME // cells[0], cells, max(ALIGN // cells[0], 1)
                )
                return
            except (RuntimeError, MemoryError) as error:
                tile = min(tile or max(image.shape[-2:]), max(image.shape[-2:])) // 2
                if not is_out_of_memory(error) or tile < SMALLEST:
                    raise
            if image.is_cuda:
                torch.cuda.empty_cache()
            logging.getLogger('basicsr').warning(
                f'The memory does not suffice for an image of {image.shape[-1]} x {image.shape[-2]} pixels in one '
                f'piece: going on in tiles of {tile}.'
            )
    finally:
        model.lq = image


def continued(image: Tensor, multiple: int, least: int = 1) -> Tensor:
    """An image (n, c, h, w) of any size from 1 x 1, continued at the bottom and the right by its mirror image: to
    multiples of both sides that are not below ``least``."""
    for dim in (-2, -1):
        side = image.shape[dim]
        missing = -(-max(side, least) // multiple) * multiple - side
        if missing:  # unlike torch's, NumPy's reflection may be longer than the image
            index = np.pad(np.arange(side), (0, missing), mode='reflect')
            image = image.index_select(dim, torch.from_numpy(index).to(image.device))
    return image


def in_whole_multiples(run: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """What a network makes of an image; where it refuses the size, of the image continued to the smallest multiple that
    it takes, cut to the image.

    Args:
        run (Callable[[Tensor], Tensor]): (n, c, h, w) to (n, c, scale h, scale w).
        image (Tensor): (n, c, h, w).

    Raises:
        Exception: What the network said of the image as it is, if it takes none of the sizes.
    """
    height, width = image.shape[-2:]
    refused: Exception | None = None
    tried = set()
    for multiple in MULTIPLES:
        whole = image if multiple == 1 else continued(image, multiple)
        size = tuple(whole.shape[-2:])
        if size in tried:
            continue
        tried.add(size)
        try:
            made = run(whole)
        except Exception as error:  # networks complain in many ways about sizes, and ONNX has types of its own
            if is_out_of_memory(error):
                raise
            refused = refused or error
            continue
        if refused is None:
            return made
        factor = made.shape[-1] // size[1]
        if tuple(made.shape[-2:]) != (factor * size[0], factor * size[1]) or not factor:
            break
        return made[..., : factor * height, : factor * width]
    assert refused is not None
    raise refused
