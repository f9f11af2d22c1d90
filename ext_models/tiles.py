"""Take an image through a function in tiles whose seams do not show, and measure how wide their frames must be."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_STRIP = 16  # cells, least width of the strips on which a reach is measured


class Span(NamedTuple):
    """One tile along one axis: what it fills, and what is read for it, both in cells."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int, reach: int, align: int = 1) -> Iterator[Span]:
    """Cut an axis into tiles of nearly equal length.

    Args:
        length (int): Of the axis, in cells.
        tile (int): Longest tile, without its frame; 0 for one that is the whole axis.
        reach (int): Width of the frame, where the image has as much.
        align (int): Tiles and frames begin at multiples of it, and end there or at the image's end.
    """
    if not tile or length <= tile:
        yield Span(0, length, 0, length)
        return
    tile = max(tile // align, 1) * align
    count = -(-length // tile)
    step = -(-length // (count * align)) * align
    for start in range(0, length, step):
        stop = min(start + step, length)
        first = max(start - reach, 0) // align * align
        last = min(-(-(stop + reach) // align) * align, length)
        yield Span(start, stop, first, last)


def in_tiles(
    process: Callable[[Tensor], Tensor],
    image: Tensor,
    tile: int,
    reach: int,
    cells: tuple[int, int] = (1, 1),
    align: int = 1,
) -> Tensor:
    """``process(image)``, with the memory of one tile.

    Each tile is computed with a frame as wide as the reach of the function, which is cut off again: so no pixel of the
    result sees a border that is not the image's.

    Args:
        process (Callable): Makes (n, c', rows * cells[1], columns * cells[1]) of (n, c, rows * cells[0],
            columns * cells[0]).
        image (Tensor): (n, c, h, w), h and w multiples of cells[0].
        tile (int): Longest side of a tile in cells, without its frame; 0 takes the image whole.
        reach (int): How far the function looks, in cells.
        cells (tuple[int, int]): Side of a cell in the image and in the result. Default: (1, 1).
        align (int): See :func:`spans`. Default: 1.
    """
    before, after = cells
    height, width = image.shape[-2] // before, image.shape[-1] // before
    if not tile or max(height, width) <= tile:
        return process(image)
    result: Tensor | None = None
    for rows in spans(height, tile, reach, align):
        for columns in spans(width, tile, reach, align):
            top, left = rows.first, columns.first
            piece = process(image[..., top * before : rows.last * before, left * before : columns.last * before])
            if result is None:
                result = piece.new_empty(*piece.shape[:-2], height * after, width * after)
            kept = piece[..., (rows.start - top) * after : (rows.stop - top) * after, :]
            kept = kept[..., (columns.start - left) * after : (columns.stop - left) * after]
            result[..., rows.start * after : rows.stop * after, columns.start * after : columns.stop * after] = kept
    assert result is not None
    return result


def reach_of(
    process: Callable[[Tensor], Tensor], limit: int, cells: tuple[int, int] = (1, 1), multiple: int = 1
) -> int | None:
    """How far the influence of a cell reaches: measured, by following NaN through the function.

    Args:
        process (Callable): See :func:`in_tiles`; of colour images on the CPU, because convolutions of a GPU may spread
            a NaN further than they spread numbers.
        limit (int): Largest reach that is told.
        cells (tuple[int, int]): See :func:`in_tiles`. Default: (1, 1).
        multiple (int): What the sides of images must be multiples of, in cells. Default: 1.

    Returns:
        int | None: Largest distance, in cells, between a cell and one that depends on it; None if it is further than
        the limit, as that of global pooling always is.
    """
    before, after = cells
    unit = max(multiple, 8)
    side = unit * (-(-_STRIP // unit) // 2 * 2 + 1)  # odd multiples, of which no larger one divides both
    length = 2 * -(-(limit + 1) // side) * side + side
    middle, reach = length // 2, 0
    for turned in (False, True):  # strips, because they are cheap
        image = torch.zeros(1, 3, side * before, length * before)
        image[..., middle * before : (middle + 1) * before] = torch.nan
        made = process(image.mT.contiguous() if turned else image).isnan().any(dim=1)[0]
        touched = made.any(dim=1 if turned else 0).nonzero().flatten() // after
        if not len(touched):
            return None
        reach = max(
            reach, int((touched - middle).abs().max()) + multiple - 1
        )  # cells that are folded may reach further
    return reach if reach <= limit else None
