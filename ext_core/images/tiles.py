"""Take an image through a function in tiles whose seams do not show."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor


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
            piece = process(_part(image, rows.first, rows.last, columns.first, columns.last, before))
            if result is None:
                result = piece.new_empty(*piece.shape[:-2], height * after, width * after)
            top, left = rows.first, columns.first
            _part(result, rows.start, rows.stop, columns.start, columns.stop, after).copy_(
                _part(piece, rows.start - top, rows.stop - top, columns.start - left, columns.stop - left, after)
            )
    assert result is not None
    return result


def _part(image: Tensor, top: int, bottom: int, left: int, right: int, cell: int) -> Tensor:
    return image[..., top * cell : bottom * cell, left * cell : right * cell]
